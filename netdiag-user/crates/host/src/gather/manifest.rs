//! What the node's own manifests say of its daemons (kubelet's staticPodPath): root's files, and
//! believed where nobody else can write them.
use std::path::Path;

use crate::sys::file;

/// kubeadm's, and most others'.
const FOLDER: &str = "etc/kubernetes/manifests";

/// The words that the daemon of that name is started with.
pub fn listed(root: &Path, name: &str) -> Option<Vec<String>> {
    let path = root.join(FOLDER).join(format!("{name}.yaml"));
    let bytes = file::of_root(&path, file::CONFIG).ok()?;
    Some(items(&String::from_utf8_lossy(&bytes)))
}

/// kubeadm writes the command as a list, one flag a line.
pub fn items(text: &str) -> Vec<String> {
    let item = |line: &str| {
        let item = line.trim().strip_prefix("- ")?.trim();
        Some(item.trim_matches(['"', '\'']).to_owned())
    };
    text.lines().filter_map(item).collect()
}

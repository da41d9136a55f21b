//! Whose task it is to masquerade what pods send out, as the CNI's files on the node say.
use std::path::Path;

use serde_json::Value;

use crate::{
    model::source_nat::{Keeper, Who},
    sys::file::{self, CONFIG},
};

/// What flannel writes for its plugin: whether flanneld was started with `--ip-masq`. Where it was not,
/// the plugin lets the one that it delegates to do it (flannel's cni-plugin, flannel_linux.go).
const FLANNEL: &str = "run/flannel/subnet.env";
const CNI: &str = "etc/cni/net.d";
/// Files of that folder that are read.
const MOST: usize = 256;

pub fn find(root: &Path) -> Option<Keeper> {
    let env = file::text(&root.join(FLANNEL), CONFIG);
    if let Ok(text) = env {
        return Some(flannel(&text));
    }
    let mut files = file::list(&root.join(CNI), MOST).ok()?.entries;
    // The runtime takes the first by name.
    files.sort_by_key(std::fs::DirEntry::file_name);
    files.iter().find_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = file::read(&entry.path(), CONFIG).ok()?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        conf(&value, format!("/{CNI}/{name}"))
    })
}

fn flannel(text: &str) -> Keeper {
    let mut pairs = text.lines().filter_map(|line| line.split_once('='));
    let told = pairs.find(|(key, _)| *key == "FLANNEL_IPMASQ");
    Keeper {
        who: Who::Flannel,
        file: format!("/{FLANNEL}"),
        told: told.map(|(_, value)| value.trim() == "true"),
    }
}

/// The first plugin makes the pod's interface; a file of one plugin has it at its top.
fn conf(value: &Value, file: String) -> Option<Keeper> {
    let plugin = value["plugins"].get(0).unwrap_or(value);
    let (who, told) = match plugin["type"].as_str()? {
        "calico" => (Who::Calico, None),
        "flannel" => (Who::Flannel, None),
        // They do not, unless they are told to (cni/plugins, bridge.go, ptp.go).
        "bridge" | "ptp" => (Who::Plugin, Some(plugin["ipMasq"].as_bool() == Some(true))),
        _ => (Who::Unknown, None),
    };
    Some(Keeper { who, file, told })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(files: &[(&str, &str)]) -> Option<(Who, String, Option<bool>)> {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        find(root.path()).map(|k| (k.who, k.file, k.told))
    }

    #[test]
    fn the_files_say_whose_task_it_is() {
        let env = |value: &str| {
            let text = format!("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_IPMASQ={value}\n");
            keeper(&[(FLANNEL, &text)]).map(|k| (k.0, k.2))
        };
        assert_eq!(env("true"), Some((Who::Flannel, Some(true))));
        assert_eq!(env("false"), Some((Who::Flannel, Some(false))));
        let list = r#"{"plugins":[{"type":"calico"},{"type":"portmap"}]}"#;
        let one = r#"{"type":"bridge","ipMasq":true}"#;
        let both = [
            ("etc/cni/net.d/20-b.conf", one),
            ("etc/cni/net.d/10-a.conflist", list),
        ];
        let first = "/etc/cni/net.d/10-a.conflist".to_owned();
        assert_eq!(keeper(&both), Some((Who::Calico, first, None)));
        let bridge = keeper(&both[..1]).expect("the bridge");
        assert_eq!((bridge.0, bridge.2), (Who::Plugin, Some(true)));
        let not = r#"{"plugins":[{"type":"ptp"}]}"#;
        let ptp = keeper(&[("etc/cni/net.d/1.conflist", not)]).expect("ptp");
        assert_eq!((ptp.0, ptp.2), (Who::Plugin, Some(false)));
        let other = keeper(&[("etc/cni/net.d/1.conf", r#"{"type":"cilium-cni"}"#)]);
        assert_eq!(other.map(|k| k.0), Some(Who::Unknown));
        assert_eq!(keeper(&[("etc/cni/net.d/1.conf", "no JSON")]), None);
        assert_eq!(keeper(&[]), None);
    }
}

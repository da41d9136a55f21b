//! The networks that the cluster gives its pods, as the CNI's files on the node say.
use std::path::Path;

use anyhow::{Context, Result};
use netdiag_lang::english;
use serde_json::Value;

use super::Found;
use crate::{
    model::{address::Prefix, verdict::NotChecked},
    sys::file::{self, CONFIG},
};

/// What flannel writes for its CNI plugin when it starts (flannel, pkg/subnet/subnet.go).
const FLANNEL: &str = "run/flannel/subnet.env";
const FLANNEL_KEYS: [&str; 2] = ["FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK"];
const CNI: &str = "etc/cni/net.d";
/// Files of that folder that are read: the runtime takes the first.
const MOST: usize = 256;
/// Calico's IPAM, where its pools are pinned in the configuration.
const POOLS: [&str; 2] = ["ipv4_pools", "ipv6_pools"];

/// Each network with the file that names it. No file is no error: not every CNI has one.
pub fn pod_networks(root: &Path) -> Result<Found<Vec<(Prefix, String)>>> {
    let text = file::text(&root.join(FLANNEL), CONFIG).unwrap_or_default();
    let named = flannel(&text).map(|p| (p, format!("/{FLANNEL}")));
    let mut networks: Vec<_> = named.collect();
    let dir = root.join(CNI);
    if !dir.is_dir() {
        return Ok((networks, Vec::new()));
    }
    let files = file::list(&dir, MOST).with_context(|| english!("reading the folder /{CNI}"))?;
    for file in &files.entries {
        let name = file.file_name().to_string_lossy().into_owned();
        let text = file::read(&file.path(), CONFIG).unwrap_or_default();
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        let mut found = Vec::new();
        pools(&value, &mut found);
        networks.extend(found.into_iter().map(|p| (p, format!("/{CNI}/{name}"))));
    }
    let left = files.more.then(|| {
        let what = english!("files of /{CNI} beyond the first {MOST}");
        NotChecked::new(what, "no more are read")
    });
    Ok((networks, left.into_iter().collect()))
}

fn flannel(text: &str) -> impl Iterator<Item = Prefix> + '_ {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let networks = pairs.filter(|(key, _)| FLANNEL_KEYS.contains(key));
    // Since v0.22 there may be several.
    let each = networks.flat_map(|(_, value)| value.split(','));
    each.filter_map(|one| one.trim().trim_matches('"').parse().ok())
}

fn pools(value: &Value, found: &mut Vec<Prefix>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner.as_array().filter(|_| POOLS.contains(&key.as_str())) {
                    Some(list) => {
                        let each = list
                            .iter()
                            .filter_map(|v| v.as_str()?.parse::<Prefix>().ok());
                        found.extend(each);
                    }
                    None => pools(inner, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| pools(inner, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(networks: &[Prefix]) -> Vec<String> {
        networks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn flannels_file_and_calicos_pools() {
        let env = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
                   FLANNEL_IPV6_NETWORK=fd00:10::/56\nFLANNEL_MTU=1450\n";
        let networks: Vec<_> = flannel(env).collect();
        assert_eq!(texts(&networks), ["10.244.0.0/16", "fd00:10::/56"]);
        let conf = r#"{"plugins":[{"ipam":{"ipv4_pools":["10.1.0.0/16","default-pool"]}}]}"#;
        let mut found = Vec::new();
        pools(&serde_json::from_str(conf).expect("JSON"), &mut found);
        assert_eq!(texts(&found), ["10.1.0.0/16"]);
    }

    #[test]
    fn a_node_without_such_files_says_nothing() {
        let none = pod_networks(Path::new("/nonexistent")).expect("no error");
        assert_eq!(none, (Vec::new(), Vec::new()));
    }

    #[test]
    fn files_that_are_not_read_are_told() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = root.path().join(CNI);
        std::fs::create_dir_all(&dir).expect("made");
        let conf = r#"{"ipam":{"ipv4_pools":["10.1.0.0/16"]}}"#;
        let write = |n: usize| std::fs::write(dir.join(format!("{n}.conf")), conf);
        (0..MOST).for_each(|n| write(n).expect("written"));
        let (all, left) = pod_networks(root.path()).expect("networks");
        assert_eq!((all.len(), left), (MOST, Vec::new()));
        write(MOST).expect("written");
        let (all, left) = pod_networks(root.path()).expect("networks");
        let what = "files of /etc/cni/net.d beyond the first 256";
        assert_eq!((all.len(), left[0].what.as_str()), (MOST, what));
    }
}

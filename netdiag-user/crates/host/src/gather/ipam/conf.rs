//! The node's CNI configurations (the CNI specification, "Network configuration format"), as far
//! as they tell what host-local gives out; flannel's subnet for its plugin.
use netdiag_lang::english;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Pool, range::Written};
use crate::{
    gather::{Found, Places},
    model::verdict::NotChecked,
    sys::file,
};

/// Where runtimes look; k3s keeps its own.
const FOLDERS: [&str; 2] = ["/etc/cni/net.d", "/var/lib/rancher/k3s/agent/etc/cni/net.d"];
/// Where host-local notes addresses unless told otherwise.
const DATA: &str = "/var/lib/cni/networks";
const SUBNET_ENV: &str = "/run/flannel/subnet.env";
const LARGEST: u64 = 1 << 20;
/// Files of one folder that are read: the runtime takes the first.
const MOST: usize = 256;

#[derive(Deserialize)]
struct Conf {
    name: Option<String>,
    /// A list has plugins, a single plugin's file is one itself.
    #[serde(default)]
    plugins: Vec<Plugin>,
    #[serde(flatten)]
    single: Plugin,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plugin {
    #[serde(default, rename = "type")]
    kind: String,
    ipam: Option<Ipam>,
    /// Of flannel's plugin.
    subnet_file: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ipam {
    #[serde(default, rename = "type")]
    kind: String,
    data_dir: Option<String>,
    #[serde(default)]
    ranges: Vec<Vec<Written>>,
    #[serde(flatten)]
    single: Written,
}

pub fn pools(places: &Places) -> Found<Vec<Pool>> {
    let mut left = Vec::new();
    let files = FOLDERS.iter().flat_map(|folder| {
        let (files, more) = files(places, folder);
        if more {
            let what = english!("files of {folder} beyond the first {MOST}");
            left.push(NotChecked::new(what, "no more are read"));
        }
        files
    });
    let pools = files.flat_map(|file| read(places, &file).unwrap_or_default());
    (pools.collect(), left)
}

/// Paths on the node, and whether there are more.
fn files(places: &Places, folder: &str) -> (Vec<PathBuf>, bool) {
    let Ok(listed) = file::list(&places.under_root(Path::new(folder)), MOST) else {
        return (Vec::new(), false);
    };
    let names = listed.entries.into_iter().map(|e| e.file_name());
    let mut files: Vec<_> = names.map(|name| Path::new(folder).join(name)).collect();
    files.retain(|f| {
        let kind = f.extension().and_then(|e| e.to_str());
        matches!(kind, Some("conf" | "conflist" | "json"))
    });
    files.sort();
    (files, listed.more)
}

fn read(places: &Places, file: &Path) -> Option<Vec<Pool>> {
    let text = places.text(file, LARGEST)?;
    let conf: Conf = serde_json::from_str(&text).ok()?;
    let network = conf.name?;
    let plugins = conf.plugins.iter().chain([&conf.single]);
    let sets = plugins.flat_map(|plugin| sets(places, plugin));
    let pool = |(data, set): (String, Vec<Written>)| Pool {
        folder: format!("{}/{network}", data.trim_end_matches('/')),
        network: network.clone(),
        conf: file.display().to_string(),
        ranges: set.iter().filter_map(Written::range).collect(),
    };
    Some(
        sets.map(pool)
            .filter(|pool| !pool.ranges.is_empty())
            .collect(),
    )
}

/// Sets of ranges, each with the folder of all networks.
fn sets(places: &Places, plugin: &Plugin) -> Vec<(String, Vec<Written>)> {
    if plugin.kind == "flannel" {
        let file = plugin.subnet_file.as_deref().unwrap_or(SUBNET_ENV);
        let text = places.text(Path::new(file), LARGEST).unwrap_or_default();
        let sets = flannels(&text).into_iter();
        return sets.map(|set| (DATA.to_owned(), vec![set])).collect();
    }
    let Some(ipam) = plugin.ipam.as_ref().filter(|i| i.kind == "host-local") else {
        return Vec::new();
    };
    let data = ipam.data_dir.as_deref().unwrap_or(DATA);
    let single = ipam
        .single
        .subnet
        .is_some()
        .then(|| vec![ipam.single.clone()]);
    let all = single.into_iter().chain(ipam.ranges.iter().cloned());
    all.map(|set| (data.to_owned(), set)).collect()
}

/// `FLANNEL_SUBNET=10.244.1.1/24`: the address is the bridge's.
fn flannels(text: &str) -> Vec<Written> {
    let subnet = |line: &str| {
        let (name, value) = line.trim().split_once('=')?;
        let named = matches!(name, "FLANNEL_SUBNET" | "FLANNEL_IPV6_SUBNET");
        named.then(|| Written::of_subnet(value.trim()))
    };
    text.lines().filter_map(subnet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_read_are_told() {
        let root = tempfile::tempdir().expect("a folder");
        let places = Places {
            root: root.path().to_owned(),
            ..Places::default()
        };
        let folder = root.path().join("etc/cni/net.d");
        std::fs::create_dir_all(&folder).expect("made");
        let conf =
            r#"{"name":"n","type":"bridge","ipam":{"type":"host-local","subnet":"10.1.0.0/24"}}"#;
        let write = |n: usize| std::fs::write(folder.join(format!("{n}.conf")), conf);
        (0..MOST).for_each(|n| write(n).expect("written"));
        let (all, left) = pools(&places);
        assert_eq!((all.len(), left), (MOST, Vec::new()));
        write(MOST).expect("written");
        let (all, left) = pools(&places);
        let what = "files of /etc/cni/net.d beyond the first 256";
        assert_eq!((all.len(), left[0].what.as_str()), (MOST, what));
    }
}

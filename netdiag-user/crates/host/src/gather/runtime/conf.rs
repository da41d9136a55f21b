//! CNI configurations: which plugins make a network, and who gives out its addresses (the CNI
//! specification, "Network configuration format").
use netdiag_lang::english;

use std::path::Path;

use serde_json::Value;

use crate::{
    gather::Places,
    model::{runtime::Network, text},
    sys::file,
};

/// Where runtimes look; k3s keeps its own.
const FOLDERS: [&str; 2] = ["/etc/cni/net.d", "/var/lib/rancher/k3s/agent/etc/cni/net.d"];
const LARGEST: u64 = 1 << 20;
/// Configurations of one folder: the runtime takes the first.
const MOST: usize = 20;
/// Entries of a folder that are sorted.
const LISTED: usize = 1024;
const LONGEST: usize = 200;

/// Those that are read, and what was not read, with why.
pub fn networks(places: &Places) -> (Vec<Network>, Vec<(String, String)>) {
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    for folder in FOLDERS {
        let Ok(listed) = file::list(&places.under_root(Path::new(folder)), LISTED) else {
            continue;
        };
        let mut files: Vec<_> = listed
            .entries
            .into_iter()
            .map(|entry| Path::new(folder).join(entry.file_name()))
            .filter(|path| path.extension().is_some_and(|e| e != "kubeconfig"))
            .collect();
        files.sort();
        let read = |path: &std::path::PathBuf| {
            network(&path.display().to_string(), &places.text(path, LARGEST)?)
        };
        all.extend(files.iter().take(MOST).filter_map(read));
        if listed.more || files.len() > MOST {
            let what = english!("CNI configurations of {folder} beyond the first {MOST}");
            unread.push((what, "the runtime takes the first".to_owned()));
        }
    }
    (all, unread)
}

fn network(file: &str, conf: &str) -> Option<Network> {
    let conf: Value = serde_json::from_str(conf).ok()?;
    let name = conf["name"].as_str()?;
    let listed = conf["plugins"].as_array();
    let plugins: Vec<&Value> = listed.map_or_else(|| vec![&conf], |all| all.iter().collect());
    let kind = |of: &Value| Some(text::line(of["type"].as_str()?, LONGEST));
    let mut etcd = Vec::new();
    endpoints(&conf, 0, &mut etcd);
    Some(Network {
        name: text::line(name, LONGEST),
        file: file.to_owned(),
        ipam: plugins.iter().find_map(|plugin| kind(&plugin["ipam"])),
        plugins: plugins.into_iter().filter_map(kind).collect(),
        etcd,
    })
}

/// Values of `etcd_endpoints` (Calico), `etcd_host` (whereabouts) and the like, wherever they are.
fn endpoints(value: &Value, depth: usize, found: &mut Vec<String>) {
    const DEEPEST: usize = 8;
    match value {
        _ if depth > DEEPEST => {}
        Value::Array(all) => all.iter().for_each(|v| endpoints(v, depth + 1, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let place = key.contains("endpoint") || key.contains("host");
                match value.as_str() {
                    Some(text) if key.contains("etcd") && place => {
                        let all = text.split(',').map(|e| text::line(e, LONGEST));
                        found.extend(all.filter(|e| !e.is_empty()));
                    }
                    _ => endpoints(value, depth + 1, found),
                }
            }
        }
        _ => {}
    }
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
        let conf = r#"{"name":"n","type":"bridge"}"#;
        let write = |n: usize| std::fs::write(folder.join(format!("{n:03}.conf")), conf);
        (0..MOST).for_each(|n| write(n).expect("written"));
        let (all, unread) = networks(&places);
        assert_eq!((all.len(), unread.len()), (MOST, 0));
        write(MOST).expect("written");
        let (all, unread) = networks(&places);
        let what = "CNI configurations of /etc/cni/net.d beyond the first 20";
        assert_eq!((all.len(), unread[0].0.as_str()), (MOST, what));
    }

    #[test]
    fn calicos_conf_names_etcd() {
        let text = r#"{"name": "k8s-pod-network", "plugins": [{"type": "calico",
            "etcd_endpoints": "https://10.0.0.5:2379,https://10.0.0.6:2379",
            "ipam": {"type": "calico-ipam"}}, {"type": "portmap"}]}"#;
        let read = network("/etc/cni/net.d/10-calico.conflist", text).expect("a network");
        assert_eq!(read.plugins, ["calico", "portmap"]);
        assert_eq!(read.ipam.as_deref(), Some("calico-ipam"));
        assert_eq!(
            read.etcd,
            ["https://10.0.0.5:2379", "https://10.0.0.6:2379"]
        );
    }

    #[test]
    fn what_is_no_conf_is_none() {
        for text in ["", "{}", "[]", r#"{"name": 1}"#] {
            assert_eq!(network("x", text), None, "{text}");
        }
        let deep = "[".repeat(100) + &"]".repeat(100);
        let deep = format!(r#"{{"name": "x", "type": "a", "y": {deep}}}"#);
        assert_eq!(network("x", &deep).expect("bounded").etcd, [""; 0]);
    }
}

//! What a runtime says of a sandbox or container beyond CRI's own fields: a JSON text with its
//! first process and the file of its network namespace (`info`, in containerd's and CRI-O's form).
use std::{collections::HashMap, net::IpAddr, path::Path};

use serde::Deserialize;

use crate::{
    model::pod::PodInterface,
    sys::file::{self, SMALL},
};

#[derive(Clone, Debug, Default)]
pub struct Verbose {
    pub pid: Option<u32>,
    pub process: Option<String>,
    pub netns: Option<u32>,
    pub addresses: Vec<IpAddr>,
    pub host_network: bool,
    pub interfaces: Vec<PodInterface>,
}

impl Verbose {
    /// There is nothing more to ask for.
    pub fn complete(&self) -> bool {
        self.host_network || !self.addresses.is_empty()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Info {
    pid: u32,
    runtime_spec: Option<Spec>,
    cni_result: Option<CniResult>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    linux: Linux,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    r#type: String,
    path: String,
}

/// containerd's go-cni.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CniResult {
    interfaces: HashMap<String, Config>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(rename = "IPConfigs")]
    ip_configs: Option<Vec<IpConfig>>,
    #[serde(rename = "Sandbox")]
    sandbox: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IpConfig {
    #[serde(rename = "IP")]
    ip: String,
}

/// Of the sandbox or container with that id.
pub fn read(info: &HashMap<String, String>, root: &Path, id: &str) -> Verbose {
    let text = info.get("info").map_or("", String::as_str);
    let info: Info = serde_json::from_str(text).unwrap_or_default();
    let pid = Some(info.pid).filter(|pid| is_of(root, *pid, id));
    let spec = info.runtime_spec.unwrap_or_default();
    let mut namespaces = spec.linux.namespaces.iter();
    let network = namespaces.find(|n| n.r#type == "network" && !n.path.is_empty());
    let by_file = || crate::netns_inode(root, &network?.path);
    let by_process = pid.and_then(|pid| {
        let file = root.join(format!("proc/{pid}/ns/net"));
        crate::host::namespaces::mounted(&file)
    });
    Verbose {
        pid,
        process: pid.and_then(|pid| crate::process(root, pid)),
        netns: by_process.or_else(by_file),
        interfaces: info.cni_result.map(interfaces).unwrap_or_default(),
        ..Verbose::default()
    }
}

/// The runtime may number processes otherwise than we do; the cgroup has the id in its name.
fn is_of(root: &Path, pid: u32, id: &str) -> bool {
    let path = root.join(format!("proc/{pid}/cgroup"));
    pid != 0 && file::kernel(&path, SMALL).is_ok_and(|text| text.contains(id))
}

/// Those inside the sandbox.
fn interfaces(result: CniResult) -> Vec<PodInterface> {
    let inside = |(name, config): &(String, Config)| !config.sandbox.is_empty() && name != "lo";
    let all = result.interfaces.into_iter().filter(inside);
    let one = |(name, config): (String, Config)| {
        let ips = config.ip_configs.unwrap_or_default();
        PodInterface {
            name,
            addresses: ips.iter().filter_map(|c| c.ip.parse().ok()).collect(),
            ..PodInterface::default()
        }
    };
    let mut all: Vec<_> = all.map(one).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerds_words_are_understood() {
        let text = r#"{"pid":0,"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},
            {"type":"network","path":"/run/netns/none-such"}]}},
            "cniResult":{"Interfaces":{"cni0":{"IPConfigs":null,"Mac":"02","Sandbox":""},
            "eth0":{"IPConfigs":[{"IP":"10.1.0.5","Gateway":"10.1.0.1"}],"Sandbox":"/run/netns/x"},
            "lo":{"IPConfigs":[{"IP":"127.0.0.1"}],"Sandbox":"/run/netns/x"}}}}"#;
        let info = HashMap::from([("info".to_owned(), text.to_owned())]);
        let said = read(&info, Path::new("/no-such-root"), "abc");
        assert_eq!((said.pid, said.netns), (None, None));
        assert_eq!(said.interfaces.len(), 1);
        assert_eq!(said.interfaces[0].name, "eth0");
        assert_eq!(said.interfaces[0].addresses[0].to_string(), "10.1.0.5");
    }

    #[test]
    fn other_words_are_no_error() {
        let info = HashMap::from([("info".to_owned(), "[1,2".to_owned())]);
        assert!(read(&info, Path::new("/"), "abc").pid.is_none());
    }
}

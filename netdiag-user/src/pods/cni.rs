//! The CNI result cache: one JSON file per pod and network, written by libcni (`cniCacheV1`,
//! containernetworking/cni libcni/api.go). It names pod, host interface, namespace, addresses.
use std::{net::IpAddr, path::Path};

use serde::Deserialize;

use crate::model::{address::Prefix, pod::Pod};

/// Where containerd (1.6 to 2.1) and others keep it, under the root.
pub const DEFAULT_DIRS: [&str; 2] = ["var/lib/cni/results", "var/lib/cni/cache/results"];

/// A result file larger than this is none.
const LARGEST: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cache {
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    result: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
}

#[derive(Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
}

/// Pods of every readable result file in `dir`; a file that is no result is passed over.
pub fn read(dir: &Path, root: &Path) -> Vec<Pod> {
    let mut pods = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let small = entry
            .metadata()
            .is_ok_and(|m| m.is_file() && m.len() <= LARGEST);
        if !small {
            continue;
        }
        let Ok(bytes) = std::fs::read(entry.path()) else {
            continue;
        };
        match parse(&bytes, root) {
            Some(pod) => pods.push(pod),
            None => log::debug!("{} names no pod", entry.path().display()),
        }
    }
    pods
}

fn parse(bytes: &[u8], root: &Path) -> Option<Pod> {
    let cache: Cache = serde_json::from_slice(bytes).ok()?;
    let argument = |name: &str| {
        let found = cache.cni_args.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.clone())
            .filter(|v| !v.is_empty())
    };
    let inside = |i: &&Interface| !i.sandbox.is_empty() && i.name != "lo";
    let pod_side = cache.result.interfaces.iter().find(inside);
    // The bridge plugin lists bridge, host veth, pod interface: the host side is the last one
    // that is in no sandbox.
    let host_side = cache
        .result
        .interfaces
        .iter()
        .rfind(|i| i.sandbox.is_empty());
    let addresses = cache
        .result
        .ips
        .iter()
        .filter_map(|ip| address(&ip.address));
    Some(Pod {
        namespace: argument("K8S_POD_NAMESPACE")?,
        name: argument("K8S_POD_NAME")?,
        addresses: addresses.collect(),
        interface: host_side.map(|i| i.name.clone()),
        netns: pod_side.and_then(|i| super::netns_inode(root, &i.sandbox)),
    })
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<Prefix>().ok().map(|p| p.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = r#"{"kind":"cniCacheV1","containerId":"c0","ifName":"eth0",
        "networkName":"cbr0","cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","shop"],
        ["K8S_POD_NAME","cart-1"]],"result":{"cniVersion":"0.4.0","interfaces":[
        {"name":"cni0","mac":"02:00:00:00:00:01"},{"name":"veth1","mac":"02:00:00:00:00:02"},
        {"name":"eth0","sandbox":"/run/netns/none-such"}],
        "ips":[{"version":"4","interface":2,"address":"10.1.0.5/24","gateway":"10.1.0.1"}]}}"#;

    #[test]
    fn a_result_names_the_pod_and_its_host_interface() {
        let pod = parse(RESULT.as_bytes(), Path::new("/")).expect("a pod");
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str()),
            ("shop", "cart-1")
        );
        assert_eq!(pod.interface.as_deref(), Some("veth1"));
        assert_eq!(
            pod.addresses,
            ["10.1.0.5".parse::<IpAddr>().expect("valid")]
        );
    }

    #[test]
    fn what_is_no_result_names_none() {
        assert!(parse(b"{", Path::new("/")).is_none());
        assert!(parse(br#"{"result":{}}"#, Path::new("/")).is_none());
    }
}

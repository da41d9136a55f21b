//! The result files that a CNI runtime keeps, by which netdiag finds a pod by its interface.
//! Form: `cniCacheV1` of containernetworking's libcni (libcni/api.go).
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::netns;
use super::plan::{Kind, Node, Plan, Pod};

/// Where the files of a node's pods are; this is what `--cni-dir` is given.
pub fn dir(lab: &Path, node: &Node) -> PathBuf {
    lab.join("cni").join(&node.name)
}

/// Writes one file for each pod of the node.
pub fn write(lab: &Path, plan: &Plan, node: &Node) -> Result<()> {
    let dir = dir(lab, node);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for pod in &node.pods {
        let path = dir.join(format!("{}-{}-eth0", plan.cni_network, pod.sandbox));
        let text = serde_json::to_vec(&entry(plan, node, pod)).context("cannot write JSON")?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn entry(plan: &Plan, node: &Node, pod: &Pod) -> Value {
    let host = json!({ "name": pod.veth, "mac": mac(&pod.veth_mac) });
    let inside = json!({
        "name": "eth0",
        "mac": mac(&pod.mac),
        "sandbox": netns::path(&pod.netns),
    });
    // The bridge plugin lists its bridge first; Calico has none, and pods there have no network.
    let (interfaces, ips) = match plan.kind {
        Kind::Vxlan | Kind::Gre => (
            json!([{ "name": plan.bridge, "mac": mac(&node.bridge_mac) }, host, inside]),
            json!([
                {
                    "interface": 2,
                    "address": format!("{}/24", pod.ipv4),
                    "gateway": node.gateway_ipv4(),
                },
                {
                    "interface": 2,
                    "address": format!("{}/64", pod.ipv6),
                    "gateway": node.gateway_ipv6(),
                },
            ]),
        ),
        Kind::Ipip => (
            json!([host, inside]),
            json!([{ "interface": 1, "address": format!("{}/32", pod.ipv4) }]),
        ),
    };
    json!({
        "kind": "cniCacheV1",
        "containerId": pod.sandbox,
        "ifName": "eth0",
        "networkName": plan.cni_network,
        "cniArgs": [
            ["IgnoreUnknown", "1"],
            ["K8S_POD_NAMESPACE", pod.namespace],
            ["K8S_POD_NAME", pod.name],
            ["K8S_POD_INFRA_CONTAINER_ID", pod.sandbox],
            ["K8S_POD_UID", pod.uid],
        ],
        "result": { "cniVersion": "1.0.0", "dns": {}, "interfaces": interfaces, "ips": ips },
    })
}

fn mac(bytes: &[u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

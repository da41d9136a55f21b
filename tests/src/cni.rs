//! What CNI plugins leave behind.

/// A pod's result, as the plugin's caller keeps it (`cniCacheV1`). The pod is of the namespace
/// `billing`; its network namespace is a named one.
pub fn result(name: &str, netns: &str, address: &str) -> String {
    serde_json::json!({ "kind": "cniCacheV1", "containerId": name, "ifName": "eth0",
        "networkName": "net", "cniArgs": [["K8S_POD_NAMESPACE", "billing"], ["K8S_POD_NAME", name]],
        "result": { "cniVersion": "1.0.0",
            "interfaces": [{ "name": "eth0", "sandbox": format!("/run/netns/{netns}") }],
            "ips": [{ "interface": 0, "address": format!("{address}/32") }] } })
    .to_string()
}

//! Objects as an API server has them, with as much beside what netdiag needs as real ones have.
use serde_json::{Value, json};

/// A pod of a Deployment, that runs.
pub fn pod(namespace: &str, name: &str, node: &str, addresses: &[&str]) -> Value {
    let (app, hash) = name.rsplit_once('-').unwrap_or((name, "0"));
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"),
            "labels": { "app": app, "pod-template-hash": hash },
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(800) },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": format!("{app}-{hash}"), "uid": "rs" }],
            "managedFields": [{ "manager": "kubelet", "operation": "Update",
                "fieldsV1": { "f:status": { "f:podIP": "x".repeat(1500) } } }],
        },
        "spec": { "nodeName": node, "hostNetwork": false,
            "containers": [{ "name": "main", "image": "example/app:1", "env": [] }] },
        "status": { "phase": "Running", "hostIP": "192.0.2.1", "podIP": addresses.first(),
            "podIPs": ips,
            "containerStatuses": [{ "name": "main", "restartCount": 2, "ready": true,
                "containerID": format!("containerd://c-{name}") }] },
    })
}

pub fn service(namespace: &str, name: &str, address: &str, port: u16) -> Value {
    json!({
        "metadata": { "namespace": namespace, "name": name, "uid": format!("svc-{name}"),
            "managedFields": [{ "fieldsV1": { "f:spec": "x".repeat(500) } }] },
        "spec": { "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "selector": { "app": name },
            "ports": [{ "name": "main", "port": port, "protocol": "TCP", "targetPort": "http" }] },
        "status": { "loadBalancer": {} },
    })
}

/// Endpoints: address, pod, node, ready.
pub type Backend<'a> = (&'a str, &'a str, &'a str, bool);

pub fn slice(namespace: &str, service: &str, port: u16, backends: &[Backend<'_>]) -> Value {
    let endpoints = backends.iter().map(|(address, pod, node, ready)| {
        json!({ "addresses": [address], "nodeName": node,
            "conditions": { "ready": ready, "serving": ready, "terminating": false },
            "targetRef": { "kind": "Pod", "namespace": namespace, "name": pod,
                "uid": format!("uid-{namespace}-{pod}") } })
    });
    json!({
        "metadata": { "namespace": namespace, "name": format!("{service}-abcde"),
            "labels": { "kubernetes.io/service-name": service },
            "managedFields": [{ "fieldsV1": { "f:endpoints": "x".repeat(200) } }] },
        "addressType": if backends.iter().any(|b| b.0.contains(':')) { "IPv6" } else { "IPv4" },
        "ports": [{ "name": "main", "port": port, "protocol": "TCP" }],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

pub fn node(name: &str, address: &str, pod_cidr: &str) -> Value {
    json!({
        "metadata": { "name": name, "uid": format!("node-{name}"),
            "annotations": { "flannel.alpha.coreos.com/public-ip": address,
                "flannel.alpha.coreos.com/backend-type": "vxlan" } },
        "spec": { "podCIDR": pod_cidr, "podCIDRs": [pod_cidr] },
        "status": { "addresses": [{ "type": "InternalIP", "address": address },
            { "type": "Hostname", "address": name }] },
    })
}

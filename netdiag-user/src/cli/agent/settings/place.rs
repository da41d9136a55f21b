//! Where the node has what the agent asks: the keys that are options of every command.
use std::path::PathBuf;

use crate::{
    agent::config::{Key, Read, Value},
    cli::options::NodeRootArgs,
    pods::Source,
};

pub fn path(path: &Option<PathBuf>, example: &'static str) -> Value {
    let text = path.as_ref().map(|path| path.display().to_string());
    text.map_or(Value::Unset(example), Value::Text)
}

fn text(text: &Option<String>, example: &'static str) -> Value {
    let text = text.clone().map(Value::Text);
    text.unwrap_or(Value::Unset(example))
}

pub fn keys(place: &NodeRootArgs) -> Vec<Key> {
    let key = |name, about, value| Key { name, about, value };
    let etcd = &place.etcd;
    vec![
        key(
            "node_name",
            "This node's name in the cluster; the host's name where it is not set.",
            text(&place.node_name, "\"node-a\""),
        ),
        key(
            "kubeconfig",
            "How to reach the Kubernetes API; a pod's service account where it is not set.",
            path(&place.kubeconfig, "\"/etc/kubernetes/kubelet.conf\""),
        ),
        key(
            "pods",
            "Where pods' names come from: auto, kubernetes, cri, cni, cgroup, none or a JSON file.",
            Value::Text(place.pods.to_string()),
        ),
        key(
            "cri_socket",
            "The container runtime's socket; the first of the usual ones where it is not set.",
            path(&place.cri_socket, "\"/run/containerd/containerd.sock\""),
        ),
        key(
            "cni_dir",
            "The CNI result cache; its usual place where it is not set.",
            path(&place.cni_dir, "\"/var/lib/cni/results\""),
        ),
        key(
            "cgroup_root",
            "The cgroup that this node's pods are below (kubelet's --cgroup-root).",
            text(&place.cgroup_root, "\"/kubelet\""),
        ),
        key(
            "etcd",
            "Ask these members of etcd; the one on this node where the list is empty.",
            Value::List(etcd.etcd.clone()),
        ),
        key(
            "etcd_cacert",
            "The CA that signed etcd's certificate.",
            path(&etcd.etcd_cacert, "\"/etc/kubernetes/pki/etcd/ca.crt\""),
        ),
        key(
            "etcd_cert",
            "The certificate to show to etcd.",
            path(
                &etcd.etcd_cert,
                "\"/etc/kubernetes/pki/etcd/healthcheck-client.crt\"",
            ),
        ),
        key(
            "etcd_key",
            "Its key.",
            path(
                &etcd.etcd_key,
                "\"/etc/kubernetes/pki/etcd/healthcheck-client.key\"",
            ),
        ),
    ]
}

/// What the file has and no option said.
pub fn fill(place: &mut NodeRootArgs, read: &Read) -> Result<(), String> {
    let file = &read.file;
    let name = |text: &String| Ok(text.clone());
    let path = |text: &String| Ok(PathBuf::from(text));
    let node_name = read.value("node_name", &file.node_name, name)?;
    let kubeconfig = read.value("kubeconfig", &file.kubeconfig, path)?;
    let pods = read.value("pods", &file.pods, |text| text.parse())?;
    let cri_socket = read.value("cri_socket", &file.cri_socket, path)?;
    let cni_dir = read.value("cni_dir", &file.cni_dir, path)?;
    let cgroup_root = read.value("cgroup_root", &file.cgroup_root, name)?;
    let members = read.value("etcd", &file.etcd, |all| Ok(all.clone()))?;
    let cacert = read.value("etcd_cacert", &file.etcd_cacert, path)?;
    let key = read.value("etcd_key", &file.etcd_key, path)?;
    let paired = |text: &String| match key.is_some() {
        true => path(text),
        false => Err("etcd_key names its key, and is missing".to_owned()),
    };
    let cert = read.value("etcd_cert", &file.etcd_cert, paired)?;
    if key.is_some() && cert.is_none() {
        let alone = |_: &String| -> Result<(), _> {
            Err("etcd_cert names its certificate, and is missing".to_owned())
        };
        read.value("etcd_key", &file.etcd_key, alone)?;
    }
    place.node_name = place.node_name.take().or(node_name);
    place.kubeconfig = place.kubeconfig.take().or(kubeconfig);
    // Whoever types auto wants what is there in any case.
    if place.pods == Source::Auto {
        place.pods = pods.unwrap_or_default();
    }
    place.cri_socket = place.cri_socket.take().or(cri_socket);
    place.cni_dir = place.cni_dir.take().or(cni_dir);
    place.cgroup_root = place.cgroup_root.take().or(cgroup_root);
    let etcd = &mut place.etcd;
    if etcd.etcd.is_empty() {
        etcd.etcd = members.unwrap_or_default();
    }
    etcd.etcd_cacert = etcd.etcd_cacert.take().or(cacert);
    // A certificate and its key are of one place.
    if etcd.etcd_cert.is_none() {
        (etcd.etcd_cert, etcd.etcd_key) = (cert, key);
    }
    Ok(())
}

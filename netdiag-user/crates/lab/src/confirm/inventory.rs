//! What a lab has of that for which there is no API in it: pods with their containers, Services, nodes.
//! It comes from the lab's plan and what the scenario does to it, never from a verdict.
use std::collections::BTreeSet;

use super::cited;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::plan::Plan;

/// What Kubernetes, flannel, Cilium and Calico are installed as by their own manifests: namespace,
/// object, its containers.
const INSTALLED: [(&str, &str, &[&str]); 8] = [
    ("kube-system", "configmap/coredns", &[]),
    ("kube-system", "k8s-app=kube-proxy", &["kube-proxy"]),
    ("kube-system", "ds/cilium", &["cilium-agent"]),
    (
        "kube-flannel",
        "daemonset/kube-flannel-ds",
        &["kube-flannel"],
    ),
    ("kube-flannel", "configmap/kube-flannel-cfg", &[]),
    ("kube-flannel", "app=flannel", &["kube-flannel"]),
    ("calico-system", "ds/calico-node", &["calico-node"]),
    ("calico-system", "k8s-app=calico-node", &["calico-node"]),
];

#[derive(Debug, Default)]
pub struct Inventory {
    pub pods: Vec<Pod>,
    /// Names and addresses of the nodes.
    pub hosts: BTreeSet<String>,
    /// All that the scenario does to the lab, its rules' comments among it: `namespace/service:port`.
    pub done: String,
}

#[derive(Debug)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub containers: Vec<&'static str>,
}

impl Inventory {
    pub fn new(case: Case, plan: &Plan) -> Self {
        let daemons = case.daemons(plan);
        let planned = plan.pods().map(|pod| {
            let own = daemons.iter().filter(|daemon| daemon.netns == pod.netns);
            Pod {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                containers: own.filter_map(|daemon| daemon.container).collect(),
            }
        });
        let nodes = plan.nodes.iter();
        let hosts = nodes.flat_map(|node| {
            let fixed = [node.ipv4.into(), node.ipv6.into(), node.local];
            let leased = node.leased.map(Into::into);
            let all = fixed.into_iter().chain(leased).chain(node.told);
            all.map(|address| address.to_string())
                .chain([node.name.clone()])
        });
        Self {
            pods: planned.chain(daemons.iter().flat_map(of_kubelet)).collect(),
            hosts: hosts.collect(),
            done: format!(
                "{:?} {daemons:?} {:?}",
                case.faults(plan),
                case.timelines(plan)
            ),
        }
    }

    pub fn has_namespace(&self, namespace: &str) -> bool {
        let of_pod = self.pods.iter().any(|pod| pod.namespace == namespace);
        of_pod || INSTALLED.iter().any(|(of, _, _)| *of == namespace)
    }

    pub fn has_service(&self, namespace: &str, name: &str) -> bool {
        let path = format!("{namespace}/{name}");
        cited::stands(&self.done, &path, |c| c.is_alphanumeric() || c == '-')
    }

    /// Whether a daemon of the cluster's is known by that label, in whatever namespace.
    pub fn has_daemon(&self, label: &str) -> bool {
        INSTALLED.iter().any(|(_, object, _)| *object == label)
    }

    /// The containers of an object, as kubectl names it; nothing where there is none such.
    pub fn containers(&self, namespace: &str, object: &str) -> Option<&[&'static str]> {
        let mut installed = INSTALLED.iter();
        let installed = installed.find(|(of, known, _)| (*of, *known) == (namespace, object));
        let pod = object.strip_prefix("pod/");
        let mut pods = self.pods.iter();
        let pod = pods.find(|it| it.namespace == namespace && Some(it.name.as_str()) == pod);
        let of_pod = pod.map(|pod| pod.containers.as_slice());
        of_pod.or(installed.map(|(_, _, containers)| *containers))
    }
}

/// Pods that a kubelet of the lab's asks its runtime for, `namespace/name` each.
fn of_kubelet(daemon: &Daemon) -> Vec<Pod> {
    let kubelet = daemon.arguments.iter().any(|word| word == "kubelet");
    let paths = daemon.arguments.iter().filter(|_| kubelet);
    let plain = |part: &str| !part.is_empty() && !part.contains(['/', '{']);
    let pods = paths.filter_map(|path| path.split_once('/'));
    let pods = pods.filter(|(namespace, name)| plain(namespace) && plain(name));
    pods.map(|(namespace, name)| Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        containers: Vec::new(),
    })
    .collect()
}

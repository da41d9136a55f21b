//! How a daemon of the cluster's is restarted, or read, on this node alone: by the pod that its
//! DaemonSet has here where a source of pods knows it, as the service that it is, else by its label
//! and the node's name. For words and commands only: nothing is decided by these names.
use crate::{
    model::{
        control::is_of_cluster,
        pod::{Container, Pod},
        shell::CommandLine,
    },
    pipeline::facts::Facts,
    shell,
};

/// As flanneld's process is called.
pub const FLANNELD: &str = "flanneld";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    Flannel,
    Calico,
    KubeProxy,
}

use Daemon::{Calico, Flannel, KubeProxy};

/// Whoever keeps pods' routes and neighbours here, as far as its pod or its devices tell.
pub fn of_network(facts: &Facts<'_>) -> Option<Daemon> {
    let all = [Flannel, Calico];
    let known = all.into_iter().find(|it| it.pod(facts).is_some());
    let runs = || (!facts.gathered.commands(FLANNELD).is_empty()).then_some(Flannel);
    known.or_else(runs).or_else(|| {
        let mut links = facts.node.links.iter();
        links.find_map(|link| by_device(&link.name))
    })
}

/// This node, as the cluster calls it.
fn node<'a>(facts: &Facts<'a>) -> &'a String {
    facts.cluster.node.as_ref().unwrap_or(&facts.node.name)
}

fn by_device(name: &str) -> Option<Daemon> {
    match name {
        _ if name.starts_with("flannel.") || name.starts_with("flannel-v6.") => Some(Flannel),
        "vxlan.calico" | "vxlan-v6.calico" | "wireguard.cali" => Some(Calico),
        _ if name.starts_with("cali") => Some(Calico),
        _ => None,
    }
}

impl Daemon {
    /// Its container, as its own manifests call it.
    const fn container(self) -> &'static str {
        match self {
            Flannel => "kube-flannel",
            Calico => "calico-node",
            KubeProxy => "kube-proxy",
        }
    }

    const fn process(self) -> &'static str {
        match self {
            Flannel => FLANNELD,
            Calico => "calico-node",
            KubeProxy => "kube-proxy",
        }
    }

    /// Which all versions of its manifests give its pods.
    const fn label(self) -> (&'static str, &'static str) {
        match self {
            Flannel => ("app", "flannel"),
            Calico => ("k8s-app", "calico-node"),
            KubeProxy => ("k8s-app", "kube-proxy"),
        }
    }

    /// Its pod on this node, and the container in it that it runs in where that is known.
    fn pod<'a>(self, facts: &Facts<'a>) -> Option<(&'a Pod, Option<&'a Container>)> {
        let here = |pod: &&Pod| {
            let name = node(facts);
            pod.host_network && pod.gone.is_none() && pod.node.as_ref().is_none_or(|n| n == name)
        };
        facts.pods.iter().filter(here).find_map(|pod| {
            let own = pod.containers.iter().find(|it| self.is(it));
            let (key, value) = self.label();
            let labelled = pod.labels.get(key).is_some_and(|own| own == value);
            let trusted = pod.namespace.is_empty() || is_of_cluster(&pod.namespace);
            (trusted && (own.is_some() || labelled)).then_some((pod, own))
        })
    }

    fn is(self, container: &Container) -> bool {
        match container.name.as_str() {
            // Only the kernel was asked.
            "" => container.process.as_deref() == Some(self.process()),
            name => name == self.container(),
        }
    }

    /// Restarts it on this node: what its DaemonSet made is made anew. Where nobody knows its pod,
    /// a look at what to restart: a stranger's pod may have the same label.
    pub fn restart(self, facts: &Facts<'_>) -> CommandLine {
        if let Some((pod, container)) = self.pod(facts) {
            // The API has only a picture of a static pod: kubelet would not stop it.
            let owned = pod.owner.as_ref().is_some_and(|o| o.kind == "DaemonSet");
            match container {
                Some(it) if !owned && !it.id.is_empty() => return shell!("crictl stop {}", it.id),
                _ if !pod.name.is_empty() => {
                    return shell!("kubectl -n {v} delete pod {}", pod.namespace, pod.name);
                }
                _ => {}
            }
        }
        let commands = facts.gathered.commands(self.process());
        if let Some(unit) = commands.iter().find_map(|it| it.unit.as_ref()) {
            return shell!("systemctl restart {}", unit);
        }
        let (key, value) = self.label();
        let node = node(facts);
        match self {
            // In this namespace alone, wherever it has pods.
            KubeProxy => shell!(
                "kubectl -n kube-system delete pods -l {v}={} --field-selector spec.nodeName={}",
                key,
                value,
                node
            ),
            Flannel | Calico => shell!(
                "kubectl get pods -A -l {v}={} --field-selector spec.nodeName={}",
                key,
                value,
                node
            ),
        }
    }

    /// What it printed last on this node.
    pub fn logs(self, facts: &Facts<'_>) -> CommandLine {
        let (key, value) = self.label();
        match self.pod(facts) {
            Some((pod, _)) if !pod.name.is_empty() => {
                let container = self.container();
                let (namespace, name) = (&pod.namespace, &pod.name);
                shell!(
                    "kubectl -n {v} logs {} -c {} --tail=20",
                    namespace,
                    name,
                    container
                )
            }
            _ => shell!(
                "kubectl -n kube-system logs --tail=20 $( kubectl -n kube-system get pods -o name -l {v}={} --field-selector spec.nodeName={} )",
                key,
                value,
                node(facts)
            ),
        }
    }
}

/// On the node that unit tests are of, where nobody knows its pod.
#[cfg(test)]
pub const FINDS_CALICO: &str =
    "kubectl get pods -A -l k8s-app=calico-node --field-selector spec.nodeName=n1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            cluster::Cluster,
            command::Command,
            gather::{Piece, Want},
            observation::Observation,
            verdict::Owner,
        },
        testing::{overlay_node, with_gathered, with_pods},
    };

    fn pod(namespace: &str, name: &str, container: Container) -> Pod {
        Pod {
            namespace: namespace.into(),
            name: name.into(),
            host_network: true,
            owner: Some(Owner::new("DaemonSet", "kube-flannel-ds")),
            containers: vec![container],
            ..Pod::default()
        }
    }

    fn flannel() -> Pod {
        let container = Container {
            id: "0123456789ab".into(),
            name: "kube-flannel".into(),
            ..Container::default()
        };
        pod("kube-flannel", "kube-flannel-ds-x2b4c", container)
    }

    fn told(pods: Vec<Pod>, daemon: Daemon) -> (String, String) {
        let node = overlay_node(1450, 1450, 1500);
        with_pods(&node, pods, &Cluster::default(), |facts| {
            let (restart, logs) = (daemon.restart(facts), daemon.logs(facts));
            (restart.text(), logs.text())
        })
    }

    #[test]
    fn a_pod_that_is_known_is_named() {
        let (restart, logs) = told(vec![flannel()], Flannel);
        assert_eq!(
            restart,
            "kubectl -n kube-flannel delete pod kube-flannel-ds-x2b4c"
        );
        let expected =
            "kubectl -n kube-flannel logs kube-flannel-ds-x2b4c -c kube-flannel --tail=20";
        assert_eq!(logs, expected);
        let node = overlay_node(1450, 1450, 1500);
        let found = with_pods(&node, vec![flannel()], &Cluster::default(), of_network);
        assert_eq!(found, Some(Flannel), "whatever its devices are called");
    }

    /// Pods of other nodes, of strangers, and those that have ended.
    #[test]
    fn only_this_nodes_own_is_meant() {
        let elsewhere = Pod {
            node: Some("n9".into()),
            ..flannel()
        };
        let stranger = Pod {
            namespace: "team-a".into(),
            ..flannel()
        };
        let gone = Pod {
            gone: Some(1),
            ..flannel()
        };
        let name = overlay_node(1450, 1450, 1500).name;
        for other in [elsewhere, stranger, gone] {
            let (restart, _) = told(vec![other], Flannel);
            let look =
                format!("kubectl get pods -A -l app=flannel --field-selector spec.nodeName={name}");
            assert_eq!(restart, look);
        }
        let (restart, logs) = told(Vec::new(), KubeProxy);
        let by_label = format!(
            "kubectl -n kube-system delete pods -l k8s-app=kube-proxy \
             --field-selector spec.nodeName={name}"
        );
        assert_eq!(restart, by_label);
        let by_label = format!(
            "kubectl -n kube-system logs --tail=20 $(kubectl -n kube-system get pods -o name \
             -l k8s-app=kube-proxy --field-selector spec.nodeName={name})"
        );
        assert_eq!(logs, by_label);
    }

    #[test]
    fn without_a_daemonset_its_container_is_stopped() {
        let unnamed = Container {
            id: "0123456789ab".into(),
            process: Some("flanneld".into()),
            ..Container::default()
        };
        let known = Pod {
            owner: None,
            ..pod("", "", unnamed)
        };
        let fixed = Pod {
            owner: None,
            ..flannel()
        };
        for pod in [known, fixed] {
            let (restart, _) = told(vec![pod], Flannel);
            assert_eq!(restart, "crictl stop 0123456789ab");
        }
    }

    #[test]
    fn a_service_is_restarted_as_one() {
        let command = Command {
            pid: 5,
            arguments: vec![FLANNELD.into()],
            unit: Some("flanneld.service".into()),
        };
        let piece = (
            Want::Commands(FLANNELD.into()),
            Ok(Piece::Commands(vec![command])),
        );
        let node = overlay_node(1450, 1450, 1500);
        let told = with_gathered(&node, &Observation::default(), [piece], |facts| {
            of_network(facts).map(|it| it.restart(facts).text())
        });
        assert_eq!(told.as_deref(), Some("systemctl restart flanneld.service"));
    }
}

//! Commands for the cluster's API and for other nodes. A lab has no API and does not log in: they are
//! not run, but the namespace, object and container that they name must be the lab's.
use super::inventory::Inventory;
use crate::model::shell::CommandLine;

/// Options whose value is the next word.
const WITH_VALUE: [&str; 6] = ["--field-selector", "-c", "-l", "-n", "-o", "-p"];
/// What stands for the words that another command prints.
const PRINTED: &str = ")";
/// A field selector of those of one node.
const OF_NODE: &str = "spec.nodeName=";
/// What kubectl lists, of a namespace or of all.
const LISTS: [&str; 3] = ["pods", "services", "endpointslices"];

impl Inventory {
    /// Why the command would find nothing.
    pub fn lacks(&self, command: &CommandLine) -> Option<String> {
        let mut programs = command.programs().into_iter();
        programs.find_map(|words| match words.split_first()? {
            (&"kubectl", rest) => self.lacks_object(&Asked::of(rest)),
            (&"ssh", [host, ..]) if self.hosts.contains(*host) => None,
            (&"ssh", rest) => Some(format!("{:?} is no node", rest.first())),
            _ => None,
        })
    }

    fn lacks_object(&self, asked: &Asked<'_>) -> Option<String> {
        let namespace = asked.option("-n").unwrap_or_default();
        let missing = |what: &str| Some(format!("the lab has no {what} in {namespace:?}"));
        let node = asked.option("--field-selector");
        let lacks = node.and_then(|it| match it.strip_prefix(OF_NODE) {
            Some(node) => self.lacks_host(node),
            None => Some(format!("it selects by {it}")),
        });
        if lacks.is_some() {
            return lacks;
        }
        match asked.plain[..] {
            ["get", "node", name] => return self.lacks_host(name),
            // The one within is looked at by itself.
            ["logs", PRINTED] if self.has_namespace(namespace) => return None,
            ["get" | "delete", "pods"] if asked.has("-l") && node.is_some() => {
                // Of all namespaces one only looks: a stranger's pod may have the label.
                if asked.plain[0] == "delete" && !self.has_namespace(namespace) {
                    return Some("it deletes in no namespace of the lab's".into());
                }
                let label = asked.option("-l").unwrap_or_default();
                return match self.has_daemon(label) {
                    true => None,
                    false => missing(&format!("daemon with the label {label:?}")),
                };
            }
            ["get", list] if LISTS.contains(&list) && asked.has("-A") => return None,
            _ if namespace.is_empty() => return Some("it names no namespace".into()),
            _ if !self.has_namespace(namespace) => return missing("such namespace"),
            _ => {}
        }
        let object = match asked.plain[..] {
            ["logs" | "exec", workload] if workload.contains('/') => workload.to_owned(),
            ["logs" | "exec", pod] => format!("pod/{pod}"),
            ["get" | "describe" | "delete" | "edit" | "patch", kind, name] => {
                format!("{kind}/{name}")
            }
            ["logs"] => asked.option("-l").unwrap_or_default().to_owned(),
            ["get", list] if LISTS.contains(&list) => match asked.option("-l") {
                Some(label) => label.to_owned(),
                None => return None,
            },
            _ => return Some("it asks for something of which the lab knows nothing".into()),
        };
        let service = object.strip_prefix("service/");
        let service = service.or(object.strip_prefix("kubernetes.io/service-name="));
        if let Some(name) = service {
            return match self.has_service(namespace, name) {
                true => None,
                false => missing(&object),
            };
        }
        match (self.containers(namespace, &object), asked.option("-c")) {
            (None, _) => missing(&object),
            (Some(there), Some(container)) if !there.contains(&container) => {
                missing(&format!("container {container} of {object}"))
            }
            _ => None,
        }
    }

    fn lacks_host(&self, name: &str) -> Option<String> {
        let there = self.hosts.contains(name);
        (!there).then(|| format!("the lab has no node {name}"))
    }
}

/// Options with their values, and the other words up to `--`.
struct Asked<'a> {
    options: Vec<(&'a str, &'a str)>,
    plain: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(words: &[&'a str]) -> Self {
        let (mut options, mut plain) = (Vec::new(), Vec::new());
        let mut rest = words.iter().copied().take_while(|word| *word != "--");
        while let Some(word) = rest.next() {
            match word.starts_with('-') {
                true if WITH_VALUE.contains(&word) => {
                    options.push((word, rest.next().unwrap_or("")));
                }
                true => options.push((word, "")),
                false => plain.push(word),
            }
        }
        Self { options, plain }
    }

    fn option(&self, name: &str) -> Option<&'a str> {
        let mut options = self.options.iter();
        options.find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    fn has(&self, name: &str) -> bool {
        self.option(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::Pod;
    use super::*;
    use crate::{case::Case, scenarios, shell, state::Options};

    fn there() -> Inventory {
        let pod = |namespace: &str, name: &str, containers| Pod {
            namespace: namespace.into(),
            name: name.into(),
            containers,
        };
        Inventory {
            pods: vec![
                pod("team-a", "web-1", vec!["istio-proxy"]),
                pod("prod", "cart-1", Vec::new()),
            ],
            hosts: ["worker-1", "192.0.2.1"].map(str::to_owned).into(),
            done: r#"comment "prod/cart:http has no endpoints""#.into(),
        }
    }

    #[test]
    fn objects_are_those_that_are_there() {
        for known in [
            shell!(
                "kubectl -n {v} logs {} -c {v} --tail=20",
                "team-a",
                "web-1",
                "istio-proxy"
            ),
            shell!(
                "kubectl -n {v} exec {} -- cat /etc/resolv.conf",
                "team-a",
                "web-1"
            ),
            shell!("kubectl -n {v} get service {} -o wide", "prod", "cart"),
            shell!(
                "kubectl -n {v} get endpointslices -l kubernetes.io/service-name={}",
                "prod",
                "cart"
            ),
            shell!("kubectl -n {v} get pods --show-labels", "prod"),
            shell!("kubectl -n kube-system logs -l k8s-app=kube-proxy --tail=20"),
            shell!("kubectl -n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg status"),
            shell!("kubectl get pods -A -o wide | grep -F -e {v}", "10.0.0.1"),
            shell!("kubectl get node {} -o yaml", "worker-1"),
            shell!("ssh {} ip link", "192.0.2.1"),
            shell!(
                "kubectl get pods -A -l {v}={} --field-selector spec.nodeName={}",
                "app",
                "flannel",
                "worker-1"
            ),
            shell!(
                "kubectl -n kube-system delete pods -l k8s-app=kube-proxy --field-selector spec.nodeName={}",
                "worker-1"
            ),
            shell!(
                "kubectl -n kube-system logs --tail=20 $( kubectl -n kube-system get pods -o name -l k8s-app=kube-proxy --field-selector spec.nodeName={} )",
                "worker-1"
            ),
        ] {
            assert_eq!(there().lacks(&known), None, "{known}");
        }
    }

    #[test]
    fn a_wrong_namespace_object_or_container_is_told() {
        let logs = |namespace, pod, container| {
            shell!("kubectl -n {v} logs {} -c {v}", namespace, pod, container)
        };
        for (unknown, why) in [
            (logs("team-a", "web-1", "linkerd-proxy"), "linkerd-proxy"),
            // Another pod's.
            (logs("prod", "cart-1", "istio-proxy"), "istio-proxy"),
            (logs("prod", "web-1", "istio-proxy"), "pod/web-1"),
            (logs("team-b", "web-1", "istio-proxy"), "namespace"),
            (
                shell!("kubectl -n {v} delete pod {}", "team-a", "web"),
                "pod/web",
            ),
            (
                shell!("kubectl -n {v} get service {}", "team-a", "cart"),
                "service/cart",
            ),
            (
                shell!(
                    "kubectl -n {v} get endpointslices -l kubernetes.io/service-name={}",
                    "prod",
                    "car"
                ),
                "name=car ",
            ),
            (
                shell!("kubectl -n {v} get pods --show-labels", "team-b"),
                "namespace",
            ),
            (shell!("kubectl logs {}", "web-1"), "it names no namespace"),
            (
                shell!("kubectl -n kube-system get configmap {} -o yaml", "flannel"),
                "configmap/flannel",
            ),
            (
                shell!("kubectl -n kube-system exec ds/cilium -c {v} -- date", "sh"),
                "container sh",
            ),
            (shell!("kubectl get node {}", "worker-9"), "worker-9"),
            (shell!("kubectl apply -f -"), "it names no namespace"),
            (
                shell!("kubectl delete pods -A -l app=flannel"),
                "it names no namespace",
            ),
            (
                shell!(
                    "kubectl delete pods -A -l app=flannel --field-selector spec.nodeName=worker-1"
                ),
                "in no namespace",
            ),
            (
                shell!("kubectl get pods -A -l app=web --field-selector spec.nodeName=worker-1"),
                "app=web",
            ),
            (
                shell!("kubectl get pods -A -l app=flannel --field-selector spec.nodeName=other"),
                "no node other",
            ),
            (
                shell!(
                    "kubectl -n kube-system logs $( kubectl -n kube-system get pods -o name -l app=web )"
                ),
                "app=web",
            ),
            (shell!("ssh {} ip link", "192.0.2.99"), "192.0.2.99"),
        ] {
            let told = there().lacks(&unknown).unwrap_or_default();
            assert!(told.contains(why), "{unknown}: {told:?}");
        }
    }

    /// The lab's own: a mesh's container is that of the pod in which its proxy runs.
    #[test]
    fn a_lab_has_the_containers_of_its_daemons() {
        let scenario = scenarios::find("sidecar-blocked").expect("a scenario");
        let of = |seed| {
            let options = Options {
                scenario: scenario.name.to_owned(),
                seed,
                healthy: false,
                ipv6: false,
                offload: true,
                with: None,
            };
            let case = Case::alone(scenario);
            let plan = case.plan("0000", options);
            let there = Inventory::new(case, &plan);
            let pod = plan.pods().next().expect("a pod");
            let logs = |container| {
                shell!(
                    "kubectl -n {v} logs {} -c {v}",
                    pod.namespace,
                    pod.name,
                    container
                )
            };
            ["istio-proxy", "linkerd-proxy"]
                .map(|container| there.lacks(&logs(container)).is_none())
        };
        assert_eq!(
            [0, 1, 2].map(of),
            [[true, false], [false, true], [true, false]]
        );
    }
}

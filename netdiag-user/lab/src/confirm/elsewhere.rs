//! Commands for the cluster's API and for other nodes. A lab has no API and does not log in: what they
//! name must be there, in the lab or in the verdict.
use super::cited;
use crate::cluster::Cluster;
use crate::model::shell::CommandLine;
use crate::model::verdict::Verdict;
use crate::plan::Plan;

/// Options whose value is the next word.
const WITH_VALUE: [&str; 5] = ["-c", "-l", "-n", "-o", "-p"];

/// What Kubernetes, flannel, Cilium and Calico are installed as by their own manifests.
const WELL_KNOWN: [(&str, &str); 7] = [
    ("kube-system", "configmap/coredns"),
    ("kube-system", "k8s-app=kube-proxy"),
    ("kube-system", "ds/cilium"),
    ("kube-system", "cilium-agent"),
    ("kube-flannel", "daemonset/kube-flannel-ds"),
    ("calico-system", "ds/calico-node"),
    ("kube-flannel", "configmap/kube-flannel-cfg"),
];

/// Why it would find nothing.
pub fn unknown(cluster: &Cluster, verdict: &Verdict, command: &CommandLine) -> Option<String> {
    let known = Known {
        plan: &cluster.plan,
        told: told(verdict),
    };
    let mut programs = command.programs().into_iter();
    programs.find_map(|words| match words.split_first()? {
        (&"kubectl", rest) => known.kubectl(rest),
        (&"ssh", rest) => known.host(rest.first()?),
        _ => None,
    })
}

/// All that the verdict says of pods, Services and containers, but for its commands.
fn told(verdict: &Verdict) -> String {
    let mut told = String::new();
    for finding in &verdict.findings {
        let names = finding.pods.iter().filter_map(|pod| {
            let (namespace, name) = (pod.namespace.as_ref()?, pod.name.as_ref()?);
            Some(format!("{namespace}/{name}"))
        });
        let texts = finding.evidence.iter().map(|line| line.text.clone());
        let services = finding.flows.iter().filter_map(|flow| flow.service.clone());
        let summaries = [finding.summary.clone(), finding.fix.summary.clone()];
        for text in names.chain(texts).chain(services).chain(summaries) {
            told.push_str(&text);
            told.push('\n');
        }
    }
    told
}

struct Known<'a> {
    plan: &'a Plan,
    told: String,
}

impl Known<'_> {
    fn kubectl(&self, words: &[&str]) -> Option<String> {
        let (options, plain) = taken_apart(words);
        let option = |name| options.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let namespace = option("-n").unwrap_or_default();
        let object = match plain[..] {
            ["logs" | "exec", workload] if workload.contains('/') => Some(workload.to_owned()),
            ["logs" | "exec", pod] => Some(format!("pod/{pod}")),
            ["get" | "describe" | "delete" | "edit" | "patch", kind, name] => {
                Some(format!("{kind}/{name}"))
            }
            ["get", "pods" | "services" | "endpointslices"] | ["logs"] => None,
            _ => return Some("asks kubectl for something of which the lab knows nothing".into()),
        };
        let label = option("-l").map(str::to_owned);
        let container = option("-c").map(str::to_owned);
        let named = [object, label, container].into_iter().flatten();
        let mut missing = named.filter(|name| !self.has(namespace, name));
        missing
            .next()
            .map(|name| format!("nobody knows {name} in {namespace:?}"))
    }

    fn has(&self, namespace: &str, object: &str) -> bool {
        if WELL_KNOWN.contains(&(namespace, object)) {
            return true;
        }
        let service = object.strip_prefix("kubernetes.io/service-name=");
        let service = service.or_else(|| object.strip_prefix("service/"));
        match (service, object.split_once('/')) {
            (Some(service), _) => self.says(&format!("{namespace}/{service}")),
            (None, Some(("node", name))) => self.plan.nodes.iter().any(|n| n.name == name),
            (None, Some(("pod", name))) => {
                let mut pods = self.plan.pods();
                pods.any(|pod| (pod.namespace.as_str(), pod.name.as_str()) == (namespace, name))
                    || self.says(&format!("{namespace}/{name}"))
            }
            // A container.
            (None, None) => self.says(object),
            (None, Some(_)) => self.says(&format!("{namespace}/{object}")),
        }
    }

    fn says(&self, name: &str) -> bool {
        cited::stands(&self.told, name, |c| c.is_alphanumeric() || c == '-')
    }

    fn host(&self, host: &str) -> Option<String> {
        let nodes = self.plan.nodes.iter();
        let mut all = nodes.flat_map(|node| {
            let leased = node.leased.map(|address| address.to_string());
            let told = node.told.map(|address| address.to_string());
            let own = [
                node.ipv4.to_string(),
                node.ipv6.to_string(),
                node.local.to_string(),
            ];
            own.into_iter()
                .chain(leased)
                .chain(told)
                .chain([node.name.clone()])
        });
        let known = all.any(|name| name == host);
        (!known).then(|| format!("{host} is no node"))
    }
}

type Options<'a> = Vec<(&'a str, &'a str)>;

/// Options with their values, and the other words up to `--`.
fn taken_apart<'a>(words: &[&'a str]) -> (Options<'a>, Vec<&'a str>) {
    let (mut options, mut plain) = (Vec::new(), Vec::new());
    let mut rest = words.iter().copied().take_while(|word| *word != "--");
    while let Some(word) = rest.next() {
        match word.starts_with('-') {
            true if WITH_VALUE.contains(&word) => options.push((word, rest.next().unwrap_or(""))),
            true => {}
            false => plain.push(word),
        }
    }
    (options, plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{case::Case, scenarios, shell, state::Options as LabOptions};

    fn unknown_of(told: &str, command: &CommandLine) -> Option<String> {
        let scenario = scenarios::find("healthy").expect("a scenario");
        let options = LabOptions {
            scenario: scenario.name.to_owned(),
            seed: 1,
            healthy: false,
            ipv6: false,
            offload: true,
            with: None,
        };
        let plan = Case::alone(scenario).plan("0000", options);
        let known = Known {
            plan: &plan,
            told: told.to_owned(),
        };
        let programs = command.programs();
        match programs[0].split_first().expect("words") {
            (&"kubectl", rest) => known.kubectl(rest),
            (_, rest) => known.host(rest[0]),
        }
    }

    #[test]
    fn objects_are_those_that_are_there() {
        let told = "reset by team-a/web-1 (istio-proxy); prod/cart:p has no endpoints";
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
            shell!("kubectl -n kube-system logs -l k8s-app=kube-proxy --tail=20"),
            shell!("kubectl get pods -A -o wide | grep -F -e {v}", "10.0.0.1"),
        ] {
            assert_eq!(unknown_of(told, &known), None, "{known}");
        }
        for unknown in [
            shell!(
                "kubectl -n {v} logs {} -c {v} --tail=20",
                "team-a",
                "web-1",
                "linkerd-proxy"
            ),
            shell!("kubectl -n {v} logs {}", "team-b", "web-1"),
            shell!("kubectl -n {v} delete pod {}", "team-a", "web"),
            shell!(
                "kubectl -n {v} get endpointslices -l kubernetes.io/service-name={}",
                "prod",
                "car"
            ),
            shell!("kubectl -n kube-system get configmap {} -o yaml", "flannel"),
            shell!("kubectl apply -f -"),
            shell!("ssh {} ip link", "192.0.2.99"),
        ] {
            assert!(unknown_of(told, &unknown).is_some(), "{unknown}");
        }
    }
}

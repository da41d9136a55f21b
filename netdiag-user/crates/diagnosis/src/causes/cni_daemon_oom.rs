//! # Symptom
//! Pods of one node lose the network, name resolution or Services for seconds at a time, or new pods get
//! no network. The daemon's pod shows `OOMKilled` and a growing restart count.
//!
//! # Mechanism
//! A network daemon (flanneld, calico-node, …) outgrew its container's memory limit, and the kernel
//! killed it (mm/oom_kill.c). flanneld's default limit of 50Mi is too small from about a hundred nodes
//! on. What the daemon had configured stays, but nothing updates it until the daemon runs again.
//!
//! # Signals
//! Observed: the kernel's `oom:mark_victim` with the victim's name, network namespace and memory cgroup;
//! that cgroup's limit, peak usage and `oom_kill` counter. Only victims in the network namespaces of this
//! node and its pods count. A daemon is recognised by its process name, which any process can have. So a
//! victim in a pod outside the cluster's own namespaces, in an unknown pod, or in a user's session is at
//! most a suspicion. A victim with any other name is reported as info: an application's memory limit is
//! no fault of the network.
//!
//! # Look-alikes
//! A daemon that crashes or is stopped leaves no such event. `kubectl describe pod` shows `OOMKilled`
//! long after the limit was raised.
//!
//! # By hand
//! `dmesg | grep -i 'killed process'`. `kubectl -n NAMESPACE describe pod POD` shows Last State with
//! Reason OOMKilled. `grep -r '^oom_kill [1-9]' /sys/fs/cgroup --include=memory.events` lists the cgroups
//! with kills (cgroup v2; for v1 read memory.oom_control of the container).
//!
//! # Fix
//! Raise the container's memory limit well above the observed peak.
use std::collections::BTreeMap;

use netdiag_common::oom::OomKill;
use netdiag_lang::{mark, say, t};

use crate::{
    model::{
        control::{MemoryCgroup, is_of_cluster},
        gather::Want,
        verdict::{
            Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity, Subject,
        },
    },
    need::Need,
    pipeline::facts::Facts,
    shell,
};

pub const ID: &str = "cni-daemon-oom";
pub const TITLE: &str = mark!("a network daemon (flanneld, calico-node, …) was OOM-killed");

/// What the network's daemons are called in ps(1), and what stands still without them. The kernel
/// keeps fifteen characters of a name.
const DAEMONS: &[(&[&str], &str)] = &[
    (
        &[
            "flanneld",
            "calico-node",
            "calico-felix",
            "felix",
            "bird",
            "bird6",
            "confd",
            "cilium-agent",
            "kube-router",
            "antrea-agent",
            "weaver",
            "kindnetd",
            "ovs-vswitchd",
            "ovsdb-server",
            "ovnkube",
            "ovn-controller",
            "aws-k8s-agent",
            "azure-cns",
            "multus-daemon",
            "canal",
            "spiderpool-agen",
            "kube-ovn-daemon",
            "galaxy",
            "romana_agent",
        ],
        mark!("routes, tunnels and policies to pods are not kept up to date"),
    ),
    (
        &["coredns", "node-cache", "kube-dns", "dnsmasq", "unbound"],
        mark!("names are not answered"),
    ),
    (
        &[
            "kube-proxy",
            "envoy",
            "pilot-agent",
            "linkerd2-proxy",
            "ztunnel",
            "cilium-envoy",
            "haproxy",
        ],
        mark!("services are not translated or forwarded as they should be"),
    ),
    (
        &["calico-typha", "typha", "speaker", "etcd"],
        mark!("other nodes hear no news of the network"),
    ),
];
/// Shorter names are parts of other words.
const SHORTEST: usize = 5;
/// One kill is a restart; more are a loop, in which the daemon does no work.
const LOOP: usize = 2;

struct Victims<'a> {
    name: String,
    /// They run where a daemon of the network does.
    believed: bool,
    kills: Vec<(u32, &'a OomKill)>,
}

impl Victims<'_> {
    fn stops(&self) -> Option<&'static str> {
        let known = DAEMONS
            .iter()
            .find(|(names, _)| names.contains(&self.name.as_str()));
        known.map(|(_, stops)| say(stops))
    }

    fn severity(&self) -> Severity {
        match (self.stops(), self.kills.len()) {
            (None, _) => Severity::Info,
            (_, n) if n >= LOOP && self.believed => Severity::Critical,
            _ => Severity::Warning,
        }
    }

    fn last(&self) -> &OomKill {
        let last = self
            .kills
            .iter()
            .map(|(_, kill)| *kill)
            .max_by_key(|kill| kill.time);
        last.unwrap_or(self.kills[0].1)
    }
}

/// The cgroups of those that were killed.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let known = ours(facts).filter(|(_, kill)| kill.cgroup != 0);
    known
        .map(|(_, kill)| Need::detail(Want::MemoryCgroup(kill.cgroup)))
        .collect()
}

/// Where the namespace is not known, nothing says that it was one of this node's.
fn ours<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = (u32, &'a OomKill)> {
    let all = facts.oom_kills.iter().map(|(pid, kill)| (*pid, kill));
    all.filter(|(_, kill)| kill.netns != 0)
}

/// Whether nothing says that somebody else only calls it so.
fn is_believed(facts: &Facts<'_>, kill: &OomKill) -> bool {
    let cgroup = facts.gathered.memory_cgroup(kill.cgroup);
    let own = kill.netns == facts.node.netns;
    let uid = cgroup.and_then(MemoryCgroup::pod_uid);
    if cgroup.is_some_and(MemoryCgroup::is_delegated) {
        return false;
    }
    if own && uid.is_none() {
        return true;
    }
    let by_kubelet = cgroup.and_then(|cgroup| cgroup.namespace.as_deref());
    let by_source = facts.pods.by_netns(kill.netns);
    let by_source = by_source.map(|pod| pod.namespace.as_str());
    by_kubelet.or(by_source).is_some_and(is_of_cluster)
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut by_name: BTreeMap<(String, bool), Vec<(u32, &OomKill)>> = BTreeMap::new();
    for (pid, kill) in ours(facts) {
        let key = (name(kill), is_believed(facts, kill));
        by_name.entry(key).or_default().push((pid, kill));
    }
    let victims = by_name
        .into_iter()
        .map(|((name, believed), kills)| Victims {
            name,
            believed,
            kills,
        });
    let mut victims: Vec<_> = victims.collect();
    victims.sort_by_key(|v| std::cmp::Reverse((v.severity(), v.believed, v.kills.len())));
    let worst = victims.first()?;
    let confidence = match worst.believed || worst.stops().is_none() {
        true => Confidence::Confirmed,
        false => Confidence::Suspected,
    };
    let cgroup = facts.gathered.memory_cgroup(worst.last().cgroup);
    let summary = summary(worst, cgroup);
    let mut finding = Finding::new(ID, worst.severity(), confidence, summary);
    for each in &victims {
        finding.evidence.extend(evidence(facts, each));
        finding.pods.extend(pods(facts, each));
    }
    if let Some(name) = network(&worst.name) {
        let because = t!("the plugin needs {}, which was killed", worst.name);
        let name = name.to_owned();
        finding.ties.blame(Subject::Daemon { name }, because);
    }
    finding.fix = fix(worst, cgroup);
    let times = worst.kills.iter().map(|(_, kill)| kill.time);
    finding.first_seen = facts.clock.text(times.clone().min()?);
    finding.last_seen = facts.clock.text(times.max()?);
    Some(finding)
}

/// What a daemon's plugin is called too: flanneld's is flannel, calico-node's calico, and
/// cilium-agent's cilium-cni.
fn network(daemon: &str) -> Option<&str> {
    let network = daemon.split('-').next()?.trim_end_matches('d');
    (network.len() >= SHORTEST).then_some(network)
}

pub fn name(kill: &OomKill) -> String {
    let end = kill.comm.iter().position(|b| *b == 0);
    let bytes = &kill.comm[..end.unwrap_or(kill.comm.len())];
    String::from_utf8_lossy(bytes).into_owned()
}

fn summary(worst: &Victims<'_>, cgroup: Option<&MemoryCgroup>) -> String {
    let times = match worst.kills.len() {
        1 => t!("was OOM-killed").to_owned(),
        n => t!("was OOM-killed {n} times"),
    };
    let limit = cgroup.and_then(|c| c.limit);
    let limit = limit.map_or_else(String::new, |l| t!(" (its limit is {})", size(l)));
    let stops = match worst.stops() {
        Some(stops) if worst.believed => t!("until it runs again, {stops}"),
        Some(stops) => {
            t!("if it is the cluster's and not only called so, {stops} until it runs again")
        }
        None => t!("it is no daemon of the network").to_owned(),
    };
    t!("{} {times}{limit}: {stops}", worst.name)
}

fn evidence(facts: &Facts<'_>, victims: &Victims<'_>) -> Vec<Evidence> {
    let pids: Vec<_> = victims
        .kills
        .iter()
        .map(|(pid, _)| pid.to_string())
        .collect();
    let text = t!(
        "the kernel killed {} (pid {})",
        victims.name,
        pids.join(t!(", "))
    );
    let mut killed = Evidence::new(EvidenceKind::Process, Origin::Observed, text);
    killed.confirm = Some(shell!("dmesg | grep -i 'killed process'"));
    let cgroup = facts.gathered.memory_cgroup(victims.last().cgroup);
    [Some(killed), cgroup.map(limits)]
        .into_iter()
        .flatten()
        .collect()
}

fn limits(cgroup: &MemoryCgroup) -> Evidence {
    let kills = cgroup.kills.map(|n| t!("{n} killed in it so far"));
    let owner = [
        cgroup.pod_uid().map(|uid| t!("pod {uid}")),
        cgroup.container().map(|id| t!("container {id}")),
    ];
    let parts = [
        cgroup.limit.map(|bytes| t!("limit {}", size(bytes))),
        cgroup.peak.map(|bytes| t!("peak {}", size(bytes))),
        kills,
    ];
    let parts: Vec<_> = owner.into_iter().chain(parts).flatten().collect();
    let text = t!("memory cgroup {}: {}", cgroup.path, parts.join(t!(", ")));
    let mut line = Evidence::new(EvidenceKind::Counter, Origin::Observed, text);
    line.at = Some(cgroup.path.clone());
    line.confirm = Some(shell!("cat {}", cgroup.limit_file));
    line
}

/// Daemons in the node's own namespace are no pods by address.
fn pods(facts: &Facts<'_>, victims: &Victims<'_>) -> Option<crate::model::verdict::PodRef> {
    let pod = facts.pods.by_netns(victims.last().netns)?;
    Some(pod.refer(None, Some(PodRole::Victim)))
}

fn fix(worst: &Victims<'_>, cgroup: Option<&MemoryCgroup>) -> Fix {
    let limit = cgroup.and_then(|c| c.limit);
    let need = cgroup.and_then(|c| c.peak.max(c.limit));
    let raise = match need {
        // Killed at its limit: how much more it wanted is not to be seen. Twice is a start.
        Some(bytes) => t!("raise it to {} at least", size(bytes.saturating_mul(2))),
        None => t!("raise it").to_owned(),
    };
    let now = limit.map_or_else(String::new, |l| t!(" (now {})", size(l)));
    let owner = cgroup.and_then(MemoryCgroup::pod_uid);
    let find = owner.map(|uid| {
        shell!("kubectl get pods -A -o jsonpath='{{range .items[?(@.metadata.uid==\"{}\")]}}{{.metadata.namespace}}/{{.metadata.name}}{{\"\\n\"}}{{end}}'", uid)
    });
    Fix {
        summary: t!(
            "the memory limit of the container that runs {}{now} is too small: {raise} \
             (resources.limits.memory in its DaemonSet or Deployment), and watch what it uses",
            worst.name
        ),
        commands: find.into_iter().collect(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{}Ki", bytes >> 10),
        _ => format!("{}Mi", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{gather::Piece, observation::Observation},
        testing::{NETNS, POD_NETNS, overlay_node, with_gathered},
    };

    fn found(names: &[&str], netns: u32) -> Option<Finding> {
        let kill = |(pid, name): (usize, &&str)| {
            let mut comm = [0; 16];
            comm[..name.len()].copy_from_slice(name.as_bytes());
            let kill = OomKill {
                time: 1,
                cgroup: 7,
                netns,
                comm,
                ..OomKill::default()
            };
            (pid as u32, kill)
        };
        let observation = Observation {
            oom_kills: names.iter().enumerate().map(kill).collect(),
            ..Observation::default()
        };
        let cgroup = MemoryCgroup {
            path: "/system.slice/x".into(),
            limit: Some(50 << 20),
            ..MemoryCgroup::default()
        };
        let piece = (Want::MemoryCgroup(7), Ok(Piece::MemoryCgroup(cgroup)));
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &observation, [piece], evaluate)
    }

    #[test]
    fn daemons_of_the_network_are_named_with_their_limit() {
        let once = found(&["coredns"], NETNS).expect("a finding");
        assert_eq!(once.severity, Severity::Warning);
        assert!(once.summary.contains("50Mi"), "{}", once.summary);
        assert!(once.fix.summary.contains("100Mi"), "{}", once.fix.summary);
        let looping = found(&["java", "flanneld", "flanneld"], NETNS).expect("a finding");
        assert_eq!(looping.severity, Severity::Critical);
        assert!(looping.summary.starts_with("flanneld"));
    }

    /// Any pod can have a process of any name, and little memory.
    #[test]
    fn a_name_alone_confirms_nothing() {
        let found = |netns: u32, path: &str, namespace: Option<&str>| {
            let kill = |time| OomKill {
                time,
                cgroup: 7,
                netns,
                comm: *b"flanneld\0\0\0\0\0\0\0\0",
                ..OomKill::default()
            };
            let observation = Observation {
                oom_kills: vec![(1, kill(1)), (2, kill(2))],
                ..Observation::default()
            };
            let cgroup = MemoryCgroup {
                path: path.into(),
                namespace: namespace.map(str::to_owned),
                ..MemoryCgroup::default()
            };
            let piece = (Want::MemoryCgroup(7), Ok(Piece::MemoryCgroup(cgroup)));
            let node = overlay_node(1450, 1450, 1500);
            let found = with_gathered(&node, &observation, [piece], evaluate);
            let found = found.expect("a finding");
            (found.confidence, found.severity)
        };
        let pod = "/kubepods/pod0c4e7e2a-5e9e-4b5e-9a43-1f1b1d2c3e4f/c";
        let confirmed = (Confidence::Confirmed, Severity::Critical);
        let suspected = (Confidence::Suspected, Severity::Warning);
        assert_eq!(
            found(NETNS, "/system.slice/flanneld.service", None),
            confirmed
        );
        for netns in [NETNS, POD_NETNS] {
            assert_eq!(found(netns, pod, Some("kube-flannel")), confirmed);
            assert_eq!(found(netns, pod, Some("shop")), suspected);
            assert_eq!(found(netns, pod, None), suspected);
        }
        assert_eq!(found(POD_NETNS, "/x", None), suspected);
        let session = "/user.slice/user-1000.slice/user@1000.service/x.scope";
        assert_eq!(found(NETNS, session, None), suspected);
    }

    #[test]
    fn an_application_is_for_information_and_a_stranger_nothing() {
        let severity = found(&["java"], NETNS).map(|f| f.severity);
        assert_eq!(severity, Some(Severity::Info));
        assert!(
            found(&["flanneld"], 0).is_none(),
            "nobody knows whose it was"
        );
    }
}

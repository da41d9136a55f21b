//! Which findings explain which: incidents come as chains, and ten symptoms of one fault must read
//! as one incident.
//!
//! A link is tried where both causes are found. It tells whether this consequence follows from
//! that root, and how, in one sentence; "both are there" is never enough.
use netdiag_common::dns::PORT;

use crate::model::{
    address::endpoint,
    verdict::{Evidence, EvidenceKind, Finding, Severity},
};

/// One way in which a cause brings about another.
struct Link {
    root: &'static str,
    consequence: &'static str,
    /// The sentence that joins the two, when they are about the same thing.
    joins: fn(&Finding, &Finding) -> Option<String>,
}

/// Any other cause: what befalls a lookup can befall all else.
const ANY: &str = "*";

/// Every link. The first that holds for a consequence is the one that is told.
const LINKS: &[Link] = &[
    Link {
        root: "link-failure",
        consequence: "neighbour-failed",
        joins: |root, silence| {
            let link = same_link(root, silence)?;
            Some(format!("nobody answers by {link}, which has no carrier"))
        },
    },
    Link {
        root: "service-stale-endpoint",
        consequence: "neighbour-failed",
        joins: |root, silence| {
            let address = root.shares(silence)?;
            Some(format!("a Service still sends connections to {address}"))
        },
    },
    Link {
        root: "duplicate-address",
        consequence: "not-listening",
        joins: |root, refusal| {
            let address = root.shares(refusal)?;
            Some(format!(
                "another host that holds {address} refuses what was meant for the first"
            ))
        },
    },
    // Silence alone never stands beside what explains it.
    Link {
        root: "vxlan-source-mismatch",
        consequence: "overlay-blocked",
        joins: |root, silence| {
            let peer = root.shares(silence)?;
            Some(format!(
                "{peer} is sent packets from an address that it does not expect"
            ))
        },
    },
    Link {
        root: "overlay-wrong-interface",
        consequence: "overlay-blocked",
        joins: |root, silence| {
            let peer = root.shares(silence)?;
            Some(format!(
                "{peer} is sent packets from the address of a NIC that does not lead to it"
            ))
        },
    },
    // Seen where both nodes were recorded.
    Link {
        root: ANY,
        consequence: "overlay-blocked",
        joins: takes_answers_there,
    },
    Link {
        root: ANY,
        consequence: "overlay-blocked",
        joins: drops_them_there,
    },
    Link {
        root: "vxlan-source-mismatch",
        consequence: "neighbour-failed",
        joins: |root, silence| {
            let address = root.shares(silence)?;
            Some(format!(
                "{address} is a VTEP's old address, which nobody holds"
            ))
        },
    },
    Link {
        root: "etcd-nospace",
        consequence: "cni-add-failing",
        joins: |root, failing| {
            // Near its quota it still takes writes.
            let full = root.severity == Severity::Critical;
            full.then(|| super::cni_add_failing::refused_by_etcd(failing))?
        },
    },
    Link {
        root: "ipam-exhausted",
        consequence: "cni-add-failing",
        joins: |root, failing| {
            let address = root.shares(failing)?;
            Some(format!(
                "the plugin has no address left in the range of {address}"
            ))
        },
    },
    Link {
        root: "cni-daemon-oom",
        consequence: "cni-add-failing",
        joins: asks_the_killed,
    },
    Link {
        root: "dns-unreachable",
        consequence: "sidecar-blocked",
        joins: |root, blocked| {
            let server = root.shares(blocked)?;
            Some(format!("the sidecar's lookups go to or by {server}"))
        },
    },
    Link {
        root: ANY,
        consequence: "sidecar-blocked",
        joins: |root, blocked| {
            let bad = root.severity > Severity::Info;
            let server = root
                .about
                .iter()
                .filter(|_| bad)
                .find(|a| asks(blocked, a))?;
            Some(format!(
                "the sidecar asks {server} in vain, which {} is about",
                root.cause
            ))
        },
    },
    Link {
        root: ANY,
        consequence: "dns-unreachable",
        joins: takes_lookups,
    },
    Link {
        root: ANY,
        consequence: "dns-upstream-failing",
        joins: takes_lookups,
    },
];

/// Shorter names are parts of other words.
const SHORTEST: usize = 5;

/// Whether the plugin that fails is the one that the killed daemon works for: it names it.
fn asks_the_killed(root: &Finding, failing: &Finding) -> Option<String> {
    let daemon = root.summary.split(' ').next()?;
    // flanneld's plugin is flannel, calico-node's calico, cilium-agent's cilium-cni.
    let network = daemon.split('-').next()?.trim_end_matches('d');
    if network.len() < SHORTEST {
        return None;
    }
    let mut words = failing.evidence.iter();
    let named = words.any(|e| e.kind == EvidenceKind::Log && e.text.contains(network));
    named.then(|| format!("the plugin needs {daemon}, which was killed"))
}

/// Whether it is about that address, and not as that of a pod that suffers.
fn asks(blocked: &Finding, address: &std::net::IpAddr) -> bool {
    let text = address.to_string();
    let own = blocked
        .pods
        .iter()
        .any(|pod| pod.ip.as_ref() == Some(&text));
    blocked.about.contains(address) && !own
}

/// A link that both findings have evidence of.
fn same_link(root: &Finding, consequence: &Finding) -> Option<String> {
    let mut at = root.evidence.iter().filter_map(|e| e.at.as_ref());
    let there = |link: &&String| {
        consequence
            .evidence
            .iter()
            .any(|e| e.at.as_ref() == Some(link))
    };
    at.find(there).cloned()
}

/// Where packets died and why: kernel functions are called alike on all nodes.
fn place(e: &Evidence) -> [Option<String>; 3] {
    [e.reason.clone(), e.location.clone(), e.node.clone()]
}

fn dropped(e: &&Evidence) -> bool {
    e.kind == EvidenceKind::Drop && e.reason.is_some()
}

/// The other node got them, and what is wrong there befalls the answers.
fn takes_answers_there(root: &Finding, silence: &Finding) -> Option<String> {
    let node = root
        .node
        .as_ref()
        .filter(|n| silence.node.as_ref() != Some(n))?;
    let itself = root.consequence_of.is_none() && root.severity > Severity::Info;
    let address = root.shares(silence).filter(|_| itself)?;
    let id = &root.cause;
    if id.starts_with("dns-") {
        return None;
    }
    Some(format!(
        "{node} gets them, and {id} takes its answers to {address}"
    ))
}

/// The other node saw them come and dropped them, for which it has a finding of its own.
fn drops_them_there(root: &Finding, silence: &Finding) -> Option<String> {
    let mut there = silence.evidence.iter().filter(dropped);
    let by_root = |e: &&Evidence| {
        let mut drops = root.evidence.iter().filter(dropped);
        drops.any(|drop| drop.node != silence.node && place(drop) == place(e))
    };
    let drop = there
        .find(by_root)
        .filter(|_| root.severity > Severity::Info)?;
    let (node, reason) = (drop.node.as_ref()?, drop.reason.as_ref()?);
    Some(format!("{node} gets them and drops them: {reason}"))
}

/// Whether the root takes these very lookups: it names their flow, drops packets for the reason
/// and at the place where theirs die, or is about a server or the way to it.
fn takes_lookups(root: &Finding, dns: &Finding) -> Option<String> {
    if root.severity == Severity::Info || root.cause.starts_with("dns-") {
        return None;
    }
    let id = &root.cause;
    let servers: Vec<_> = dns.about.iter().map(|a| endpoint(*a, PORT)).collect();
    let own = |end: &String| servers.contains(end);
    let mut flows = root.flows.iter().filter(|f| f.protocol == "udp");
    if let Some(flow) = flows.find(|f| own(&f.source) || own(&f.destination)) {
        let (from, to) = (&flow.source, &flow.destination);
        return Some(format!("{id} takes the lookups: {from} → {to}"));
    }
    let theirs: Vec<_> = dns.evidence.iter().filter(dropped).map(place).collect();
    let mut drops = root.evidence.iter().filter(dropped);
    if let Some(drop) = drops.find(|e| theirs.contains(&place(e))) {
        let reason = drop.reason.as_deref().unwrap_or_default();
        return Some(format!("the lookups are among what is dropped: {reason}"));
    }
    let shared = root.shares(dns)?;
    Some(format!(
        "the lookups go to or by {shared}, which {id} is about"
    ))
}

/// Hangs consequences below their roots.
pub fn join(findings: &mut [Finding]) {
    join_by(LINKS, findings, &|_, _| true);
}

/// The same for findings of several nodes, where `related` says which of them can have to do
/// with each other.
pub fn join_related(findings: &mut [Finding], related: Related<'_>) {
    join_by(LINKS, findings, related);
}

pub type Related<'a> = &'a dyn Fn(&Finding, &Finding) -> bool;

fn join_by(links: &[Link], findings: &mut [Finding], related: Related<'_>) {
    // By places: another node may have the same finding.
    let mut above = vec![None; findings.len()];
    for link in links {
        for root in 0..findings.len() {
            // Several nodes may have it.
            for (at, above) in above.iter_mut().enumerate() {
                if related(&findings[root], &findings[at]) && join_two(link, findings, root, at) {
                    *above = Some(root);
                }
            }
        }
    }
    lift(findings, &above);
}

/// What brings about something bad is as bad itself.
fn lift(findings: &mut [Finding], above: &[Option<usize>]) {
    for below in 0..findings.len() {
        let severity = findings[below].severity;
        let mut at = above[below];
        // There are no circles, and a bound costs nothing.
        for _ in 0..findings.len() {
            let Some(root) = at else { break };
            findings[root].severity = findings[root].severity.max(severity);
            at = above[root];
        }
    }
}

/// Tells whether the one hangs below the other now.
fn join_two(link: &Link, findings: &mut [Finding], root: usize, at: usize) -> bool {
    if at == root || findings[at].cause != link.consequence {
        return false;
    }
    if link.root != ANY && link.root != findings[root].cause {
        return false;
    }
    // Two that follow from each other would both vanish below.
    let circle = leads_to(findings, root, link.consequence);
    if findings[at].consequence_of.is_some() || circle {
        return false;
    }
    let Some(because) = (link.joins)(&findings[root], &findings[at]) else {
        return false;
    };
    findings[at].consequence_of = Some(findings[root].cause.clone());
    findings[at].root = Some(findings[root].id.clone());
    findings[at].because = Some(because);
    true
}

/// Whether the finding is already below that cause, at any depth.
fn leads_to(findings: &[Finding], from: usize, cause: &str) -> bool {
    let mut at = Some(&findings[from]);
    let mut steps = findings.len();
    while let Some(finding) = at {
        if finding.cause == cause || steps == 0 {
            return true;
        }
        steps -= 1;
        let above = finding.consequence_of.as_deref();
        at = above.and_then(|c| findings.iter().find(|f| f.cause == c));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::{Confidence, Severity};

    fn finding(cause: &str) -> Finding {
        Finding::new(
            cause,
            Severity::Warning,
            Confidence::Confirmed,
            String::new(),
        )
    }

    #[test]
    fn links_name_causes_that_exist() {
        for link in LINKS {
            let root = link.root == ANY || super::super::find(link.root).is_some();
            assert!(root, "{}", link.root);
            let consequence = super::super::find(link.consequence);
            assert!(consequence.is_some(), "{}", link.consequence);
        }
    }

    #[test]
    fn chains_are_joined_and_circles_are_not() {
        let link = |root, consequence| Link {
            root,
            consequence,
            joins: |root, _| Some(format!("{} did it", root.cause)),
        };
        let links = [link("a", "b"), link("b", "c"), link("c", "a")];
        let mut findings = ["a", "b", "c"].map(finding);
        join_by(&links, &mut findings, &|_, _| true);
        let above = findings.each_ref().map(|f| f.consequence_of.as_deref());
        assert_eq!(above, [None, Some("a"), Some("b")]);
        assert_eq!(findings[1].because.as_deref(), Some("a did it"));
        assert_eq!(findings[2].root.as_deref(), Some(&*findings[1].id));
    }

    #[test]
    fn a_root_is_as_bad_as_what_hangs_below_it() {
        let link = |root, consequence| Link {
            root,
            consequence,
            joins: |root, _| Some(format!("{} did it", root.cause)),
        };
        let links = [link("a", "b"), link("b", "c")];
        let mut findings = ["a", "b", "c", "d"].map(finding);
        findings[2].severity = Severity::Critical;
        join_by(&links, &mut findings, &|_, _| true);
        let severities = findings.each_ref().map(|f| f.severity);
        let (bad, same) = (Severity::Critical, Severity::Warning);
        assert_eq!(severities, [bad, bad, bad, same]);
    }

    #[test]
    fn the_same_finding_of_another_node_is_not_lifted() {
        let links = [Link {
            root: "a",
            consequence: "b",
            joins: |_, _| Some("it did it".into()),
        }];
        let mut findings = ["a", "b", "a"].map(finding);
        for (finding, node) in findings.iter_mut().zip(["one", "one", "two"]) {
            finding.node = Some(node.into());
        }
        findings[1].severity = Severity::Critical;
        join_by(&links, &mut findings, &|one, other| one.node == other.node);
        let severities = findings.each_ref().map(|f| f.severity);
        let (bad, same) = (Severity::Critical, Severity::Warning);
        assert_eq!(severities, [bad, bad, same]);
    }
}

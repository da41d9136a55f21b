//! # Symptom
//! New pods stay in ContainerCreating: `failed to setup network for sandbox`, `no IP addresses available
//! in range set`. Running pods keep working.
//!
//! # Mechanism
//! host-local gives each sandbox an address from the node's range (its PodCIDR) and notes it in a file,
//! /var/lib/cni/networks/NETWORK/ADDRESS; DEL removes the file. The range is used up if that many pods
//! run, or if sandboxes vanished without DEL (a crash, a lost container runtime, a wiped /run) and left
//! their files behind: these addresses leak.
//!
//! # Signals
//! Observed, in files: reserved addresses against the ranges of /etc/cni/net.d, or of flannel's
//! subnet.env (containernetworking/plugins, plugins/ipam/host-local). An address counts as leaked if
//! libcni's result cache has results of that network and either does not name its sandbox or names a
//! network namespace that no longer exists. Addresses younger than a minute are left out, because the
//! result is written last. No address left is a warning, with or without leaks; nine in ten used is info.
//! The files are the evidence: a finding is confirmed without any packet.
//!
//! # Look-alikes
//! `etcd-nospace`: IPAM that keeps its state in etcd or the API (Calico, Cilium) cannot write. Its
//! addresses are not in these files and are not checked here. A node without a PodCIDR has no range at
//! all: flannel's plugin then complains about a missing subnet.env.
//!
//! # By hand
//! `ls /var/lib/cni/networks/NETWORK | wc -l` counts the addresses (and two or three files of the plugin
//! itself). `cat /var/lib/cni/networks/NETWORK/ADDRESS` names the sandbox, `crictl pods --id SANDBOX`
//! shows whether it still exists.
//!
//! # Fix
//! Remove the files of sandboxes that are gone; restarting the pods does not. Without leaks: a larger
//! range (node-cidr-mask-size), or fewer pods on the node.
use crate::{
    model::{
        control::{RangeSet, Reserved},
        gather::Want,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Severity, Subject},
    },
    pipeline::facts::Facts,
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "ipam-exhausted";
pub const TITLE: &str = mark!("the node's range of pod addresses is used up");

/// Per cent of a range: a roll-out that starts new pods before it ends old ones may need the rest.
const NEARLY: u64 = 90;
/// Leaks that are told one by one.
const TOLD: usize = 8;
/// Files in one command.
const AT_ONCE: usize = 8;

/// Files on the node, read seldom; nodes of other IPAM have none.
pub fn wants(_: &Facts<'_>) -> Vec<Want> {
    vec![Want::Ipam]
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let judged = facts.gathered.ipam().iter();
    let mut sets: Vec<_> = judged.filter_map(|s| Some((severity(s)?, s))).collect();
    sets.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    let (severity, worst) = *sets.first()?;
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary(worst));
    for (_, set) in &sets {
        finding.evidence.extend(evidence(set));
        let ends = set.ranges.iter().flat_map(|(first, last)| [*first, *last]);
        finding.about.extend(ends.clone());
        for end in ends {
            let because = t!("the plugin has no address left in the range of {end}");
            finding.ties.blame(Subject::Range { end }, because);
        }
    }
    finding.fix = fix(worst);
    finding.first_seen = facts.clock.text(facts.now);
    finding.last_seen = facts.clock.text(facts.now);
    Some(finding)
}

fn used(set: &RangeSet) -> u64 {
    set.reserved.len() as u64
}

fn severity(set: &RangeSet) -> Option<Severity> {
    if set.capacity == 0 {
        return None;
    }
    match used(set) {
        used if used >= set.capacity => Some(Severity::Warning),
        used if used.saturating_mul(100) / set.capacity >= NEARLY => Some(Severity::Info),
        _ => None,
    }
}

fn summary(set: &RangeSet) -> String {
    let left = match set.capacity.saturating_sub(used(set)) {
        0 => t!("none is left for a new pod").to_owned(),
        n => t!("{n} left"),
    };
    let leaked = match set.leaked().count() {
        0 => t!("all belong to sandboxes that are there").to_owned(),
        n => t!("{n} belong to sandboxes that are gone"),
    };
    t!(
        "network {} has given out {} of its {} addresses on this node ({}): {left}; {leaked}",
        set.network,
        used(set),
        set.capacity,
        set.text(),
    )
}

fn evidence(set: &RangeSet) -> Vec<Evidence> {
    let mut range = Evidence::new(
        EvidenceKind::File,
        Origin::Configured,
        t!("network {} gives out {}", set.network, set.text()),
    );
    range.at = Some(set.conf.clone());
    let first = set.ranges.first().map(|(first, _)| first.to_string());
    // A range that is not given is all of the subnet.
    let shown = [first.as_deref().unwrap_or_default(), &set.network];
    range.confirm = Some(shell!("cat {}", set.conf).showing(&shown));
    let mut lines = vec![range];
    if let Some(folder) = set.reserved.first().and_then(|r| r.file.rsplit_once('/')) {
        let text = t!("{} of {} addresses are reserved", used(set), set.capacity);
        let mut count = Evidence::new(EvidenceKind::File, Origin::Observed, text);
        count.at = Some(folder.0.to_owned());
        count.confirm = Some(shell!("ls -- {} | grep -cvE 'lock|last'", folder.0));
        lines.push(count);
    }
    lines.extend(set.leaked().take(TOLD).map(leak));
    lines
}

fn leak(reserved: &Reserved) -> Evidence {
    let Reserved {
        address, container, ..
    } = reserved;
    let text = t!("{address} is kept for sandbox {container}, which is gone");
    let mut line = Evidence::new(EvidenceKind::File, Origin::Observed, text);
    line.at = Some(reserved.file.clone());
    line.confirm = Some(shell!("crictl pods --no-trunc --id {v}", container));
    line
}

fn fix(set: &RangeSet) -> Fix {
    let leaked: Vec<_> = set.leaked().map(|r| r.file.as_str()).collect();
    let files = leaked.chunks(AT_ONCE);
    let commands = files.map(|files| shell!("rm --").with_names(files));
    let summary = match leaked.len() {
        0 => t!(
            "give the node a larger range ({} sets it; for kubeadm --node-cidr-mask-size of \
             kube-controller-manager, for new nodes), or let fewer pods run on it (kubelet's \
             maxPods)",
            set.conf
        ),
        n => t!(
            "release the {n} addresses of sandboxes that are gone: remove their files, after \
             `crictl pods` has shown that no such sandbox is there"
        ),
    };
    Fix {
        summary,
        commands: commands.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{control::Sandbox, gather::Piece, observation::Observation},
        testing::{ip, overlay_node, with_gathered},
    };

    fn found(capacity: u64, states: &[Sandbox]) -> Option<Finding> {
        let reserved = |(n, state): (usize, &Sandbox)| Reserved {
            address: ip(&format!("fd00::{:x}", n + 2)),
            file: format!("/var/lib/cni/networks/cbr0/fd00::{:x}", n + 2),
            container: format!("c{n}"),
            state: *state,
        };
        let set = RangeSet {
            network: "cbr0".into(),
            conf: "/etc/cni/net.d/10-cbr0.conflist".into(),
            ranges: vec![(ip("fd00::2"), ip("fd00::b"))],
            capacity,
            reserved: states.iter().enumerate().map(reserved).collect(),
        };
        let piece = (Want::Ipam, Ok(Piece::Ipam(vec![set])));
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, &Observation::default(), [piece], evaluate)
    }

    #[test]
    fn leaks_are_named_with_what_removes_them() {
        let states = [Sandbox::Alive, Sandbox::Gone, Sandbox::Unknown];
        let finding = found(3, &states).expect("a finding");
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(
            finding.fix.commands,
            ["rm -- /var/lib/cni/networks/cbr0/fd00::3"]
        );
    }

    #[test]
    fn a_range_with_room_is_no_finding() {
        let severity = |capacity| found(capacity, &[Sandbox::Alive; 9]).map(|f| f.severity);
        assert_eq!(severity(9), Some(Severity::Warning));
        assert_eq!(severity(10), Some(Severity::Info));
        assert_eq!(severity(11), None);
        assert_eq!(found(0, &[]), None);
    }
}

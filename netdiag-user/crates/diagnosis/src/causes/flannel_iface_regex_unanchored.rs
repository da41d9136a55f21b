//! # Symptom
//! flanneld ran for months and fails after a restart: `failed to find IPv4 address for interface
//! vethXXXX`. Or the overlay of one node is dead since flanneld restarted there.
//!
//! # Mechanism
//! `--iface-regex` matches anywhere in a link's name: `eth1` matches `veth1a2b3c4d` too. flanneld takes
//! the first link that matches, in the order of interface indexes (pkg/ipmatch/match.go). At its first
//! start there were no pods. After a restart a pod's link may come before the NIC, or be the only match
//! on a node whose NIC has another name.
//!
//! # Signals
//! Observed: flanneld's command line and this node's links and addresses. Only a flanneld in the node's
//! own network namespace that runs as root's service or as a pod of kube-flannel or kube-system counts;
//! other processes of that name appear under "not checked". netdiag matches in flanneld's order: each
//! `--iface` first, then each `--iface-regex`, against all addresses and then against all names. A
//! warning if flanneld would now pick a pod's link. Info if it would pick a NIC but pods' links match as
//! well: then its start depends on which link came first. Command line and links are the evidence: a
//! finding is confirmed without any packet, before any harm.
//!
//! # Look-alikes
//! `overlay-wrong-interface`: flanneld picked a NIC, but not the one that leads to the other nodes.
//!
//! # By hand
//! `ps -o args -C flanneld` shows the regex. `ip -o link | awk -F'[:@] *' '{print $2}' | grep -E 'REGEX'`
//! lists the matching links in the order of their indexes: flanneld takes the first one.
//!
//! # Fix
//! Anchor the regex: `--iface-regex=^(eth1|bond1)$`, or name the NIC with `--iface`.
use netdiag_lang::{mark, t};
use regex::{Regex, RegexBuilder};

use crate::{
    model::{
        command::Command,
        gather::Want,
        node::{Link, LinkAddress, Node},
        roles::{Role, Roles, role},
        text::line,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity},
    },
    need::Need,
    pipeline::facts::Facts,
    shell,
};

pub const ID: &str = "flannel-iface-regex-unanchored";
pub const TITLE: &str = mark!("flanneld's --iface-regex matches pods' links too");

/// As flanneld's process is called.
const PROGRAM: &str = crate::shared::daemon::FLANNELD;
/// Characters of a regex that is looked at, and bytes that it may come to.
const LONGEST: usize = 256;
const LARGEST: usize = 1 << 20;

/// Its command line; nodes of other networks have none.
pub fn wants(_: &Facts<'_>) -> Vec<Need> {
    let own = Want::Commands(PROGRAM.into());
    vec![own.into(), Need::detail(Want::Impostors)]
}

/// A regex that matches pods' links.
struct Loose<'a> {
    command: &'a Command,
    regex: &'a str,
    /// Pods' links that match.
    pods: Vec<&'a Link>,
    /// What it picks as things are.
    pick: &'a Link,
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let commands = facts.gathered.commands(PROGRAM).iter();
    let loose = commands.filter_map(|c| judge(facts.node, c)).next()?;
    let picks_pods = is_pods(facts.node, loose.pick);
    let severity = if picks_pods {
        Severity::Warning
    } else {
        Severity::Info
    };
    let summary = summary(&loose, picks_pods);
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary);
    finding.evidence = vec![command_line(&loose), links(&loose)];
    let pods = loose
        .pods
        .iter()
        .filter_map(|l| facts.pods.by_interface(&l.name));
    finding.pods = pods
        .map(|pod| pod.refer(None, Some(PodRole::Victim)))
        .collect();
    finding.fix = fix(facts.node, &loose);
    finding.first_seen = facts.clock.text(facts.now);
    finding.last_seen = facts.clock.text(facts.now);
    Some(finding)
}

/// Follows flanneld through its options; nothing where a name was given that is there, or no
/// regex matches a pod's link.
fn judge<'a>(node: &'a Node, command: &'a Command) -> Option<Loose<'a>> {
    if command.flags("iface").iter().any(|name| exists(node, name)) {
        return None;
    }
    let links = by_index(node);
    for text in command.flags("iface-regex") {
        let Some(regex) = compiled(text) else {
            continue;
        };
        let Some(pick) = pick(&links, &regex) else {
            continue;
        };
        let pods = links
            .iter()
            .filter(|l| is_pods(node, l) && regex.is_match(&l.name));
        let loose = Loose {
            command,
            regex: text,
            pods: pods.copied().collect(),
            pick,
        };
        return Some(loose).filter(|loose| !loose.pods.is_empty());
    }
    None
}

/// Nobody writes one that is longer, or that a terminal would obey.
fn compiled(text: &str) -> Option<Regex> {
    let plain = line(text, LONGEST) == text;
    let built = RegexBuilder::new(text).size_limit(LARGEST).build();
    built.ok().filter(|_| plain)
}

/// `--iface` takes a name or an address.
fn exists(node: &Node, name: &str) -> bool {
    let named = node.links.iter().any(|l| l.name == name);
    named || name.parse().is_ok_and(|address| node.owns(address))
}

/// As the kernel lists them.
fn by_index(node: &Node) -> Vec<&Link> {
    let mut links: Vec<_> = node.links.iter().collect();
    links.sort_by_key(|l| l.index);
    links
}

/// All links' addresses come before any link's name.
fn pick<'a>(links: &[&'a Link], regex: &Regex) -> Option<&'a Link> {
    let usable = |a: &&LinkAddress| !a.link_local;
    let by_address = |l: &&&Link| {
        let mut addresses = l.addresses.iter().filter(usable);
        addresses.any(|a| regex.is_match(&a.prefix.address.to_string()))
    };
    let by_name = |l: &&&Link| regex.is_match(&l.name);
    let found = links
        .iter()
        .find(by_address)
        .or_else(|| links.iter().find(by_name));
    found.copied()
}

fn is_pods(node: &Node, link: &Link) -> bool {
    role(node, link) == Some(Role::Pod)
}

fn summary(loose: &Loose<'_>, picks_pods: bool) -> String {
    let Loose { regex, pick, .. } = loose;
    match picks_pods {
        true => t!(
            "flanneld's --iface-regex={regex} picks {}, a pod's link: it will not start again, or \
             not with the node's address",
            pick.name
        ),
        false => t!(
            "flanneld's --iface-regex={regex} is not anchored and matches {} of pods' links too; \
             as things are it picks {}",
            loose.pods.len(),
            pick.name
        ),
    }
}

fn command_line(loose: &Loose<'_>) -> Evidence {
    let pid = loose.command.pid;
    let text = t!(
        "flanneld (pid {pid}) runs with --iface-regex={}",
        loose.regex
    );
    let mut line = Evidence::new(EvidenceKind::Process, Origin::Observed, text);
    line.confirm = Some(shell!("ps -o args= -p {v}", pid));
    line
}

fn links(loose: &Loose<'_>) -> Evidence {
    let pods = loose
        .pods
        .iter()
        .map(|l| t!("{} (index {})", l.name, l.index));
    let pods: Vec<_> = pods.take(5).collect();
    let text = t!(
        "it matches {} of pods' links, {}; the first match of all links is {} (index {})",
        loose.pods.len(),
        pods.join(t!(", ")),
        loose.pick.name,
        loose.pick.index
    );
    let mut line = Evidence::new(EvidenceKind::Link, Origin::Observed, text);
    line.at = Some(loose.pick.name.clone());
    let names = shell!("ip -o link | awk -F': ' '{{print $2}}'");
    line.confirm = Some(names.pipe(shell!("grep -E -e {v}", loose.regex)));
    line
}

/// Anchored, it must leave out every pod's link.
fn anchored(loose: &Loose<'_>) -> Option<(String, Regex)> {
    let bare = loose.regex.trim_start_matches('^').trim_end_matches('$');
    let text = match bare.starts_with('(') && bare.ends_with(')') {
        true => format!("^{bare}$"),
        false => format!("^({bare})$"),
    };
    let regex = Regex::new(&text).ok()?;
    let clean = loose.pods.iter().all(|l| !regex.is_match(&l.name));
    clean.then_some((text, regex))
}

fn fix(node: &Node, loose: &Loose<'_>) -> Fix {
    let roles = Roles::new(node);
    let is_uplink = |l: &&Link| l.ethernet && roles.of(l) == Some(Role::Uplink);
    let uplinks = node.links.iter().filter(is_uplink);
    let uplinks: Vec<_> = uplinks.map(|l| l.name.as_str()).collect();
    let anchored = anchored(loose);
    let option = match &anchored {
        Some((text, _)) => format!("--iface-regex={text}"),
        None => format!("--iface-regex=^({})$", uplinks.join("|")),
    };
    let matches = |l: &&Link| {
        anchored
            .as_ref()
            .is_none_or(|(_, regex)| regex.is_match(&l.name))
    };
    let none = match node.links.iter().any(|l| matches(&l)) {
        true => String::new(),
        false => t!(
            "; no link of this node is called so: its NICs are {}",
            uplinks.join(t!(", "))
        ),
    };
    Fix {
        summary: t!("give flanneld {option} in its DaemonSet or unit{none}"),
        commands: vec![shell!(
            "kubectl -n kube-flannel edit daemonset kube-flannel-ds"
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{gather::Piece, node::LinkKind, observation::Observation},
        testing::{link, overlay_node, with_gathered},
    };

    /// The node's uplink is `ens5` (index 2); a pod's `veth1ab` comes before a second NIC, `eth1`.
    fn found(arguments: &[&str]) -> Option<Finding> {
        let mut node = overlay_node(1450, 1450, 1500);
        node.links
            .push(link(7, "veth1ab", LinkKind::Veth, 1450).with_peer(9));
        let nic = link(9, "eth1", LinkKind::Physical, 1500);
        node.links.push(nic.with_address("198.51.100.7/24"));
        let mut all = vec!["/opt/bin/flanneld".to_owned()];
        all.extend(arguments.iter().map(|a| (*a).to_owned()));
        let command = Command {
            pid: 5,
            arguments: all,
            unit: None,
        };
        let piece = (
            Want::Commands(PROGRAM.into()),
            Ok(Piece::Commands(vec![command])),
        );
        with_gathered(&node, &Observation::default(), [piece], evaluate)
    }

    #[test]
    fn a_pods_link_that_comes_first_is_named() {
        let finding = found(&["--iface-regex=eth1|bond1"]).expect("a finding");
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.summary.contains("veth1ab"));
        assert!(
            finding.fix.summary.contains("^(eth1|bond1)$"),
            "{}",
            finding.fix.summary
        );
    }

    #[test]
    fn a_nic_that_comes_first_is_for_information() {
        let finding = found(&["--iface-regex", "ens5|eth1"]).expect("a finding");
        assert_eq!(finding.severity, Severity::Info);
        // Addresses come before names.
        let finding = found(&["--iface-regex=^198\\.|eth1"]).expect("a finding");
        assert_eq!(finding.severity, Severity::Info);
    }

    #[test]
    fn what_matches_no_pods_link_is_no_finding() {
        assert_eq!(found(&["--iface-regex=^(eth1|bond1)$"]), None);
        assert_eq!(found(&["--iface=ens5", "--iface-regex=eth1"]), None);
        assert_eq!(found(&["--iface=198.51.100.7", "--iface-regex=eth1"]), None);
        assert_eq!(found(&["--ip-masq"]), None);
        assert_eq!(found(&["--iface-regex=("]), None);
        assert_eq!(found(&["--iface-regex=eth1\u{202e}|eth1"]), None);
        assert_eq!(
            found(&[&format!("--iface-regex=eth1{}", "|x".repeat(200))]),
            None
        );
        assert_eq!(found(&["--iface-regex=(eth1){1000}{1000}|eth1"]), None);
    }

    #[test]
    fn names_that_are_not_there_are_passed_over() {
        let finding = found(&["--iface=eno1", "--iface-regex=bond1", "--iface-regex=eth1"]);
        assert_eq!(finding.expect("a finding").severity, Severity::Warning);
    }
}

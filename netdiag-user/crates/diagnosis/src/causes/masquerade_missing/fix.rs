//! Whose task the rule is, and the rule itself.
use netdiag_lang::t;

use crate::{
    model::{
        address::Prefix,
        netfilter::Iptables,
        shell::CommandLine,
        source_nat::{Keeper, Leaving, SourceNat, Who},
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shared::{daemon::Daemon, pod_networks},
    shell,
};

/// What the CNI's file says.
pub fn keeper(keeper: &Keeper) -> Evidence {
    let (file, told) = (&keeper.file, keeper.told);
    let text = match (keeper.who, told) {
        (Who::Flannel, Some(true)) => t!("{file}: flanneld runs with --ip-masq"),
        (Who::Flannel, Some(false)) => t!("{file}: flanneld runs without --ip-masq"),
        (Who::Flannel, None) => t!("{file}: flannel makes pods' networks"),
        (Who::Calico, _) => t!("{file}: Calico makes pods' networks"),
        (Who::Plugin, Some(true)) => t!("{file}: ipMasq is true"),
        (Who::Plugin, _) => t!("{file}: ipMasq is not true"),
        (Who::Unknown, _) => t!("{file}: another CNI makes pods' networks"),
    };
    let mut line = Evidence::new(EvidenceKind::File, Origin::Configured, text);
    let shown: &[&str] = match (keeper.who, told) {
        (Who::Flannel, Some(true)) => &["FLANNEL_IPMASQ=true"],
        (Who::Flannel, Some(false)) => &["FLANNEL_IPMASQ=false"],
        (Who::Flannel, None) => &["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET", "flannel"],
        (Who::Calico, _) => &["calico"],
        (Who::Plugin | Who::Unknown, _) => &["type"],
    };
    line.confirm = Some(shell!("cat {}", file).showing(shown));
    line
}

/// Whose task it is, and the rule meanwhile.
pub fn fix(facts: &Facts<'_>, packet: &Leaving, rules: &SourceNat) -> Fix {
    let who = match rules.keeper.as_ref().map(|k| (k.who, k.told)) {
        Some((Who::Flannel, Some(true))) => {
            t!(
                "restart flanneld on this node: it runs with --ip-masq and sets the rule when it starts"
            )
        }
        Some((Who::Flannel, _)) => {
            t!("start flanneld with --ip-masq (an argument of its DaemonSet), which sets the rule")
        }
        Some((Who::Calico, _)) => {
            t!(
                "set natOutgoing: true in Calico's IPPool; where it is, restart calico-node on this node"
            )
        }
        Some((Who::Plugin, Some(true))) => {
            t!(
                "recreate the pods: the CNI plugin sets the rule of each as it adds it, and somebody flushed \
             them"
            )
        }
        Some((Who::Plugin, _)) => {
            t!(
                "set ipMasq: true in the CNI configuration of this node and recreate the pods, or let \
             ip-masq-agent masquerade"
            )
        }
        _ => {
            t!(
                "let the CNI's daemon masquerade what leaves the cluster (flanneld: --ip-masq, Calico: \
             natOutgoing in the IPPool, bridge plugin: ipMasq, or ip-masq-agent)"
            )
        }
    };
    let commands = rule(facts, packet, rules);
    let summary = match commands.is_empty() {
        // Nobody here tells which networks the other nodes' pods are in.
        true => t!(
            "{who}. Where the network is to route pods' addresses, it is the network that lacks the \
             route back"
        ),
        false => t!(
            "{who}. Until then this rule masquerades what the pods here send out by {}; where the \
             network is to route pods' addresses, it is the network that lacks the route back",
            packet.link
        ),
    };
    let mut commands = commands;
    let restart = |it: Daemon| it.restart(facts);
    match rules.keeper.as_ref().map(|k| (k.who, k.told)) {
        Some((Who::Flannel, Some(true))) => commands.insert(0, restart(Daemon::Flannel)),
        Some((Who::Calico, _)) => commands.push(restart(Daemon::Calico)),
        _ => {}
    }
    Fix { summary, commands }
}

/// As small as possible: from these pods, by that link, to nobody who has a pod's address.
fn rule(facts: &Facts<'_>, packet: &Leaving, rules: &SourceNat) -> Vec<CommandLine> {
    let source = packet.source;
    let given = facts.gathered.pod_networks().unwrap_or_default();
    let mut given = given.iter().map(|(network, _)| *network);
    let all = given.find(|network| network.contains(source));
    let member = facts.cluster.member();
    let cidr = || {
        member?
            .pod_cidrs
            .iter()
            .copied()
            .find(|n| n.contains(source))
    };
    let own = pod_networks::own_network(facts, source).or_else(cidr);
    let own = own.unwrap_or_else(|| Prefix::host(source));
    // It would hide pods from other nodes' pods, where those are reached by this link too.
    let Some(all) = all else {
        return Vec::new();
    };
    let Some(program) = rules.programs.first() else {
        return nftables(packet, own, all);
    };
    let start = match program {
        Iptables::Legacy4 => shell!("iptables-legacy -t nat -A POSTROUTING -s {}", own),
        Iptables::Legacy6 => shell!("ip6tables-legacy -t nat -A POSTROUTING -s {}", own),
        Iptables::Nft4 => shell!("iptables-nft -t nat -A POSTROUTING -s {}", own),
        Iptables::Nft6 => shell!("ip6tables-nft -t nat -A POSTROUTING -s {}", own),
    };
    let out = ["-o", &packet.link, "-j", "MASQUERADE"];
    let but = ["!".to_owned(), "-d".to_owned(), all.to_string()];
    vec![start.with_words(but).with_words(out)]
}

fn nftables(packet: &Leaving, own: Prefix, all: Prefix) -> Vec<CommandLine> {
    let link = &packet.link;
    let rule = match packet.source.is_ipv4() {
        true => shell!(
            "nft add rule ip pod-egress postrouting ip saddr {} ip daddr != {} oifname {} masquerade",
            own,
            all,
            link
        ),
        false => shell!(
            "nft add rule ip6 pod-egress postrouting ip6 saddr {} ip6 daddr != {} oifname {} masquerade",
            own,
            all,
            link
        ),
    };
    let (table, chain) = match packet.source.is_ipv4() {
        true => (
            shell!("nft add table ip pod-egress"),
            shell!(
                "nft add chain ip pod-egress postrouting '{{ type nat hook postrouting priority 100; }}'"
            ),
        ),
        false => (
            shell!("nft add table ip6 pod-egress"),
            shell!(
                "nft add chain ip6 pod-egress postrouting '{{ type nat hook postrouting priority 100; }}'"
            ),
        ),
    };
    vec![table, chain, rule]
}

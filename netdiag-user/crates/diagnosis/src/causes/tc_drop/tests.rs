use super::*;
use crate::{
    model::{
        gather::Piece,
        link_filters::{Attachment, LinkProgram, TcFilter, XdpMode},
        node::Node,
        observation::Observation,
    },
    testing::{NETNS, OVERLAY, POD, POD_NETNS, at, died, overlay_node, tcp, with_gathered},
};

const SECOND: u64 = 1_000_000_000;
const DATABASE: (&str, &str) = ("172.20.1.5", "172.20.2.9");

fn node() -> Node {
    overlay_node(1450, 1450, 1500)
}

/// Packets of the pod's to a database, dropped at its link.
fn lost(reason: &str, symbol: &str, packets: u64) -> Observation {
    let flow = tcp(DATABASE.0, DATABASE.1, 5432);
    Observation {
        now: 3 * SECOND,
        drops: vec![died(flow, (reason, symbol), POD, packets)],
        ..Observation::default()
    }
}

fn by_tc() -> Observation {
    lost("TC_INGRESS", "__dev_queue_xmit", 5)
}

fn filter(hook: LinkHook, at: Attachment) -> LinkFilter {
    LinkFilter {
        link: POD,
        hook,
        at,
        program: None,
        dropped: None,
        moved: 0,
    }
}

fn tc(kind: &str, preference: u16) -> Attachment {
    Attachment::Tc(TcFilter {
        kind: kind.into(),
        protocol: 3,
        preference,
        handle: 1,
        ..TcFilter::default()
    })
}

fn program(id: u32, name: &str, dataplane: Option<Dataplane>) -> LinkFilter {
    LinkFilter {
        program: Some(LinkProgram {
            id,
            name: name.into(),
            dataplane,
            ..LinkProgram::default()
        }),
        ..filter(LinkHook::Ingress, tc("bpf", id as u16))
    }
}

/// A filter whose actions count what they drop.
fn counting(preference: u16, dropped: u64, moved: u64) -> LinkFilter {
    LinkFilter {
        dropped: Some(dropped),
        moved,
        ..filter(LinkHook::Ingress, tc("flower", preference))
    }
}

fn judge(observation: &Observation, filters: Vec<LinkFilter>) -> Vec<Finding> {
    let want = Want::LinkFilters(NETNS);
    let known = [(want, Ok(Piece::LinkFilters(filters)))];
    with_gathered(&node(), observation, known, evaluate)
}

fn one(filters: Vec<LinkFilter>) -> Finding {
    let mut findings = judge(&by_tc(), filters);
    assert_eq!(findings.len(), 1);
    findings.remove(0)
}

#[test]
fn the_only_program_is_named_with_what_takes_it_away_alone() {
    let finding = one(vec![program(10, "db_guard", None)]);
    assert_eq!(finding.confidence, Confidence::Confirmed);
    assert_eq!(finding.severity, Severity::Warning);
    let named = "tc filter pref 10 handle 0x1 bpf db_guard (id 10) at ingress of cali1 drops";
    assert!(finding.summary.starts_with(named), "{}", finding.summary);
    let commands = [
        "tc -s filter show dev cali1 ingress",
        "tc filter del dev cali1 ingress protocol all pref 10 chain 0 handle 0x1 bpf",
    ];
    assert_eq!(finding.fix.commands, commands);
}

#[test]
fn a_counter_decides() {
    let all = vec![
        program(10, "observer", None),
        counting(20, 90, 0),
        counting(30, 7, 5),
    ];
    let finding = one(all.clone());
    assert!(
        finding
            .summary
            .starts_with("tc filter pref 30 handle 0x1 flower at ingress of cali1")
    );
    assert_eq!(finding.evidence[1].packets, Some(5));
    // One that counts and never dropped did not do it; what it dropped between two tries is not seen.
    let with = |dropped| one(vec![all[0].clone(), counting(20, dropped, 0)]);
    assert_eq!(with(90).confidence, Confidence::Suspected);
    let finding = with(0);
    assert!(finding.summary.contains("observer"), "{}", finding.summary);
    assert_eq!(finding.confidence, Confidence::Confirmed);
    let finding = one(vec![counting(20, 0, 0)]);
    assert!(finding.summary.starts_with("tc ingress of cali1 drops"));
    assert_eq!(finding.confidence, Confidence::Suspected);
}

#[test]
fn of_several_programs_none_is_blamed() {
    let finding = one(vec![program(10, "one", None), program(11, "other", None)]);
    assert_eq!(finding.confidence, Confidence::Suspected);
    assert!(
        finding
            .summary
            .starts_with("one of 2 filters and programs at ingress of cali1")
    );
    let all = finding.fix.commands.iter().map(|c| c.text());
    let all: Vec<_> = all.collect();
    assert_eq!(
        all,
        [
            "tc -s filter show dev cali1 ingress",
            "bpftool net show dev cali1"
        ]
    );
    assert_eq!(finding.evidence.len(), 3);
}

#[test]
fn the_other_side_of_a_link_is_not_asked() {
    let egress = LinkFilter {
        hook: LinkHook::Egress,
        ..program(10, "db_guard", None)
    };
    let finding = one(vec![egress]);
    assert_eq!(finding.confidence, Confidence::Suspected);
    assert!(!finding.summary.contains("db_guard"));
}

#[test]
fn a_dataplanes_drop_is_a_policy_or_a_fault() {
    let cilium = || program(10, "cil_from_contai", Some(Dataplane::Cilium));
    let finding = one(vec![cilium()]);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.confidence, Confidence::Suspected);
    assert!(!finding.meant);
    assert!(finding.summary.ends_with("a policy, or a fault of Cilium"));
    assert!(finding.fix.summary.contains("\"Policy denied\""));
    assert!(
        finding.fix.commands[0]
            .text()
            .starts_with("kubectl -n kube-system exec ds/cilium")
    );
    // Many a program beside it only looks on.
    let finding = one(vec![cilium(), program(11, "watcher", None)]);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.confidence, Confidence::Suspected);
}

#[test]
fn a_program_on_many_links_is_one_finding() {
    let mut observation = by_tc();
    let other = tcp(DATABASE.0, "172.20.2.10", 5432);
    let drop = died(other, ("TC_INGRESS", "__dev_queue_xmit"), OVERLAY, 4);
    observation.drops.push(drop);
    let on = |link, of: &LinkFilter| LinkFilter { link, ..of.clone() };
    let hung = |of: LinkFilter| vec![on(POD, &of), on(OVERLAY, &of)];
    let findings = judge(&observation, hung(program(10, "agent", None)));
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0]
            .summary
            .contains("of cali1 (and of 1 other link) drops")
    );
    let deletes = findings[0].fix.commands[1..].iter().map(|c| c.text());
    assert!(
        deletes
            .zip(["cali1", "vxlan.calico"])
            .all(|(text, link)| text.contains(link))
    );
    let policy = program(10, "cil_from_contai", Some(Dataplane::Cilium));
    assert_eq!(judge(&observation, hung(policy)).len(), 1);
    // Two that do not have it in common are two.
    let two = vec![
        program(10, "one", None),
        on(OVERLAY, &program(11, "other", None)),
    ];
    let ids: std::collections::BTreeSet<_> =
        judge(&observation, two).into_iter().map(|f| f.id).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn what_hangs_there_is_waited_for() {
    let evaluated = |now| {
        let mut observation = by_tc();
        observation.now = now;
        with_gathered(&node(), &observation, [], evaluate)
    };
    assert_eq!(evaluated(3 * SECOND), []);
    let late = evaluated(20 * SECOND);
    assert_eq!(late[0].confidence, Confidence::Suspected);
    assert!(late[0].fix.summary.ends_with("they could not be read"));
    let asked = with_gathered(&node(), &by_tc(), [], wants);
    let want = Want::LinkFilters(NETNS);
    let asked: Vec<_> = asked.iter().filter_map(|n| n.query.want()).collect();
    assert_eq!(asked, [&want]);
}

#[test]
fn what_gets_through_or_is_rare_is_no_drop() {
    let filters = || vec![program(10, "db_guard", None)];
    assert_eq!(
        judge(&lost("TC_INGRESS", "__dev_queue_xmit", 2), filters()),
        []
    );
    assert_eq!(
        judge(&lost("QDISC_DROP", "__dev_queue_xmit", 50), filters()),
        []
    );
    let mut answered = by_tc();
    let flow = tcp(DATABASE.0, DATABASE.1, 5432);
    answered
        .flows
        .push(at(flow.reversed(), OVERLAY, false, 0, |hop| {
            hop.flags = netdiag_common::hop::SYN | netdiag_common::hop::ACK;
            hop.first = 1_000;
        }));
    assert_eq!(judge(&answered, filters()), []);
}

#[test]
fn at_ingress_a_filter_drops_without_a_reason() {
    let lost = lost("NOT_SPECIFIED", "__netif_receive_skb_core", 5);
    assert_eq!(judge(&lost, Vec::new()), []);
    let findings = judge(&lost, vec![program(10, "db_guard", None)]);
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn xdp_drops_without_a_reason() {
    let veth = lost("NOT_SPECIFIED", "veth_xdp_rcv_skb", 5);
    assert_eq!(
        judge(&veth, Vec::new()),
        [],
        "veth runs this without a program too"
    );
    let xdp = LinkFilter {
        hook: LinkHook::Xdp,
        at: Attachment::Xdp {
            mode: XdpMode::Driver,
            link: None,
        },
        ..program(10, "acl", None)
    };
    let findings = judge(&veth, vec![xdp, program(11, "other", None)]);
    assert!(
        findings[0]
            .summary
            .starts_with("XDP program acl (id 10) of cali1 (xdpdrv) drops")
    );
    assert_eq!(
        findings[0].fix.commands[1],
        "ip link set dev cali1 xdpdrv off"
    );
}

#[test]
fn a_pods_own_filter_is_listed_inside_it() {
    let mut observation = by_tc();
    (observation.drops[0].0.netns, observation.drops[0].0.ifindex) = (POD_NETNS, 2);
    let inside = LinkFilter {
        link: 2,
        ..program(10, "x", None)
    };
    let want = Want::LinkFilters(POD_NETNS);
    let known = [(want, Ok(Piece::LinkFilters(vec![inside])))];
    let findings = with_gathered(&node(), &observation, known, evaluate);
    assert!(findings[0].summary.contains("at ingress of eth0 inside "));
    let command = findings[0].fix.commands[1].text();
    assert!(command.starts_with("ip netns exec cni-1 tc filter del dev eth0"));
}

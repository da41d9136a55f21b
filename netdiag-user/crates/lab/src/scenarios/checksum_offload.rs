//! What leaves node A's pods, or a host outside, arrives with a checksum that nobody filled in, as
//! from a NIC whose offload is broken. Node B, which receives it, diagnoses.
use super::{HTTP, POD_B, Scenario, bulk, everyday};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, B, Place, Plan};
use crate::step::Step;
use crate::topology::{PORT_A, PORT_OUTSIDE};
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "checksum-offload",
    summary: "TCP segments arrive with a checksum that the sender's NIC did not fill in",
    expected: &["checksum-offload"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::NfTables,
        Need::Program("nft"),
        Need::Program("ethtool"),
    ],
    shape: |plan| plan.variant = (plan.form() % 2) as u32,
    faults,
    traffic: |_| {
        let outside = Flow::new(Work::Request, Place::Outside, POD_B, HTTP, 250);
        [everyday(), bulk(100_000), vec![outside]].concat()
    },
    observer: |_| B,
    takes: &[Part::Way],
    ..Scenario::BASE
};

const OVERLAY: u32 = 0;
/// Bytes of UDP, VXLAN and Ethernet before the inner IP header.
const ENCAPSULATION: u32 = 8 + 8 + 14;
/// Offset of the checksum in the TCP header.
const CHECKSUM: u32 = 16;

/// The senders fill in checksums themselves, and the switch's port spoils those of TCP: veths would
/// else carry packets whose checksum nobody ever looks at.
fn faults(plan: &Plan) -> Vec<Step> {
    let mut steps = Vec::new();
    let senders = plan.nodes[A].pods.iter().map(|pod| pod.netns.clone());
    for netns in senders.chain([plan.outside.netns.clone()]) {
        let words = ["-K", "eth0", "tx", "off"];
        steps.push(run(netns, "ethtool", &words, String::new()));
    }
    if !plan.options.healthy {
        let netns = plan.switches[A].clone();
        steps.push(run(netns, "nft", &["-f", "-"], rules(plan)));
    }
    steps
}

fn rules(plan: &Plan) -> String {
    let (header, next) = if plan.options.ipv6 { (40, 6) } else { (20, 9) };
    let (port, rule) = if plan.variant == OVERLAY {
        let protocol = (ENCAPSULATION + next) * 8;
        let checksum = (ENCAPSULATION + header + CHECKSUM) * 8;
        let vxlan = format!("udp dport {} @th,{protocol},8 6", plan.tunnel.port);
        (PORT_A, format!("{vxlan} @th,{checksum},16 set 0xbad"))
    } else {
        let checksum = CHECKSUM * 8;
        (
            PORT_OUTSIDE,
            format!("meta l4proto tcp @th,{checksum},16 set 0xbad"),
        )
    };
    format!(
        "table netdev broken-nic {{\n chain lab {{\n\
         type filter hook ingress device \"{port}\" priority 0;\n {rule}\n }}\n}}\n"
    )
}

fn run(netns: String, program: &'static str, words: &[&str], input: String) -> Step {
    Step::Run {
        netns,
        program,
        arguments: words.iter().map(|word| (*word).to_owned()).collect(),
        input,
    }
}

//! A rule on the node drops what one application sends; all else goes through. It is the only one, and counts; or
//! nothing counts, and others beside it drop what nobody sends.
use super::{POD_A, POD_B, Scenario, VXLAN_NFT_RULES, bulk, everyday};
use crate::nft::{Chain, End};
use crate::parts::Part;
use crate::plan::{A, Place, Plan};
use crate::step::Step;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "firewall-drop",
    summary: "an nftables rule on the node drops one application's connections",
    expected: &["firewall-drop"],
    fixable: |_| true,
    needs: VXLAN_NFT_RULES,
    shape: |plan| plan.variant = (plan.form() % 4) as u32,
    faults,
    traffic: |plan| {
        let (from, to) = ends(plan);
        let blocked = [200, 300].map(|ms| Flow::new(Work::Request, from, to, port(plan), ms));
        [everyday(), bulk(100_000), blocked.to_vec()].concat()
    },
    takes: &[Part::Firewall, Part::Database],
    relies_on: &[Part::Way, Part::Connections],
    ..Scenario::BASE
};

/// From this variant on no rule counts.
const UNCOUNTED: u32 = 2;

/// As firewalls write them that many keep: by sets and chains, none of which says which packets it has met.
fn without_counters(port: u16) -> String {
    format!(
        "table inet edge {{
            set closed {{ type inet_service; elements = {{ {port}, 8 }}; }}
            chain refuse {{
                ip saddr 203.0.113.0/24 accept
                drop
            }}
            chain forward {{
                type filter hook forward priority 0; policy accept;
                udp dport {port} drop
                tcp dport {{ 111, 2049 }} drop
                ip daddr 203.0.113.0/24 drop
                tcp dport @closed goto refuse
            }}
        }}
        "
    )
}

/// Either direction crosses node A's forward hook.
fn ends(plan: &Plan) -> (Place, Place) {
    if plan.variant.is_multiple_of(2) {
        (POD_A, POD_B)
    } else {
        (POD_B, POD_A)
    }
}

fn port(plan: &Plan) -> u16 {
    let ports = [5432, 3306, 6379, 443, 27017];
    ports[plan.options.seed as usize % ports.len()]
}

/// The healthy twin has the same rule for a port that nobody uses.
fn faults(plan: &Plan) -> Vec<Step> {
    let port = if plan.options.healthy { 1 } else { port(plan) };
    if plan.variant >= UNCOUNTED {
        return vec![Step::Run {
            netns: plan.nodes[A].netns.clone(),
            program: "nft",
            arguments: ["-f", "-"].map(str::to_owned).to_vec(),
            input: without_counters(port),
        }];
    }
    let chain = Chain::dropping(libc::IPPROTO_TCP as u8, End::To, port);
    vec![Step::Firewall {
        netns: plan.nodes[A].netns.clone(),
        chain,
    }]
}

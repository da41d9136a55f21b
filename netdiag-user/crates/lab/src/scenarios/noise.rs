//! A healthy node on a bad day: many short connections, refused ports, names that do not exist,
//! one packet in a thousand lost on a switch, pods' links that come and go. Nothing of it is this
//! node's fault. `--duration 600s` makes it the long test that it is meant for.
use super::{HTTP, POD_A, POD_B, Scenario, VXLAN_NFT_RULES, bulk, everyday};
use crate::plan::{A, Place, Plan};
use crate::step::Step;
use crate::timeline::Timeline;
use crate::traffic::{Flow, Work};

pub const SCENARIO: Scenario = Scenario {
    name: "noise",
    summary: "nothing is wrong with the node: loss outside, refused ports, pods that come and go",
    needs: VXLAN_NFT_RULES,
    faults,
    traffic,
    timeline,
    ..Scenario::BASE
};

/// Loss by chance, where no hook of the node's is.
const LOSS: &str = "\
table bridge noise {
  chain forward {
    type filter hook forward priority 0;
    numgen random mod 1000 < 1 drop
  }
}
";

fn faults(plan: &Plan) -> Vec<Step> {
    vec![Step::Run {
        netns: plan.switches[0].clone(),
        program: "nft",
        arguments: vec!["-f".to_owned(), "-".to_owned()],
        input: LOSS.to_owned(),
    }]
}

pub fn traffic(_: &Plan) -> Vec<Flow> {
    let short = [(POD_A, POD_B), (POD_B, POD_A), (Place::Outside, POD_A)];
    let short = short.map(|(from, to)| Flow::new(Work::Request, from, to, HTTP, 20));
    // Clients that look around: each port is refused, none of them again and again.
    let ports = (1..8).map(|n| {
        Flow::new(
            Work::Scan,
            POD_B,
            POD_A,
            HTTP + 1000 * n,
            2000 + 300 * u64::from(n),
        )
    });
    let large = bulk(1_000_000);
    let mut all = everyday();
    all.extend(short);
    all.extend(ports);
    all.extend(large);
    all
}

const EVERY_MS: u64 = 3_000;

fn timeline(plan: &Plan) -> Timeline {
    let pod = &plan.nodes[A].pods[1];
    let link = |come| Step::PodLink {
        netns: plan.nodes[A].netns.clone(),
        device: "spare0".to_owned(),
        inside: pod.netns.clone(),
        come,
    };
    let both = [
        (EVERY_MS, link(true)),
        (EVERY_MS + EVERY_MS / 2, link(false)),
    ];
    Timeline::again(EVERY_MS, both.into())
}

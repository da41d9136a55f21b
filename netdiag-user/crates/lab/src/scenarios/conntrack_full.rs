//! Node A tracks connections, and its table is full to the last entry of connections that go on.
//! The limit is the machine's own and stays as it is: the table is filled to its real size.
use super::{Scenario, everyday};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;

pub const SCENARIO: Scenario = Scenario {
    name: "conntrack-full",
    summary: "the node's connection tracking table has no room for new connections",
    expected: &["conntrack-full"],
    needs: &[
        Need::Veth,
        Need::Bridge,
        Need::Vxlan,
        Need::Program("nft"),
        Need::Program("conntrack"),
        Need::Program("awk"),
        Need::Conntrack,
    ],
    faults,
    traffic: |_| everyday(),
    // Whom the table has no room for is translated nowhere.
    takes: &[Part::Conntrack, Part::Way, Part::Services],
    // It stops more than the way: no probe reaches what it hides, and nothing tells of that.
    ..Scenario::BASE
};

/// A rule that asks for the state is what switches tracking on in a namespace.
const TRACK: &str = "table inet tracking {
    chain forward {
        type filter hook forward priority 0
        ct state established,related counter accept
    }
}
";

/// Established connections of the networks for benchmarks (RFC 2544). conntrack(8) fails at the
/// first that finds no room, which is the point.
const FILL: &str = r#"max=$(cat /proc/sys/net/netfilter/nf_conntrack_max)
awk -v max="$max" 'BEGIN { for (n = 0; n < max + 64; n++) printf "-A -p tcp -s 198.18.%d.1 \
-d 198.18.%d.2 --sport %d --dport 443 -t 600 --state ESTABLISHED -u ASSURED,SEEN_REPLY\n",
n / 60000, n / 60000, 1024 + n % 60000 }' > {dir}/connections
conntrack --load-file {dir}/connections > {dir}/conntrack.log 2>&1
test "$(conntrack --count)" -ge "$max""#;

fn faults(plan: &Plan) -> Vec<Step> {
    let run = |program, arguments: &[&str], input: &str| Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program,
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        input: input.to_owned(),
    };
    let mut steps = vec![run("nft", &["-f", "-"], TRACK)];
    if !plan.options.healthy {
        steps.push(run("sh", &["-c", FILL], ""));
    }
    steps
}

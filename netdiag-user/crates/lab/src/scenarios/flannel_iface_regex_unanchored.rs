//! flanneld's regex for the NIC also matches a pod's link, which comes before the NIC: that was
//! plugged in later, or is not called so on this node.
use super::{Scenario, bulk, everyday};
use crate::cgroup::seat::Seat;
use crate::daemon::Daemon;
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, Plan};
use crate::step::Step;

pub const SCENARIO: Scenario = Scenario {
    name: "flannel-iface-regex-unanchored",
    summary: "flanneld's --iface-regex picks a pod's link instead of the NIC",
    expected: &["flannel-iface-regex-unanchored"],
    needs: &[Need::Veth, Need::Bridge, Need::Vxlan, Need::Program("ip")],
    shape: |plan| {
        plan.variant = (plan.form() % 2) as u32;
        // As the kernel or the CNI may name it: eight hexadecimal digits after "veth".
        let digits = plan.rng.hex(7);
        plan.nodes[A].pods[0].veth = format!("veth1{digits}");
    },
    faults,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    daemons: |plan| vec![flanneld(plan)],
    takes: &[Part::SecondNic],
    ..Scenario::BASE
};

const LATER: u32 = 0;

/// A NIC that was plugged in after the pods had started: its index is higher than theirs.
fn faults(plan: &Plan) -> Vec<Step> {
    if plan.variant != LATER && !plan.options.healthy {
        return Vec::new();
    }
    let outside = &plan.outside.netns;
    let subnet = plan.options.seed % 250;
    let script = format!(
        "ip link add dev eth1 index 4000 type veth peer name nic-eth1\n\
         ip link set nic-eth1 netns {outside}\n\
         ip address add 10.251.{subnet}.2/24 dev eth1\n\
         ip link set eth1 up\n\
         ip -n {outside} address add 10.251.{subnet}.1/24 dev nic-eth1\n\
         ip -n {outside} link set nic-eth1 up\n"
    );
    vec![Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "sh",
        arguments: vec!["-eu".to_owned()],
        input: script,
    }]
}

/// A process of its name with its arguments; flanneld itself would need an API server.
fn flanneld(plan: &Plan) -> Daemon {
    let regexes = ["eth1|bond1", "bond1|eth1", "(bond|eth)1"];
    let regex = regexes[plan.options.seed as usize % regexes.len()];
    let regex = match plan.options.healthy {
        true => format!("^({regex})$"),
        false => regex.to_owned(),
    };
    let flags = match plan.variant {
        LATER => vec![format!("--iface-regex={regex}")],
        _ => vec![
            "--iface=eno49".to_owned(),
            "--iface-regex".to_owned(),
            regex,
        ],
    };
    let mut arguments = vec!["-c".to_owned(), "while :; do sleep 1; done".to_owned()];
    arguments.extend(["--ip-masq", "--kube-subnet-mgr"].map(str::to_owned));
    arguments.extend(flags);
    Daemon {
        netns: plan.nodes[A].netns.clone(),
        program: "sh".to_owned(),
        shown_as: Some("/opt/bin/flanneld".to_owned()),
        arguments,
        seat: Seat::Service,
        ..Daemon::default()
    }
}

//! Nodes whose tunnel and pods are given other MTUs while they run, as by an operator who changes a network's configuration.
use crate::plan::{Kind, Plan, Pod};
use crate::step::Step;
use crate::topology::LARGEST;

/// Makes what a lab was built with that of the plan.
pub fn resized(plan: &Plan) -> Vec<Step> {
    let mtu = |netns: &str, device: &str, mtu| Step::Mtu {
        netns: netns.to_owned(),
        device: device.to_owned(),
        mtu,
    };
    let pod = |netns: &str, pod: &Pod| {
        [
            mtu(netns, &pod.veth, plan.mtu.pod),
            mtu(&pod.netns, "eth0", plan.mtu.pod),
        ]
    };
    let mut steps = Vec::new();
    for node in &plan.nodes {
        steps.push(mtu(&node.netns, &plan.tunnel.device, plan.mtu.tunnel));
        if plan.kind != Kind::Ipip {
            steps.push(mtu(&node.netns, &plan.bridge, plan.mtu.pod));
        }
        steps.extend(node.pods.iter().flat_map(|it| pod(&node.netns, it)));
    }
    let deaf = plan.pods().filter(|_| plan.deaf).map(|pod| Step::Sysctl {
        netns: pod.netns.clone(),
        key: "net/ipv4/route/min_pmtu".to_owned(),
        value: LARGEST.to_owned(),
    });
    steps.extend(deaf);
    steps
}

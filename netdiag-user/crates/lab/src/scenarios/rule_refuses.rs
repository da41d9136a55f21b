//! Node A's routes are as they should be, and a policy rule refuses the way to the other node's pods
//! all the same, or leads to a table that does.
use std::net::IpAddr;

use super::{Scenario, bulk, everyday};
use crate::needs::Need;
use crate::parts::Part;
use crate::plan::{A, B, Plan};
use crate::step::Step;
use crate::timeline::Timeline;

pub const SCENARIO: Scenario = Scenario {
    name: "rule-refuses",
    summary: "a policy rule refuses the way to the other pods, whatever the routes say",
    expected: &["no-route"],
    needs: &[Need::Veth, Need::Bridge, Need::Vxlan, Need::Program("ip")],
    shape: |plan| plan.variant = (plan.form() % FORMS.len()) as u32,
    faults,
    timeline,
    traffic: |_| [everyday(), bulk(100_000)].concat(),
    fixable: |_| true,
    takes: &[Part::Way],
    stops: |_| &[Part::Way],
    ..Scenario::BASE
};

/// What the rule does; `lookup` is to a table that refuses everything.
const FORMS: [&str; 4] = ["prohibit", "unreachable", "blackhole", "lookup"];
const TABLE: &str = "77";

/// A moment after the first conversations.
const AFTER_MS: u64 = 500;

fn to(plan: &Plan) -> String {
    let peer = &plan.nodes[B];
    let (pods, length): (IpAddr, u8) = match plan.options.ipv6 {
        true => (peer.pods_ipv6.into(), 64),
        false => (peer.pods_ipv4.into(), 24),
    };
    format!("{pods}/{length}")
}

fn ip(plan: &Plan, words: &[&str]) -> Step {
    let family = if plan.options.ipv6 { "-6" } else { "-4" };
    let words = std::iter::once(family).chain(words.iter().copied());
    Step::Run {
        netns: plan.nodes[A].netns.clone(),
        program: "ip",
        arguments: words.map(str::to_owned).collect(),
        input: String::new(),
    }
}

/// A rule that changes nothing is nobody's fault.
fn faults(plan: &Plan) -> Vec<Step> {
    let harmless = [
        "rule",
        "add",
        "pref",
        "110",
        "to",
        &to(plan),
        "lookup",
        "main",
    ];
    match plan.options.healthy {
        true => vec![ip(plan, &harmless)],
        false => Vec::new(),
    }
}

fn timeline(plan: &Plan) -> Timeline {
    if plan.options.healthy {
        return Timeline::default();
    }
    let (to, form) = (to(plan), FORMS[plan.variant as usize]);
    let mut rule = vec!["rule", "add", "pref", "100", "to", &to, form];
    let mut steps = Vec::new();
    if form == "lookup" {
        rule.push(TABLE);
        steps.push(ip(
            plan,
            &["route", "add", "prohibit", "default", "table", TABLE],
        ));
    }
    steps.push(ip(plan, &rule));
    let steps = steps.into_iter().map(|step| (AFTER_MS, step));
    Timeline::once(steps.collect())
}

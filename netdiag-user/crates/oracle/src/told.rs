//! A walk as people read it.
use netdiag_forwarding::way::{Does, Filter, Step, Subject, Walk};
use netdiag_model::{
    node::Node,
    world::{Netns, World, ruleset::Table},
};

/// A line for each step, branches further in.
pub fn lines(node: &Node, world: &World, walk: &Walk<'_>, inside: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for step in &walk.steps {
        let name = |device: &u32| device_name(world, step.netns, *device);
        let does = match &step.does {
            Does::Sends { device, .. } => format!("out by {}", name(device)),
            Does::Comes { device } => format!("in by {}", name(device)),
            Does::Leaves { device } => format!("leaves by {}", name(device)),
            Does::Chooses(_) => "one of".to_owned(),
            Does::Copies(_) => "a copy each".to_owned(),
            Does::Answers(answer, _) => {
                format!("answers with ICMP {}/{}", answer.kind, answer.code)
            }
            Does::Asks(_) => "asks first".to_owned(),
            Does::Delivers => "delivered".to_owned(),
            Does::Refuses(how) => format!("refused: {how:?}"),
            Does::Passes => "passes".to_owned(),
            Does::Unknown(why) => format!("unknown: {why:?}"),
        };
        let by = by(step).map_or_else(String::new, |by| format!(", by {by}"));
        let space = " ".repeat(inside * 2);
        let place = place(node, step.netns);
        let station = format!("{:?}", step.station);
        lines.push(format!("{space}{place:12} {station:12} {does}{by}"));
        let inner = within(step).into_iter();
        lines.extend(inner.flat_map(|branch| self::lines(node, world, branch, inside + 1)));
    }
    lines
}

/// The walks that a step is, or has.
pub fn within<'s, 'w>(step: &'s Step<'w>) -> Vec<&'s Walk<'w>> {
    match &step.does {
        Does::Chooses(branches) => branches.iter().map(|(_, branch)| branch).collect(),
        Does::Copies(copies) => copies.iter().collect(),
        Does::Answers(_, way) | Does::Asks(way) => vec![way.as_ref()],
        _ => Vec::new(),
    }
}

/// What decided, where that is not the device that it is about.
pub fn by(step: &Step<'_>) -> Option<String> {
    match step.by? {
        Subject::Rule(rule) => Some(format!("rule {}", rule.priority)),
        Subject::Route(route) => Some(format!("route {} of table {}", route.to, route.table)),
        Subject::Filter(filter) => Some(filter_of(filter)),
        Subject::Service(server) => Some(format!("virtual server {}", server.wanted)),
        Subject::Neighbour(neighbour) => Some(format!("neighbour {}", neighbour.address)),
        Subject::Forwarding(entry) => Some(format!("forwarding entry {:?}", entry.mac)),
        Subject::Setting(name, _) => Some(format!("sysctl {name}")),
        Subject::Device(device) if matches!(step.does, Does::Refuses(_)) => {
            Some(device.name.clone())
        }
        Subject::Device(_) => None,
    }
}

pub fn table(table: &Table) -> String {
    let own = if table.legacy { "iptables " } else { "" };
    format!("{own}{} {}", table.family.name(), table.name)
}

/// As nft(8) lists it.
pub fn filter_of(filter: Filter<'_>) -> String {
    let (table, chain) = (filter.table, filter.holder());
    let place = format!("{} {}", self::table(table), chain.name);
    match filter.rule {
        Some(rule) => format!("{place} handle {}", rule.handle),
        None => format!("the policy of {place}"),
    }
}

fn device_name(world: &World, netns: Netns, index: u32) -> String {
    let stack = world.stacks.get(&netns);
    let device = stack.and_then(|stack| stack.device(index));
    device.map_or_else(|| index.to_string(), |device| device.name.clone())
}

/// The node, or the pod by its first address.
fn place(node: &Node, netns: Netns) -> String {
    if netns == node.netns {
        return "node".to_owned();
    }
    let side = node.pod_side(netns).and_then(|side| side.addresses.first());
    side.map_or_else(|| netns.to_string(), ToString::to_string)
}

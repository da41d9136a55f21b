//! A step at which a way ends, in words: what it says, what shows it, and the smallest change that lets packets pass.
use std::net::IpAddr;

use netdiag_forwarding::way::{self, Does, How, Station, Step};
use netdiag_lang::t;

use super::{astray, from_loopback, ipsec, pod_default};
use crate::{
    model::{
        address::Prefix,
        journal::Thing,
        node::{Link, PodSide},
        pod::label,
        shell::CommandLine,
        verdict::{Evidence, EvidenceKind, Fix, Origin, PodRole, Subject},
        world::{
            Netns,
            device::Device,
            of_node,
            route::{Kind, Route},
            rule::Rule,
        },
    },
    pipeline::facts::{Facts, Loss},
    shell,
};

/// Where a step says no by what is configured.
pub const STATIONS: [Station; 7] = [
    Station::Link,
    Station::Bridge,
    Station::ReversePath,
    Station::Route,
    Station::Forward,
    Station::Encap,
    Station::Xfrm,
];

/// All that is said of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub what: String,
    pub subject: Option<Subject>,
    pub evidence: Evidence,
    pub fix: Fix,
}

/// A step with whom it is about.
struct At<'f, 'a> {
    facts: &'f Facts<'a>,
    netns: Netns,
    how: How,
    source: IpAddr,
    destination: IpAddr,
}

/// The step at which the ways of such packets end.
pub fn of_loss(facts: &Facts<'_>, loss: &Loss) -> Option<Told> {
    if loss.reason == ipsec::REASON {
        return ipsec::of_loss(facts, loss);
    }
    let ended = facts.dead_end(loss);
    ended.map_or_else(
        || astray::of_gateway(facts, loss),
        |step| told(facts, &step),
    )
}

/// What is said of one.
pub fn told(facts: &Facts<'_>, step: &Step<'_>) -> Option<Told> {
    let Does::Refuses(how) = step.does else {
        return None;
    };
    if !STATIONS.contains(&step.station) {
        return None;
    }
    let at = At {
        facts,
        netns: step.netns,
        how,
        source: step.packet.source,
        destination: step.packet.destination,
    };
    let plainer = match how {
        How::MartianSource => from_loopback::told(facts, step).or_else(|| at.own_source()),
        How::NotForwarding => at.wrong_gateway(),
        _ => None,
    };
    // Whoever is no router keeps back what was brought to him by mistake: that is whoever's who brought it.
    let astray = how == How::NotForwarding && !at.is_here() && !at.is_router();
    if plainer.is_some() || astray {
        return plainer;
    }
    let Some(by) = step.by else {
        // What dies in the node's own namespace without a route is seen to, and has a name of its own.
        return (how == How::NoRoute && !at.is_here()).then(|| at.leads_nowhere());
    };
    match by {
        way::Subject::Rule(rule) => Some(at.rule(rule)),
        way::Subject::Route(route) => Some(at.route(route)),
        way::Subject::Device(device) => at.device(device),
        way::Subject::Setting(name, device) => Some(at.setting(name, device)),
        way::Subject::Forwarding(entry) if facts.is_misplaced(step.netns, entry) => {
            astray::by_port(facts, step.netns, entry)
        }
        way::Subject::Forwarding(entry) => {
            at.device(facts.gathered.stack(step.netns)?.device(entry.device)?)
        }
        way::Subject::Neighbour(_) | way::Subject::Filter(_) | way::Subject::Service(_) => None,
    }
}

impl At<'_, '_> {
    fn whose(&self) -> String {
        whose(self.facts, self.netns)
    }

    fn is_here(&self) -> bool {
        self.netns == self.facts.node.netns
    }

    fn inside(&self, command: CommandLine) -> CommandLine {
        self.facts.node.inside(self.netns, command)
    }

    /// What is shown has that in it.
    fn evidence(
        &self,
        (kind, text): (EvidenceKind, String),
        (shown, has): (CommandLine, &str),
    ) -> Evidence {
        let mut line = Evidence::new(kind, Origin::Configured, text);
        line.confirm = Some(self.inside(shown).showing(&[has]));
        line
    }

    /// What comes in with an address of the very namespace that it comes to (`fib_validate_source`).
    fn own_source(&self) -> Option<Told> {
        let (facts, address) = (self.facts, self.source);
        let has = |l: &&Link| l.addresses.iter().any(|a| a.prefix.address == address);
        let link = facts.node.links.iter().find(has)?;
        if self.netns != facts.node.netns {
            return None;
        }
        let own = link
            .addresses
            .iter()
            .find(|a| a.prefix.address == address)?;
        let pod = facts.pod_side_of(address).is_some();
        let pod = facts.pod(address, PodRole::Source).filter(|_| pod);
        let whose = pod.map_or_else(|| t!("its sender").to_owned(), |pod| label(&pod));
        let what = t!(
            "this node has {address} itself, on {}, and takes what {whose} sends from there for forged",
            link.name
        );
        let shown = shell!("ip address show to {}", address);
        Some(Told {
            evidence: self.evidence(
                (
                    EvidenceKind::Link,
                    t!("{address} is an address of {}", link.name),
                ),
                (shown, &address.to_string()),
            ),
            subject: Some(Subject::Address { address }),
            fix: Fix {
                summary: t!(
                    "take {address} away from {}, and find out who set it there",
                    link.name
                ),
                commands: vec![shell!("ip address del {} dev {}", own.prefix, link.name)],
            },
            what,
        })
    }

    fn leads_nowhere(&self) -> Told {
        let (whose, to) = (self.whose(), self.destination);
        let side = self.facts.node.pod_side(self.netns);
        if let Some(side) = side.filter(|side| pod_default::is_missing(side, to.is_ipv6())) {
            return self.has_no_default(side);
        }
        let what = t!("{whose} has no route to {to}");
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, what.clone());
        line.confirm = Some(self.inside(shell!("ip route get {}", to)).failing());
        let shown = shell!("ip route show").of_family(to.is_ipv6());
        Told {
            what,
            subject: None,
            evidence: line,
            fix: Fix {
                summary: t!(
                    "give {whose} a route to {to}: find out who sets its routes, and what took that one away"
                ),
                commands: vec![self.inside(shown)],
            },
        }
    }

    /// The node leads what is for there by the pod whose namespace it is.
    fn is_router(&self) -> bool {
        let way = self.facts.way(&self.facts.from_node(self.destination));
        let gateway = way.and_then(|way| way.gateway);
        let side = self.facts.node.pod_side(self.netns);
        side.zip(gateway)
            .is_some_and(|(side, gateway)| side.addresses.contains(&gateway))
    }

    /// The sender is a pod whose route leads by another pod, which is no router.
    fn wrong_gateway(&self) -> Option<Told> {
        let (facts, to) = (self.facts, self.destination);
        let side = facts.pod_side_of(self.source)?;
        let gateway = side.gateway(to)?;
        let other = facts.node.pod_side(self.netns)?;
        let by_it = side.netns != self.netns && other.addresses.contains(&gateway);
        let (way, _) = side.way(to).filter(|_| by_it)?;
        let way = match way.length {
            0 => "default".to_owned(),
            _ => way.to_string(),
        };
        let pod = named(facts, self.source);
        let what = t!(
            "the pod {pod} leads {way} by {gateway}, which is {} and does not forward",
            self.whose()
        );
        let inside = |command| facts.node.inside(side.netns, command);
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, what.clone());
        let show = || shell!("ip route show").of_family(to.is_ipv6());
        line.confirm = Some(inside(show()).showing(&[&gateway.to_string()]));
        let right = pod_default::right(facts, side, to.is_ipv6()).filter(|right| *right != gateway);
        let change = right.map(|right| {
            let replace = shell!("ip route replace {} via {}", way, right);
            replace.of_family(to.is_ipv6())
        });
        Some(Told {
            what,
            subject: None,
            evidence: line,
            fix: Fix {
                summary: t!(
                    "lead {way} by the gateway that other pods have, and find out who set {gateway} in the pod {pod}"
                ),
                commands: vec![inside(change.unwrap_or_else(show))],
            },
        })
    }

    /// Whoever its answers are for.
    fn has_no_default(&self, side: &PodSide) -> Told {
        let ipv6 = self.destination.is_ipv6();
        let what = t!("{} has no default route", self.whose());
        let mut line = Evidence::new(EvidenceKind::Route, Origin::Configured, what.clone());
        let shown = shell!("ip route show default").of_family(ipv6);
        line.confirm = Some(self.inside(shown).showing_nothing());
        Told {
            what,
            subject: None,
            evidence: line,
            fix: pod_default::fix(self.facts, side, ipv6),
        }
    }

    fn rule(&self, rule: &Rule) -> Told {
        let (node, priority) = (self.facts.node, rule.priority);
        let here = self.is_here();
        let mut known = node.rules.iter().filter(|_| here);
        let known = known.find(|own| of_node::rule(own).as_ref() == Some(rule));
        let text = known.map_or_else(|| priority.to_string(), |known| known.text());
        let shown = shell!("ip rule show pref {}", priority).of_family(rule.ipv6);
        let alone = || {
            let stack = self.facts.gathered.stack(self.netns);
            let all = stack.and_then(|stack| stack.rules.some());
            let same = |r: &&Rule| (r.ipv6, r.priority) == (rule.ipv6, priority);
            all.is_some_and(|all| all.iter().filter(same).count() == 1)
        };
        let delete = match known {
            Some(known) => known.delete(),
            None if alone() => {
                let delete = shell!("ip rule del pref {}", priority);
                self.inside(delete.of_family(rule.ipv6))
            }
            None => self.inside(shown.clone()),
        };
        Told {
            what: t!(
                "the policy rule \"{text}\" of {} refuses the way to {}",
                self.whose(),
                self.destination
            ),
            subject: None,
            evidence: self
                .evidence(
                    (EvidenceKind::Rule, t!("policy rule {text}")),
                    (shown, &priority.to_string()),
                )
                .of(here.then_some(Thing::Policy {
                    ipv6: rule.ipv6,
                    priority,
                })),
            fix: Fix {
                summary: t!("find out who set the policy rule \"{text}\" and delete it"),
                commands: vec![delete],
            },
        }
    }

    fn route(&self, route: &Route) -> Told {
        let (to, table, source) = (route.to, route.table, self.source);
        let ipv6 = to.address.is_ipv6();
        let shown = shell!("ip route show table {} exact {}", table, to).of_family(ipv6);
        let word = match route.kind {
            Kind::Blackhole => Some("blackhole"),
            Kind::Unreachable => Some("unreachable"),
            Kind::Prohibit => Some("prohibit"),
            Kind::Local if self.how == How::MartianSource => Some("local"),
            _ => None,
        };
        let what = match self.how {
            How::MartianSource => t!(
                "the route {to} of table {table} makes {source} an address of {}, which takes what comes from there for forged",
                self.whose()
            ),
            _ => t!(
                "the route {to} of table {table} of {} refuses the way to {}",
                self.whose(),
                self.destination
            ),
        };
        let delete = word.map(|word| {
            let delete = shell!("ip route del {} {} table {}", word, to, table);
            delete.of_family(ipv6)
        });
        Told {
            what,
            subject: None,
            evidence: self
                .evidence(
                    (EvidenceKind::Route, t!("route {to} of table {table}")),
                    (shown.clone(), &shown_as(to)),
                )
                .of(self.is_here().then_some(Thing::Route { to, table })),
            fix: Fix {
                summary: t!(
                    "find out who set the route {to} of table {table}, and change it or take it away"
                ),
                commands: vec![self.inside(delete.unwrap_or(shown))],
            },
        }
    }

    fn device(&self, device: &Device) -> Option<Told> {
        let name = device.name.as_str();
        let whose = self.whose();
        let port = || shell!("bridge -d link show dev {}", name);
        let (what, shown, change) = match self.how {
            How::KeepsSilent => (
                t!(
                    "{name} of {whose} does not answer for {} (no ARP)",
                    self.destination
                ),
                shell!("ip link show dev {}", name),
                Some(shell!("ip link set dev {} arp on", name)),
            ),
            How::DeviceDown => (
                t!("{name} of {whose} is switched off"),
                shell!("ip link show dev {}", name),
                Some(shell!("ip link set dev {} up", name)),
            ),
            How::Isolated => (
                t!("{name} is an isolated port of {whose}, and so is the one that it came in by"),
                port(),
                Some(shell!("bridge link set dev {} isolated off", name)),
            ),
            How::Locked => (
                t!("{name} is a locked port of {whose}, whose bridge does not know the sender"),
                port(),
                Some(shell!("bridge link set dev {} locked off", name)),
            ),
            How::SamePort => (
                t!("it would leave {whose} by {name}, the bridge's port that it came in by"),
                port(),
                Some(shell!("bridge link set dev {} hairpin on", name)),
            ),
            How::PortState(_) => (
                t!("the bridge's port {name} of {whose} does not forward (spanning tree)"),
                port(),
                None,
            ),
            How::NotInVlan(vlan) => (
                t!("the bridge's port {name} of {whose} is not in VLAN {vlan}"),
                shell!("bridge vlan show dev {}", name),
                Some(shell!("bridge vlan add dev {} vid {}", name, vlan)),
            ),
            How::NoPvid => (
                t!("the bridge's port {name} of {whose} has no VLAN for frames without a tag"),
                shell!("bridge vlan show dev {}", name),
                None,
            ),
            How::NoRemote => (
                t!("the tunnel {name} of {whose} knows no other end for it"),
                shell!("bridge fdb show dev {}", name),
                None,
            ),
            _ => return None,
        };
        let link = self.netns == self.facts.node.netns;
        let subject = link.then(|| Subject::Link { name: name.into() });
        Some(Told {
            evidence: self.evidence((EvidenceKind::Link, what.clone()), (shown.clone(), name)),
            fix: Fix {
                summary: t!("let {name} pass it, and find out who set it so"),
                commands: vec![self.inside(change.unwrap_or(shown))],
            },
            subject,
            what,
        })
    }

    fn setting(&self, name: &str, device: Option<&Device>) -> Told {
        let of = device.map_or("all", |device| device.name.as_str());
        let name = format!("net.{}", name.replace("DEVICE", &of.replace('.', "/")));
        let (what, change) = match self.how {
            How::KeepsSilent => (
                t!(
                    "{name} of {} keeps it from answering for {}",
                    self.whose(),
                    self.destination
                ),
                shell!("sysctl -w {}=0", name),
            ),
            How::MartianDestination => (
                t!(
                    "{name} of {} is 0: nothing that is for {} is taken from there",
                    self.whose(),
                    self.destination
                ),
                shell!("sysctl -w {}=1", name),
            ),
            How::NotForwarding => (
                t!("{name} of {} keeps it back", self.whose()),
                shell!("sysctl -w {}=1", name),
            ),
            _ => (
                t!("{name} of {} keeps it back", self.whose()),
                shell!("sysctl {}", name),
            ),
        };
        Told {
            evidence: self
                .evidence(
                    (EvidenceKind::Sysctl, what.clone()),
                    (shell!("sysctl {}", name), &name),
                )
                .of(self.is_here().then(|| Thing::Setting {
                    sysctl: name.clone(),
                })),
            subject: None,
            fix: Fix {
                summary: t!("see who set {name}, and whether it is meant"),
                commands: vec![self.inside(change)],
            },
            what,
        }
    }
}

/// Whose network namespace it is: this node's, or that of one of its pods.
pub fn whose(facts: &Facts<'_>, netns: Netns) -> String {
    let node = facts.node;
    if netns == node.netns {
        return t!("this node").into();
    }
    let side = node.pod_side(netns);
    let address = side.and_then(|side| side.addresses.first().copied());
    let pod = address.and_then(|a| facts.pod(a, PodRole::Source));
    match (pod, address) {
        (Some(pod), _) => t!("the pod {}", label(&pod)),
        (None, Some(address)) => t!("the pod {address}"),
        (None, None) => t!("network namespace {netns}"),
    }
}

/// A pod by its name, else by its address.
pub fn named(facts: &Facts<'_>, address: IpAddr) -> String {
    let pod = facts.pod(address, PodRole::Source);
    pod.map_or_else(|| address.to_string(), |pod| label(&pod))
}

/// As iproute2 prints it.
pub fn shown_as(to: Prefix) -> String {
    match to.length {
        0 => "default".to_owned(),
        _ => to.address.to_string(),
    }
}

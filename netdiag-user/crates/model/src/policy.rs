//! Policy routing: which table the rules choose for a packet, and what they say by themselves.
//!
//! The kernel walks the rules by priority (net/core/fib_rules.c): one that matches and names a table
//! decides, unless the table has no route, or only one that `suppress_prefixlength` leaves out.
use super::shell::CommandLine;
use crate::shell;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    address::Prefix,
    node::{LOCAL, MAIN, Node, Route, RouteKind},
};

/// What a rule does with packets that match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Asks that table.
    Table(u32),
    /// Says no: `prohibit`, `unreachable`, `blackhole`.
    Refuse,
    /// Goes on at the rule of that priority.
    Goto(u32),
    /// Nothing, or what is not told apart.
    Nothing,
}

/// One line of `ip rule`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    pub priority: u32,
    pub ipv6: bool,
    pub action: Action,
    #[serde(default)]
    pub from: Option<Prefix>,
    #[serde(default)]
    pub to: Option<Prefix>,
    #[serde(default)]
    pub iif: Option<String>,
    /// Matches what the selectors do not.
    #[serde(default)]
    pub not: bool,
    /// Has selectors that a snapshot cannot judge: marks, ports, users, another device's output.
    #[serde(default)]
    pub others: bool,
    #[serde(default)]
    pub suppress_prefix_length: Option<u8>,
    /// As `ip rule` prints it, behind the priority: what `ip rule del` takes too.
    pub line: String,
}

impl PolicyRule {
    /// `100: from all to 10.0.0.0/8 prohibit`
    pub fn text(&self) -> String {
        format!("{}: {}", self.priority, self.line)
    }

    pub fn delete(&self) -> CommandLine {
        let command = shell!("ip rule del pref {}", self.priority).of_family(self.ipv6);
        // Another priority than the rule's own would take another rule away (iproute2, iprule.c).
        let other = |word: &str| {
            let names = ["preference", "order", "priority"];
            !word.is_empty() && names.iter().any(|name| name.starts_with(word))
        };
        let words = self.line.split(' ').filter(|word| !word.is_empty());
        match self.line.split(' ').any(other) {
            true => shell!("ip rule show pref {}", self.priority).of_family(self.ipv6),
            false => command.with_names(words),
        }
    }

    /// Whether it takes such a packet; `others` is what its selectors that a snapshot cannot judge say.
    fn matches(&self, packet: &Packet<'_>, others: bool) -> bool {
        let inside = |prefix: Option<Prefix>, address| prefix.is_none_or(|p| p.contains(address));
        let by = self
            .iif
            .as_deref()
            .is_none_or(|iif| Some(iif) == packet.iif);
        let all = inside(self.from, packet.source) && inside(self.to, packet.destination) && by;
        let judged = !self.others || others;
        self.ipv6 == packet.destination.is_ipv6() && judged && all != self.not
    }

    /// The mark that it asks for, as `ip route get` takes it.
    pub fn mark(&self) -> Option<&str> {
        let mut words = self.line.split(' ').skip_while(|word| *word != "fwmark");
        words.nth(1)?.split('/').next()
    }
}

/// What rules look at, of a packet without a mark.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The link that it came in by; nothing for the node's own.
    pub iif: Option<&'a str>,
}

/// What the rules come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen<'a> {
    Route(&'a Route),
    /// A route of kind [`RouteKind::Refusing`]; the rule that led to it, where it is not one of the
    /// kernel's own three.
    RefusingRoute(&'a Route, Option<&'a PolicyRule>),
    RefusingRule(&'a PolicyRule),
    None,
}

impl<'a> Chosen<'a> {
    pub fn usable(self) -> Option<&'a Route> {
        match self {
            Self::Route(route) => Some(route),
            _ => None,
        }
    }

    /// The rule that says no, or leads to a route that does.
    pub fn rule(self) -> Option<&'a PolicyRule> {
        match self {
            Self::RefusingRule(rule) => Some(rule),
            Self::RefusingRoute(_, rule) => rule,
            _ => None,
        }
    }
}

impl Node {
    /// The route that the rules choose. Readings of before there were rules are asked without.
    pub fn chosen(&self, packet: &Packet<'_>) -> Chosen<'_> {
        self.walk(packet, false)
    }

    /// The rule that may refuse a packet by what a snapshot cannot judge, its mark above all.
    pub fn may_refuse(&self, packet: &Packet<'_>) -> Option<Chosen<'_>> {
        let chosen = self.walk(packet, true);
        chosen.rule().is_some_and(|r| r.others).then_some(chosen)
    }

    fn walk(&self, packet: &Packet<'_>, others: bool) -> Chosen<'_> {
        if self.rules.is_empty() {
            return match self.route_to(packet.destination) {
                Some(route) => of_route(route, None),
                None => Chosen::None,
            };
        }
        let mut from = 0;
        // They are in the order of their priorities.
        for rule in &self.rules {
            if rule.priority < from || !rule.matches(packet, others) {
                continue;
            }
            match rule.action {
                Action::Refuse => return Chosen::RefusingRule(rule),
                // Backwards is not allowed by the kernel.
                Action::Goto(to) => from = to,
                Action::Nothing => {}
                Action::Table(table) => {
                    if let Some(route) = self.in_table(table, packet.destination, rule) {
                        return of_route(route, Some(rule));
                    }
                }
            }
        }
        Chosen::None
    }

    /// The route that a packet takes which a pod or the node sends: see [`Node::chosen`].
    pub fn route_for(&self, packet: &Packet<'_>) -> Option<&Route> {
        self.chosen(packet).usable()
    }

    fn in_table(&self, table: u32, to: IpAddr, rule: &PolicyRule) -> Option<&Route> {
        let own = |r: &&Route| r.table == table && r.destination.contains(to);
        let best = self.routes.iter().filter(own);
        let best = best.max_by_key(|r| (r.destination.length, std::cmp::Reverse(r.metric)))?;
        let shortest = rule.suppress_prefix_length;
        shortest
            .is_none_or(|length| best.destination.length > length)
            .then_some(best)
    }
}

fn of_route<'a>(route: &'a Route, rule: Option<&'a PolicyRule>) -> Chosen<'a> {
    let somebodys = rule.filter(|_| ![MAIN, LOCAL].contains(&route.table));
    match route.kind {
        RouteKind::Refusing => Chosen::RefusingRoute(route, somebodys),
        _ => Chosen::Route(route),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{OVERLAY, UPLINK, ip, overlay_node, policy, route};

    fn packet<'a>(to: &str, iif: &'a str) -> Packet<'a> {
        Packet {
            source: ip("172.20.1.5"),
            destination: ip(to),
            iif: Some(iif),
        }
    }

    fn node(rules: Vec<PolicyRule>) -> Node {
        let mut node = overlay_node(1450, 1450, 1500);
        let mut other = route("172.20.2.0/24", UPLINK, Some("192.0.2.254"));
        other.table = 77;
        node.routes.push(other);
        node.rules = rules;
        let main = policy(32_766, Action::Table(MAIN), "from all lookup main");
        node.rules.push(main);
        node
    }

    #[test]
    fn the_first_rule_that_matches_and_has_a_route_decides() {
        let mut rule = policy(100, Action::Table(77), "from 172.20.1.0/24 lookup 77");
        rule.from = "172.20.1.0/24".parse().ok();
        let chosen = |rule: &PolicyRule, to: &str, iif| {
            let node = node(vec![rule.clone()]);
            node.route_for(&packet(to, iif)).and_then(|r| r.oif)
        };
        assert_eq!(chosen(&rule, "172.20.2.9", "cali1"), Some(UPLINK));
        assert_eq!(chosen(&rule, "192.0.2.2", "cali1"), Some(UPLINK), "main's");
        rule.iif = Some("cali2".into());
        assert_eq!(chosen(&rule, "172.20.2.9", "cali1"), Some(OVERLAY));
        rule.not = true;
        assert_eq!(chosen(&rule, "172.20.2.9", "cali1"), Some(UPLINK));
        rule.others = true;
        assert_eq!(chosen(&rule, "172.20.2.9", "cali1"), Some(OVERLAY));
        let mut main = policy(
            99,
            Action::Table(MAIN),
            "lookup main suppress_prefixlength 0",
        );
        main.suppress_prefix_length = Some(24);
        let node = node(vec![main, policy(100, Action::Table(77), "lookup 77")]);
        let oif = node
            .route_for(&packet("172.20.2.9", "cali1"))
            .and_then(|r| r.oif);
        assert_eq!(oif, Some(UPLINK));
    }

    #[test]
    fn a_rule_may_refuse_and_a_goto_may_pass_it_by() {
        let mut no = policy(100, Action::Refuse, "from all to 172.20.2.0/24 prohibit");
        no.to = "172.20.2.0/24".parse().ok();
        let to = packet("172.20.2.9", "cali1");
        let refusing = node(vec![no.clone()]);
        assert_eq!(refusing.chosen(&to).rule(), Some(&no));
        assert_eq!(
            no.delete(),
            "ip rule del pref 100 from all to 172.20.2.0/24 prohibit"
        );
        let past = policy(50, Action::Goto(200), "goto 200");
        assert!(node(vec![past, no]).route_for(&to).is_some());
    }

    #[test]
    fn a_mark_may_lead_to_a_table_that_refuses() {
        let mut marked = policy(100, Action::Table(78), "from all fwmark 0x7/0xff lookup 78");
        marked.others = true;
        let mut node = node(vec![marked.clone()]);
        let mut no = route("0.0.0.0/0", UPLINK, None);
        (no.table, no.kind, no.oif) = (78, RouteKind::Refusing, None);
        node.routes.push(no);
        let to = packet("172.20.2.9", "cali1");
        assert!(node.route_for(&to).is_some(), "a packet without it");
        let refused = node.may_refuse(&to).and_then(Chosen::rule);
        assert_eq!(refused, Some(&marked));
        assert_eq!(marked.mark(), Some("0x7"));
        // A VPN's: all but its own marked packets.
        node.rules[0].not = true;
        assert_eq!(node.may_refuse(&to), None);
    }

    #[test]
    fn readings_without_rules_are_asked_as_before() {
        let node = overlay_node(1450, 1450, 1500);
        let oif = node
            .route_for(&packet("172.20.2.9", "cali1"))
            .and_then(|r| r.oif);
        assert_eq!(oif, Some(OVERLAY));
    }
}

//! Answers to what the rules asked for.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Destination, Listener, Piece, Qdisc, Receiver, Resolver, Rule, Tracked, Tuple, Want};
use crate::{
    address::Prefix,
    command::Command,
    control::{EtcdMember, MemoryCgroup, RangeSet},
    interception::Interception,
    link_filters::LinkFilter,
    node::{LinkKind, Node},
    runtime::Runtime,
    security::Security,
    services::Services,
    source_nat::{Leaving, SourceNat},
    verdict::NotChecked,
    world::{End, Known, Netns, Stack, World, shared},
};

/// Everything that was gathered so far, or why it could not be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gathered {
    pub(super) pieces: Vec<(Want, Result<Piece, String>)>,
    /// What was asked for and has not been answered once. Earlier recordings do not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) open: Vec<Want>,
}

/// Connections of one client that are remembered: four lists of the longest.
const MOST_TRACKED: usize = 16_384;

/// With those before that are not listed any more. Where a client took a port again, the later
/// counts. Each keeps its place: a recording tells what changed.
fn with_ended(now: Vec<Tracked>, before: &[Tracked]) -> Vec<Tracked> {
    let mut listed: HashMap<Tuple, Tracked> = now.iter().map(|t| (t.asked, *t)).collect();
    let ended = |t: &&Tracked| !listed.contains_key(&t.asked);
    let ended = before.iter().filter(ended).count();
    let mut forgotten = (now.len() + ended).saturating_sub(MOST_TRACKED);
    let mut all = Vec::with_capacity(now.len() + ended);
    for old in before {
        match listed.remove(&old.asked) {
            Some(again) => all.push(again),
            None if forgotten > 0 => forgotten -= 1,
            None => all.push(*old),
        }
    }
    all.extend(now.into_iter().filter(|t| listed.contains_key(&t.asked)));
    all
}

/// Rules that are remembered: those that count most of both engines, and as many from before.
const MOST_RULES: usize = 2_000;

/// With those that counted before and do not any more: what they took was dropped by them.
fn with_quiet(mut now: Vec<Rule>, before: &[Rule]) -> Vec<Rule> {
    let counts = |rules: &[Rule]| -> HashSet<(String, String)> {
        let counted = rules.iter().filter(|rule| rule.counted);
        counted.map(Rule::named).collect()
    };
    let listed = counts(&now);
    let quiet = |rule: &&Rule| rule.counted && !listed.contains(&rule.named());
    now.extend(before.iter().filter(quiet).cloned());
    // The longer they are quiet, the further behind.
    now.truncate(MOST_RULES);
    now
}

impl Gathered {
    /// How many questions have had an answer, good or bad.
    pub fn answered(&self) -> usize {
        self.pieces.len()
    }

    /// Puts in what came of a want, in place of what came of it before. Connections that ended
    /// meanwhile were translated as they were, and rules that are quiet now did count.
    pub fn insert(&mut self, want: Want, mut piece: Result<Piece, String>) {
        self.open.retain(|open| *open != want);
        match self.pieces.iter_mut().find(|(w, _)| *w == want) {
            Some((_, before)) => {
                if let (Ok(now), Ok(old)) = (&mut piece, &*before) {
                    now.remember(old);
                }
                *before = piece;
            }
            None => self.pieces.push((want, piece)),
        }
    }

    /// Notes that these are asked for.
    pub fn ask<'a>(&mut self, wants: impl IntoIterator<Item = &'a Want>) {
        for want in wants {
            if !self.has(want) && !self.open.contains(want) {
                self.open.push(want.clone());
            }
        }
    }

    /// Forgets what was found out of all others.
    pub fn keep(&mut self, wants: &BTreeSet<Want>) {
        self.pieces.retain(|(want, _)| wants.contains(want));
        self.open.retain(|want| wants.contains(want));
    }

    pub fn has(&self, want: &Want) -> bool {
        self.pieces.iter().any(|(w, _)| w == want)
    }

    fn piece(&self, want: &Want) -> Option<&Piece> {
        let (_, piece) = self.pieces.iter().find(|(w, _)| w == want)?;
        piece.as_ref().ok().map(Piece::found)
    }

    /// What could not be found out, and why.
    pub fn not_checked(&self) -> Vec<NotChecked> {
        let mut failures = BTreeMap::new();
        // Nothing that is told hangs on the state of a namespace alone.
        let told = |(want, _): &&(Want, _)| !matches!(want, Want::Stack(_));
        for (want, piece) in self.pieces.iter().filter(told) {
            match piece {
                Err(why) => drop(failures.insert(want.name(), why.clone())),
                Ok(piece) => failures.extend(piece.failures()),
            }
        }
        let row = |(what, why): (String, String)| NotChecked::new(what, why);
        failures.into_iter().map(row).collect()
    }

    /// Whether a fault may be where nobody could look: then finding none is no good news.
    pub fn is_partial(&self) -> bool {
        match self.piece(&Want::Impostors) {
            Some(Piece::Impostors(impostors)) => impostors.is_partial(),
            _ => false,
        }
    }

    /// But for netfilter's rules, as if nobody had asked for them: their bytes are addresses as much as anything, and
    /// their names anybody's.
    pub fn without_rulesets(&self) -> Self {
        let mut all = self.clone();
        for (_, piece) in &mut all.pieces {
            let Ok(Piece::Stack(stack)) = piece else {
                continue;
            };
            // None at all has nobody's.
            let some = stack.ruleset.some().is_some_and(|it| !it.is_empty());
            if some {
                stack.ruleset = Known::default();
            }
        }
        all
    }

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn stack(&self, netns: u32) -> Option<&Stack> {
        match self.piece(&Want::Stack(netns))? {
            Piece::Stack(stack) => Some(stack),
            _ => None,
        }
    }

    /// When the last of the namespaces' states was read.
    pub fn states_since(&self) -> u64 {
        let moments = self.pieces.iter().filter_map(|(want, _)| match want {
            Want::Stack(netns) => Some(self.stack(*netns)?.moment),
            _ => None,
        });
        moments.max().unwrap_or(0)
    }

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn connections(&self, netns: u32) -> Option<&[Destination]> {
        match self.piece(&Want::Connections(netns))? {
            Piece::Connections(connections) => Some(connections),
            _ => None,
        }
    }

    /// The namespaces of which the state is known, and the pairs that join them, as the node's own links tell.
    pub fn world(&self, node: &Node) -> World {
        let known = self.pieces.iter().filter_map(|(want, _)| match want {
            Want::Stack(netns) => Some((*netns, self.stack(*netns)?.clone())),
            _ => None,
        });
        let stacks: BTreeMap<Netns, Stack> = known.collect();
        let ends = node.links.iter().filter_map(|link| {
            let own = End {
                netns: node.netns,
                index: link.index,
            };
            let inside = match link.peer_elsewhere {
                true => link.peer_netns?,
                false => node.netns,
            };
            let peer = End {
                netns: inside,
                index: link.link?,
            };
            let pair = matches!(link.kind, LinkKind::Veth | LinkKind::Netkit);
            pair.then_some([(own, peer), (peer, own)])
        });
        let mut wires: BTreeMap<End, End> = ends.flatten().collect();
        wires.extend(shared::onto(&stacks, node.netns));
        World {
            wires,
            stacks,
            nodes: Vec::new(),
        }
    }

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn services(&self) -> Option<&Services> {
        match self.piece(&Want::Services)? {
            Piece::Services(services) => Some(services),
            _ => None,
        }
    }

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn listeners(&self, netns: u32) -> Option<&[Listener]> {
        match self.piece(&Want::Listeners(netns))? {
            Piece::Listeners(listeners) => Some(listeners),
            _ => None,
        }
    }

    pub fn commands(&self, name: &str) -> &[Command] {
        match self.piece(&Want::Commands(name.to_owned())) {
            Some(Piece::Commands(commands)) => commands,
            _ => &[],
        }
    }

    pub fn memory_cgroup(&self, id: u64) -> Option<&MemoryCgroup> {
        match self.piece(&Want::MemoryCgroup(id))? {
            Piece::MemoryCgroup(cgroup) => Some(cgroup),
            _ => None,
        }
    }

    pub fn ipam(&self) -> &[RangeSet] {
        match self.piece(&Want::Ipam) {
            Some(Piece::Ipam(sets)) => sets,
            _ => &[],
        }
    }

    /// Those that moved when they were watched; none where that is not known.
    pub fn rules(&self, netns: u32) -> &[Rule] {
        match self.piece(&Want::Rules(netns)) {
            Some(Piece::Rules(rules)) => rules,
            _ => &[],
        }
    }

    /// Those of each namespace whose rules are known.
    pub fn rules_known(&self) -> impl Iterator<Item = (u32, &[Rule])> {
        self.pieces.iter().filter_map(|(want, _)| match want {
            Want::Rules(netns) => match self.piece(want)? {
                Piece::Rules(rules) => Some((*netns, rules.as_slice())),
                _ => None,
            },
            _ => None,
        })
    }

    /// Nothing as long as they are not known.
    pub fn link_filters(&self, netns: u32) -> Option<&[LinkFilter]> {
        match self.piece(&Want::LinkFilters(netns))? {
            Piece::LinkFilters(filters) => Some(filters),
            _ => None,
        }
    }

    /// Nothing as long as they are not known.
    pub fn qdiscs(&self) -> Option<&[Qdisc]> {
        match self.piece(&Want::Qdiscs)? {
            Piece::Qdiscs(qdiscs) => Some(qdiscs),
            _ => None,
        }
    }

    /// Nothing where it is not known.
    pub fn receivers(&self, netns: u32, port: u16) -> Option<&[Receiver]> {
        match self.piece(&Want::Receivers { netns, port })? {
            Piece::Receivers(receivers) => Some(receivers),
            _ => None,
        }
    }

    /// Of the node itself and of every pod that could be asked.
    pub fn resolvers(&self) -> Option<&[Resolver]> {
        match self.piece(&Want::Resolvers)? {
            Piece::Resolvers(resolvers) => Some(resolvers),
            _ => None,
        }
    }

    /// Nothing where it is not known.
    pub fn security(&self, netns: u32) -> Option<&Security> {
        match self.piece(&Want::Security(netns))? {
            Piece::Security(security) => Some(security),
            _ => None,
        }
    }

    /// Members of etcd, those that did not answer as well.
    pub fn etcd(&self) -> &[EtcdMember] {
        match self.piece(&Want::Etcd) {
            Some(Piece::Etcd(members)) => members,
            _ => &[],
        }
    }

    /// Nothing where it is not known.
    pub fn interception(&self, netns: u32) -> Option<&Interception> {
        match self.piece(&Want::Interception(netns))? {
            Piece::Interception(interception) => Some(interception),
            _ => None,
        }
    }

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn source_nat(&self, packet: &Leaving) -> Option<&SourceNat> {
        match self.piece(&Want::SourceNat(packet.clone()))? {
            Piece::SourceNat(found) => Some(found),
            _ => None,
        }
    }

    /// Nothing where it was not asked for, or not answered yet.
    pub fn runtime(&self) -> Option<&Runtime> {
        match self.piece(&Want::Runtime)? {
            Piece::Runtime(runtime) => Some(runtime),
            _ => None,
        }
    }

    pub fn pod_networks(&self) -> Option<&[(Prefix, String)]> {
        match self.piece(&Want::PodNetworks)? {
            Piece::PodNetworks(networks) => Some(networks),
            _ => None,
        }
    }

    /// Translated connections, of every address that was asked for.
    pub fn translations(&self) -> impl Iterator<Item = &Tracked> {
        self.connected().filter(|one| one.is_translated())
    }

    /// The same, and conversations of datagrams that are not translated.
    pub fn connected(&self) -> impl Iterator<Item = &Tracked> {
        let pieces = self.pieces.iter();
        let lists = pieces.filter_map(|(_, piece)| piece.as_ref().ok()?.tracked());
        lists.flatten()
    }
}

impl Piece {
    fn tracked(&self) -> Option<&[Tracked]> {
        match self.found() {
            Self::Tracked(tracked) => Some(tracked),
            _ => None,
        }
    }

    /// Keeps of an earlier answer what this one cannot know any more.
    fn remember(&mut self, before: &Self) {
        let mut piece = self;
        while let Self::Partly { piece: found, .. } = piece {
            piece = found;
        }
        match (piece, before.found()) {
            (Self::Tracked(now), Self::Tracked(before)) => {
                *now = with_ended(std::mem::take(now), before);
            }
            (Self::Rules(now), Self::Rules(before)) => {
                *now = with_quiet(std::mem::take(now), before);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::{Chain, Family, RuleOrigin};

    fn tracked(port: u16, backend: u16) -> Tracked {
        let end = |last: u8, port: u16| ([10, 0, 0, last].into(), port);
        let (client, service) = (end(1, port), end(2, 80));
        let tuple = |source, destination| Tuple {
            source,
            destination,
            protocol: 6,
        };
        Tracked {
            asked: tuple(client, service),
            answered: tuple(end(3, backend), client),
        }
    }

    #[test]
    fn a_connection_that_ended_is_remembered_as_it_was() {
        let want = || Want::Tracked([10, 0, 0, 1].into());
        let mut gathered = Gathered::default();
        let lists = [
            vec![tracked(1, 8080), tracked(2, 8080)],
            vec![tracked(3, 8080), tracked(2, 9090)],
        ];
        for list in lists {
            let left = vec![NotChecked::new("connections", "too many")];
            gathered.insert(want(), Ok(Piece::Tracked(list).without(left)));
        }
        let all: Vec<Tracked> = gathered.translations().copied().collect();
        assert_eq!(all, [tracked(1, 8080), tracked(2, 9090), tracked(3, 8080)]);
    }

    fn rule(handle: u64, text: &str, packets: u64) -> Rule {
        let chain = Chain {
            family: Family::Inet,
            table: "t".into(),
            chain: "c".into(),
        };
        Rule {
            place: "inet t c".into(),
            text: text.into(),
            packets,
            counted: packets > 0,
            origin: RuleOrigin::Nft {
                chain,
                handle: Some(handle),
            },
            asks: Default::default(),
        }
    }

    #[test]
    fn a_rule_that_counted_is_remembered_when_it_is_quiet() {
        let mut gathered = Gathered::default();
        let mut answer = |rules: &[Rule]| {
            gathered.insert(Want::Rules(1), Ok(Piece::Rules(rules.to_vec())));
            gathered.rules(1).to_vec()
        };
        let udp = |packets| {
            rule(
                4,
                &format!("counter packets {packets} bytes 9 drop"),
                packets,
            )
        };
        let (tcp, silent) = (
            rule(5, "tcp dport 80 counter packets 3 bytes 9 drop", 3),
            rule(6, "drop", 0),
        );
        answer(&[udp(7), silent.clone()]);
        // What counts nothing is told anew each time, or is gone.
        assert_eq!(answer(std::slice::from_ref(&tcp)), [tcp.clone(), udp(7)]);
        assert_eq!(
            answer(&[]),
            [tcp.clone(), udp(7)],
            "however long it is quiet"
        );
        assert_eq!(
            answer(&[udp(2), silent.clone()]),
            [udp(2), silent, tcp.clone()]
        );
        // Another rule in its place is another rule.
        let other = rule(4, "udp dport 9 counter packets 1 bytes 9 drop", 1);
        assert_eq!(answer(std::slice::from_ref(&other)), [other, udp(2), tcp]);
    }

    #[test]
    fn rules_that_are_quiet_for_longest_are_forgotten_first() {
        let rules = |from: u64| (from..from + 1_500).map(|n| rule(n, &format!("{n}"), 1));
        let all = with_quiet(rules(5_000).collect(), &rules(0).collect::<Vec<_>>());
        assert_eq!(all.len(), MOST_RULES);
        assert!(rules(5_000).all(|r| all.contains(&r)));
        let again = with_quiet(Vec::new(), &all);
        assert_eq!(again, all);
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let ports = |from: u16| (from..from + 9_000).map(|port| tracked(port, 8080));
        let all = with_ended(ports(10_000).collect(), &ports(1_000).collect::<Vec<_>>());
        assert_eq!(all.len(), MOST_TRACKED);
        assert_eq!(
            all[0],
            tracked(1_000 + 18_000 - 16_384, 8080),
            "the oldest goes first"
        );
    }
}

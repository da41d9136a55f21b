//! Answers to what the rules asked for.
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{Destination, Listener, Piece, Qdisc, Receiver, Resolver, Rule, Tracked, Tuple, Want};
use crate::{
    address::Prefix,
    command::Command,
    control::{EtcdMember, MemoryCgroup, RangeSet},
    interception::Interception,
    link_filters::LinkFilter,
    runtime::Runtime,
    security::Security,
    services::Services,
    source_nat::{Leaving, SourceNat},
    verdict::NotChecked,
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

impl Gathered {
    /// Puts in what came of a want, in place of what came of it before. Connections that ended
    /// meanwhile were translated as they were.
    pub fn insert(&mut self, want: Want, mut piece: Result<Piece, String>) {
        self.open.retain(|open| *open != want);
        match self.pieces.iter_mut().find(|(w, _)| *w == want) {
            Some((_, before)) => {
                let old = before.as_ref().ok().and_then(Piece::tracked);
                let now = piece.as_mut().ok().and_then(Piece::tracked_mut);
                if let (Some(now), Some(old)) = (now, old) {
                    *now = with_ended(std::mem::take(now), old);
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
        for (want, piece) in &self.pieces {
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

    /// Nothing where it was not asked for, not answered yet, or could not be found out.
    pub fn connections(&self, netns: u32) -> Option<&[Destination]> {
        match self.piece(&Want::Connections(netns))? {
            Piece::Connections(connections) => Some(connections),
            _ => None,
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

    /// Those that moved when they were last watched; none where that is not known.
    pub fn rules(&self, netns: u32) -> &[Rule] {
        match self.piece(&Want::Rules(netns)) {
            Some(Piece::Rules(rules)) => rules,
            _ => &[],
        }
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

    fn tracked_mut(&mut self) -> Option<&mut Vec<Tracked>> {
        let mut piece = self;
        while let Self::Partly { piece: found, .. } = piece {
            piece = found;
        }
        match piece {
            Self::Tracked(tracked) => Some(tracked),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

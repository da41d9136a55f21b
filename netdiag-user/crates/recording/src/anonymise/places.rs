//! What the texts of a scene are, by the members that they stand in.
use super::shape::Place;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Given by people, or to what is theirs: nothing of it stays but what every cluster has.
    Name,
    /// The same; numbers are names there too.
    Label,
    /// A sentence, a rule, a path, an argument, an address.
    Text,
    /// A word of the kernel's.
    Kernel,
    /// A version.
    Release,
    /// A time of day.
    Time,
    /// What a sysctl is set to.
    Setting,
}

use self::Kind::{Kernel, Label, Name, Release, Setting, Text, Time};

/// A member that is new stands here after somebody thought about it; until then it is a name.
const PLACES: [(&str, &str, Kind); 142] = [
    ("Backend", "addresses", Text),
    ("Backend", "node", Name),
    ("Backend", "pod", Name),
    ("Backend", "uid", Name),
    ("CgroupProgram", "cgroup", Name),
    ("CgroupProgram", "holders", Name),
    ("CgroupProgram", "name", Name),
    ("CgroupProgram", "processes", Name),
    ("Chain", "chain", Text),
    ("Chain", "table", Text),
    ("Cluster", "no_node", Text),
    ("Cluster", "node", Name),
    ("Cluster", "server", Text),
    ("Command", "arguments", Text),
    ("Command", "unit", Name),
    ("Container", "id", Name),
    ("Container", "name", Name),
    ("Container", "process", Name),
    ("Counters", "values", Kernel),
    ("Cri", "network_not_ready", Text),
    ("Destination", "address", Text),
    ("Destination", "owner", Name),
    ("Destination", "source", Text),
    ("Doubt", "OtherPod", Name),
    ("EtcdMember", "answer", Text),
    ("EtcdMember", "credentials", Text),
    ("EtcdMember", "endpoint", Text),
    ("EtcdStatus", "alarms", Text),
    ("EtcdStatus", "version", Release),
    ("Fdb", "vtep", Text),
    ("Flannel", "backend", Text),
    ("Flannel", "from", Name),
    ("Gathered", "pieces", Text),
    ("Impostor", "name", Name),
    ("Impostors", "cut", Text),
    ("Interception", "proxies", Name),
    ("Keeper", "file", Text),
    ("Leaving", "destination", Text),
    ("Leaving", "link", Name),
    ("Leaving", "source", Text),
    ("Link", "name", Name),
    ("LinkChange", "name", Name),
    ("LinkKind", "Other", Text),
    ("LinkProgram", "holders", Name),
    ("LinkProgram", "name", Name),
    ("Listener", "address", Text),
    ("Listener", "owner", Name),
    ("Listing", "table", Text),
    ("Member", "addresses", Text),
    ("Member", "announced", Text),
    ("Member", "name", Name),
    ("MemoryCgroup", "limit_file", Text),
    ("MemoryCgroup", "namespace", Name),
    ("MemoryCgroup", "path", Text),
    ("Neighbour", "address", Text),
    ("NeighbourMoves", "address", Text),
    ("Network", "etcd", Text),
    ("Network", "file", Text),
    ("Network", "ipam", Text),
    ("Network", "name", Name),
    ("Network", "plugins", Text),
    ("Node", "kernel", Release),
    ("Node", "known_as", Text),
    ("Node", "name", Name),
    ("Node", "sysctls", Setting),
    ("NotChecked", "node", Name),
    ("NotChecked", "what", Text),
    ("NotChecked", "why", Text),
    ("Owner", "kind", Text),
    ("Owner", "name", Name),
    ("Piece", "PodNetworks", Text),
    ("Pod", "addresses", Text),
    ("Pod", "interface", Name),
    ("Pod", "labels", Label),
    ("Pod", "name", Name),
    ("Pod", "namespace", Name),
    ("Pod", "node", Name),
    ("Pod", "sandbox", Name),
    ("Pod", "uid", Name),
    ("PodInterface", "addresses", Text),
    ("PodInterface", "host", Name),
    ("PodInterface", "name", Name),
    ("PodInterface", "network", Name),
    ("PodSide", "addresses", Text),
    ("PodSide", "links", Name),
    ("PodSide", "path", Text),
    ("PodSide", "ways", Text),
    ("PolicyRule", "iif", Name),
    ("PolicyRule", "line", Text),
    ("Port", "name", Name),
    ("Published", "address", Text),
    ("Qdisc", "kind", Text),
    ("RangeSet", "conf", Text),
    ("RangeSet", "network", Name),
    ("RangeSet", "ranges", Text),
    ("Reasons", "names", Kernel),
    ("Receiver", "address", Text),
    ("Receiver", "owner", Name),
    ("Redirect", "rule", Text),
    ("Reserved", "address", Text),
    ("Reserved", "container", Name),
    ("Reserved", "file", Text),
    ("Resolver", "search", Name),
    ("Resolver", "servers", Text),
    ("Route", "gateway", Text),
    ("Rule", "place", Text),
    ("Rule", "text", Text),
    ("RuleOrigin", "chain", Text),
    ("RuleOrigin", "table", Text),
    ("RuleOrigin", "words", Text),
    ("Run", "links", Name),
    ("Runtime", "cri", Text),
    ("Runtime", "unread", Text),
    ("Security", "modules", Text),
    ("Service", "address", Text),
    ("Service", "addresses", Text),
    ("Service", "backends", Text),
    ("Service", "external", Text),
    ("Service", "name", Name),
    ("Service", "namespace", Name),
    ("Service", "selector", Label),
    ("Services", "proxies", Name),
    ("Services", "ranges", Text),
    ("Services", "unread", Text),
    ("Setups", "log", Text),
    ("Setups", "message", Text),
    ("Setups", "name", Name),
    ("Setups", "namespace", Name),
    ("Shown", "File", Text),
    ("SourceNat", "rule", Text),
    ("TcFilter", "kind", Text),
    ("Told", "address", Text),
    ("Told", "by", Text),
    ("Trouble", "Forbidden", Text),
    ("Trouble", "heard", Time),
    ("Trouble", "why", Text),
    ("Tunnel", "local", Text),
    ("Tunnel", "remote", Text),
    ("Tuple", "destination", Text),
    ("Tuple", "source", Text),
    ("Want", "Commands", Text),
    ("Want", "Tracked", Text),
];

pub fn known(place: Place) -> Option<Kind> {
    let mut here = PLACES
        .iter()
        .filter(|(of, member, _)| (*of, *member) == (place.of, place.member));
    let (.., kind) = here.next()?;
    // The sysctl's own name comes first.
    let is_name = *kind == Setting && place.at == 0;
    Some(if is_name { Text } else { *kind })
}

pub fn kind(place: Place) -> Kind {
    known(place).unwrap_or(Name)
}

#[cfg(test)]
pub fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    PLACES.iter().map(|(of, member, _)| (*of, *member))
}

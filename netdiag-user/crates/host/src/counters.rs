//! Counters of network namespaces from /proc/net, by whatever names this kernel gives them.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{budget::Budget, namespaces};
use crate::{
    model::{
        counter_name::{CounterName, CounterNames},
        node::Counters,
    },
    sys::file,
};

type Values = BTreeMap<String, u64>;

/// Files of a line of names and one of values, each after `Group:` (net/ipv4/proc.c).
const GROUPS: [&str; 2] = ["netstat", "snmp"];
/// A name and its value in each line (net/ipv6/proc.c), of which some are a kind of ICMPv6's each: those of two
/// groups, as the other files have theirs.
const SNMP6: (&str, [&str; 2]) = ("snmp6", ["Udp6", "Icmp6InRouter"]);
/// Files of a line of names and one of hexadecimal values per CPU.
const PER_CPU: [&str; 1] = ["nf_conntrack"];
/// The same of the neighbour tables, with the folder of their sysctls. Tables and limits are the
/// whole machine's, and only its first namespace shows them.
const NEIGHBOURS: [(&str, &str); 2] = [("arp_cache", "ipv4"), ("ndisc_cache", "ipv6")];
const LIMITS: [&str; 3] = ["gc_thresh1", "gc_thresh2", "gc_thresh3"];
/// The second and third column of `softnet_stat` (net/core/net-procfs.c), which has no names.
const SOFTNET: [(usize, &str); 2] = [(1, "softnet.dropped"), (2, "softnet.time_squeeze")];
/// Sysctls that are really gauges and limits of the namespace.
const GAUGES: [&str; 2] = ["nf_conntrack_count", "nf_conntrack_max"];

/// A line for each CPU, and some machines have a thousand.
const LONGEST: usize = 1 << 20;
/// Time for one reading: some 0.1 ms go to a namespace, and pods' are read every second.
const BUDGET: Duration = Duration::from_millis(250);

/// Counters as they were last read, of namespaces in turn where there are too many for one reading.
#[derive(Default)]
pub struct Turns {
    known: BTreeMap<u32, Counters>,
    /// The namespace that the last reading ended with.
    last: Option<u32>,
    names: CounterNames,
}

impl Turns {
    /// Reads the namespaces, each given by its inode and a path to open it by, and the machine's own
    /// tables in its `first` one. The first of them always is; one that is gone, or may not be
    /// entered, is left out. With how many were not read now.
    pub fn read(
        &mut self,
        namespaces: Vec<(u32, PathBuf)>,
        first: PathBuf,
    ) -> (Vec<Counters>, usize) {
        let order: Vec<u32> = namespaces.iter().map(|(netns, _)| *netns).collect();
        let turn = in_turn(namespaces, self.last);
        let names = std::mem::take(&mut self.names);
        let (read, tried, names) = read(turn, first, BUDGET, names);
        self.names = names;
        self.last = tried.last().copied();
        let all = order.len();
        self.known
            .retain(|netns, _| order.contains(netns) && !tried.contains(netns));
        let mut found = Vec::new();
        let machine = read.iter().find(|c| !order.contains(&c.netns)).cloned();
        self.known.extend(read.into_iter().map(|c| (c.netns, c)));
        for netns in order {
            found.extend(self.known.get(&netns).cloned());
        }
        found.extend(machine);
        (found, all - tried.len())
    }
}

/// The first stays so, and the others begin after the one that was the last.
fn in_turn(mut namespaces: Vec<(u32, PathBuf)>, last: Option<u32>) -> Vec<(u32, PathBuf)> {
    let place = namespaces
        .iter()
        .position(|(netns, _)| Some(*netns) == last);
    if let (Some(place), [_, others @ ..]) = (place, namespaces.as_mut_slice()) {
        others.rotate_left(place.min(others.len()));
    }
    namespaces
}

/// What could be read within the time, and what was tried. A thread of its own enters them, one
/// after the other.
fn read(
    namespaces: Vec<(u32, PathBuf)>,
    first: PathBuf,
    budget: Duration,
    mut names: CounterNames,
) -> (Vec<Counters>, Vec<u32>, CounterNames) {
    let thread = std::thread::Builder::new().name("counters".into());
    let spawned = thread.spawn(move || {
        let budget = Budget::new(budget);
        let (mut all, mut tried) = (Vec::new(), Vec::new());
        for (netns, path) in &namespaces {
            if !tried.is_empty() && budget.is_spent() {
                break;
            }
            tried.push(*netns);
            if namespaces::enter(path, *netns).is_ok() {
                let (netns, values) = (*netns, shared(here(), &mut names));
                all.push(Counters { netns, values });
            }
        }
        let machine = machine(&first, &namespaces);
        all.extend(machine.map(|(netns, values)| Counters {
            netns,
            values: shared(values, &mut names),
        }));
        (all, tried, names)
    });
    let joined = spawned.map(std::thread::JoinHandle::join);
    joined.map_or_else(|_| Default::default(), Result::unwrap_or_default)
}

/// The neighbour tables, where none of the others was the namespace that shows them.
fn machine(first: &Path, others: &[(u32, PathBuf)]) -> Option<(u32, Values)> {
    let netns = namespaces::inode(first)?;
    if others.iter().any(|(other, _)| *other == netns) {
        return None;
    }
    namespaces::enter(first, netns).ok()?;
    let mut values = Values::new();
    neighbours(&mut values);
    (!values.is_empty()).then_some((netns, values))
}

fn shared(values: Values, names: &mut CounterNames) -> BTreeMap<CounterName, u64> {
    let values = values.into_iter();
    values.map(|(name, n)| (names.shared(&name), n)).collect()
}

/// Those of this thread's namespace.
pub fn here() -> Values {
    let mut values = Values::new();
    let net = |name: &str| text(&format!("/proc/thread-self/net/{name}"));
    for file in GROUPS {
        groups(&net(file).unwrap_or_default(), &mut values);
    }
    let snmp6 = net(SNMP6.0).unwrap_or_default();
    for group in SNMP6.1 {
        pairs(&snmp6, group, &mut values);
    }
    for file in PER_CPU {
        let text = net(&format!("stat/{file}")).unwrap_or_default();
        per_cpu(file, &text, &mut values);
    }
    neighbours(&mut values);
    softnet(&net("softnet_stat").unwrap_or_default(), &mut values);
    for file in ["sockstat", "sockstat6"] {
        sockstat(&net(file).unwrap_or_default(), &mut values);
    }
    let range = text("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    for (end, text) in ["low", "high"].into_iter().zip(range.split_whitespace()) {
        let value = text.parse().ok();
        values.extend(value.map(|v| (format!("ip_local_port_range.{end}"), v)));
    }
    let reuse = text("/proc/sys/net/ipv4/tcp_tw_reuse");
    let reuse = reuse.and_then(|t| t.trim().parse().ok());
    values.extend(reuse.map(|v| ("tcp_tw_reuse".to_owned(), v)));
    for name in GAUGES {
        let text = text(&format!("/proc/sys/net/netfilter/{name}"));
        let value = text.and_then(|t| t.trim().parse().ok());
        values.extend(value.map(|v| (name.to_owned(), v)));
    }
    values
}

fn text(path: &str) -> Option<String> {
    file::kernel(Path::new(path), LONGEST).ok()
}

fn neighbours(values: &mut Values) {
    for (file, family) in NEIGHBOURS {
        let Some(table) = text(&format!("/proc/thread-self/net/stat/{file}")) else {
            continue;
        };
        per_cpu(file, &table, values);
        for limit in LIMITS {
            let path = format!("/proc/sys/net/{family}/neigh/default/{limit}");
            let value = text(&path).and_then(|t| t.trim().parse().ok());
            values.extend(value.map(|v| (format!("{file}.{limit}"), v)));
        }
    }
}

/// `TcpExt: A B` above `TcpExt: 1 2`. Negative values (`Tcp.MaxConn`) are no counters.
fn groups(text: &str, values: &mut Values) {
    let mut lines = text.lines();
    while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
        let Some((group, names)) = names.split_once(':') else {
            continue;
        };
        let numbers = numbers.split_once(':').map_or("", |(_, numbers)| numbers);
        for (name, number) in names.split_whitespace().zip(numbers.split_whitespace()) {
            if let Ok(number) = number.parse() {
                values.insert(format!("{group}.{name}"), number);
            }
        }
    }
}

fn pairs(text: &str, group: &str, values: &mut Values) {
    let words = text.lines().map(str::split_whitespace);
    for (name, number) in words.filter_map(|mut it| Some((it.next()?, it.next()?))) {
        if let (Some(name), Ok(number)) = (name.strip_prefix(group), number.parse()) {
            values.insert(format!("{group}.{name}"), number);
        }
    }
}

/// The sum over the CPUs; a gauge (`entries`) is repeated for each, and is taken once.
fn per_cpu(file: &str, text: &str, values: &mut Values) {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or("").split_whitespace().collect();
    for line in lines {
        for (name, number) in names.iter().zip(line.split_whitespace()) {
            let number = u64::from_str_radix(number, 16).unwrap_or(0);
            let sum = values.entry(format!("{file}.{name}")).or_default();
            *sum = if *name == "entries" {
                number
            } else {
                *sum + number
            };
        }
    }
}

/// Gauges: `TCP: inuse 5 orphan 0 tw 0`, names and values in turn.
fn sockstat(text: &str, values: &mut Values) {
    for line in text.lines() {
        let Some((group, rest)) = line.split_once(':') else {
            continue;
        };
        let words: Vec<_> = rest.split_whitespace().collect();
        for pair in words.chunks_exact(2) {
            if let Ok(number) = pair[1].parse() {
                values.insert(format!("sockstat.{group}.{}", pair[0]), number);
            }
        }
    }
}

fn softnet(text: &str, values: &mut Values) {
    for (column, name) in SOFTNET {
        let of = |line: &str| {
            let number = line.split_whitespace().nth(column)?;
            u64::from_str_radix(number, 16).ok()
        };
        values.insert(name.to_owned(), text.lines().filter_map(of).sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_in_pairs() {
        let mut values = Values::new();
        let text = "Ip6InReceives \t7\nUdp6NoPorts   \t2\nUdp6RcvbufErrors\t5\nUdp6X\nUdp6Y z\n";
        pairs(text, "Udp6", &mut values);
        let known = [("Udp6.NoPorts", 2), ("Udp6.RcvbufErrors", 5)];
        assert_eq!(values, known.map(|(name, n)| (name.to_owned(), n)).into());
        // Without IPv6 (ipv6.disable=1) there is no such file.
        let has_ipv6 = Path::new("/proc/thread-self/net/snmp6").exists();
        assert_eq!(here().contains_key("Udp6.RcvbufErrors"), has_ipv6);
    }

    #[test]
    fn those_that_found_no_time_come_next() {
        let all = || (1..=4).map(|n| (n, PathBuf::new())).collect::<Vec<_>>();
        let order = |last| {
            let turn = in_turn(all(), last).into_iter();
            turn.map(|(netns, _)| netns).collect::<Vec<_>>()
        };
        assert_eq!(order(None), [1, 2, 3, 4]);
        assert_eq!(order(Some(2)), [1, 3, 4, 2]);
        assert_eq!(order(Some(4)), [1, 2, 3, 4]);
        assert_eq!(order(Some(9)), [1, 2, 3, 4], "it is gone");
        let (read, tried, _) = read(
            all(),
            PathBuf::new(),
            Duration::ZERO,
            CounterNames::default(),
        );
        assert_eq!((read.len(), tried), (0, vec![1]));
    }

    #[test]
    fn a_namespace_that_was_not_read_keeps_its_last_counters() {
        let own = namespaces::own().expect("a namespace");
        let path = PathBuf::from("/proc/self/ns/net");
        let mut turns = Turns::default();
        let (found, left) = turns.read(vec![(own, path.clone())], path.clone());
        assert_eq!((found.len(), left), (1, 0));
        assert!(!found[0].values.is_empty());
        let (found, _) = turns.read(Vec::new(), path);
        assert!(
            found.iter().all(|c| c.values.len() < 60),
            "the machine's alone"
        );
    }

    #[test]
    fn names_and_values_are_paired() {
        let mut values = Values::new();
        groups(
            "Tcp: MaxConn InSegs\nTcp: -1 7\nTcpExt: A\nTcpExt: 3 4\n",
            &mut values,
        );
        assert_eq!(values.get("Tcp.InSegs"), Some(&7));
        assert_eq!(values.get("TcpExt.A"), Some(&3));
        assert_eq!(values.len(), 2);
    }

    #[test]
    fn sockets_are_counted_by_protocol() {
        let mut values = Values::new();
        sockstat(
            "sockets: used 9\nTCP: inuse 5 orphan 0 tw 7\nbad\n",
            &mut values,
        );
        assert_eq!(values.get("sockstat.TCP.tw"), Some(&7));
        assert_eq!(values.len(), 4);
    }

    #[test]
    fn cpus_are_added_and_gauges_are_not() {
        let mut values = Values::new();
        per_cpu("x", "entries drop\n0a 01\n0a 10\n", &mut values);
        assert_eq!(values.get("x.entries"), Some(&10));
        assert_eq!(values.get("x.drop"), Some(&17));
    }
}

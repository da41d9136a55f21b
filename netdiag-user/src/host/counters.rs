//! Counters of network namespaces from /proc/net, by whatever names this kernel gives them.
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use super::namespaces;
use crate::model::node::Counters;

type Values = BTreeMap<String, u64>;

/// Files of a line of names and one of values, each after `Group:` (net/ipv4/proc.c).
const GROUPS: [&str; 2] = ["netstat", "snmp"];
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

/// Reads the namespaces, each given by its inode and a path to open it by, and the machine's own
/// tables in its `first` one. A thread of its own enters them, one after the other. One that is
/// gone, or may not be entered, is left out.
pub fn read(namespaces: Vec<(u32, PathBuf)>, first: PathBuf) -> Vec<Counters> {
    let thread = std::thread::Builder::new().name("counters".into());
    let spawned = thread.spawn(move || {
        let entered = namespaces.into_iter().filter_map(|(netns, path)| {
            enter(netns, &path)?;
            let values = here();
            Some(Counters { netns, values })
        });
        let mut all: Vec<_> = entered.collect();
        all.extend(machine(&first, &all));
        all
    });
    let joined = spawned.map(std::thread::JoinHandle::join);
    joined.map_or_else(|_| Vec::new(), Result::unwrap_or_default)
}

fn enter(netns: u32, path: &Path) -> Option<()> {
    // Where one already is, one need not be allowed to enter.
    if namespaces::own() != Some(netns) {
        let file = File::open(path).ok()?;
        nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
    }
    Some(())
}

/// The neighbour tables, where none of the others was the namespace that shows them.
fn machine(first: &Path, others: &[Counters]) -> Option<Counters> {
    let netns = namespaces::inode(first)?;
    if others.iter().any(|it| it.netns == netns) {
        return None;
    }
    enter(netns, first)?;
    let mut values = Values::new();
    neighbours(&mut values);
    (!values.is_empty()).then_some(Counters { netns, values })
}

/// Those of this thread's namespace.
pub fn here() -> Values {
    let mut values = Values::new();
    let net = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    for file in GROUPS {
        groups(&net(file).unwrap_or_default(), &mut values);
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
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    for (end, text) in ["low", "high"].into_iter().zip(range.split_whitespace()) {
        let value = text.parse().ok();
        values.extend(value.map(|v| (format!("ip_local_port_range.{end}"), v)));
    }
    for name in GAUGES {
        let text = std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}"));
        let value = text.ok().and_then(|t| t.trim().parse().ok());
        values.extend(value.map(|v| (name.to_owned(), v)));
    }
    values
}

fn neighbours(values: &mut Values) {
    for (file, family) in NEIGHBOURS {
        let Ok(text) = std::fs::read_to_string(format!("/proc/thread-self/net/stat/{file}")) else {
            continue;
        };
        per_cpu(file, &text, values);
        for limit in LIMITS {
            let path = format!("/proc/sys/net/{family}/neigh/default/{limit}");
            let value = std::fs::read_to_string(path);
            let value = value.ok().and_then(|t| t.trim().parse().ok());
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

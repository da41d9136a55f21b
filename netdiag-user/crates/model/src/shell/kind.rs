//! What a command line does, told from its programs and their verbs: whoever makes one cannot forget
//! to say it, nor say it wrong. A program that is not in the table fails the tests of its cause.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::word::Word;

/// From the most harmless on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum CommandKind {
    /// Prints what is so, and ends within 5 s.
    Show,
    /// Prints what happens, and ends by itself: by a count, or by timeout(1).
    Watch,
    /// For the cluster's API, or for another machine.
    Elsewhere,
    /// Changes this machine.
    Change,
}

use CommandKind::{Change, Elsewhere, Show, Watch};

/// Programs whose kind is told by the first of their words that stands in one of these lists.
struct Row {
    programs: &'static [&'static str],
    shows: &'static [&'static str],
    watches: &'static [&'static str],
    changes: &'static [&'static str],
    /// Where none does.
    otherwise: Option<CommandKind>,
}

const fn always(programs: &'static [&'static str], kind: CommandKind) -> Row {
    Row {
        programs,
        shows: &[],
        watches: &[],
        changes: &[],
        otherwise: Some(kind),
    }
}

const TABLE: &[Row] = &[
    always(
        &[
            "aa-status",
            "arping",
            "ausearch",
            "awk",
            "cat",
            "dig",
            "dmesg",
            "echo",
            "grep",
            "head",
            "ip6tables-legacy-save",
            "ip6tables-nft-save",
            "ip6tables-save",
            "iptables-legacy-save",
            "iptables-nft-save",
            "iptables-save",
            "ipvsadm",
            "journalctl",
            "ls",
            "lsns",
            "ndisc6",
            "nstat",
            "ping",
            "ps",
            "sort",
            "ss",
            "tail",
            "uniq",
            "wc",
        ],
        Show,
    ),
    always(&["perf", "tcpdump"], Watch),
    always(&["kubectl", "ssh"], Elsewhere),
    always(&["modprobe", "rm"], Change),
    Row {
        programs: &["bridge", "ip", "tc"],
        shows: &["get", "list", "show"],
        watches: &["monitor"],
        changes: &[
            "add", "append", "change", "del", "delete", "flush", "replace", "set",
        ],
        otherwise: Some(Show),
    },
    Row {
        programs: &["bpftool"],
        shows: &["list", "show", "tree"],
        watches: &[],
        changes: &["attach", "detach", "load", "pin", "update"],
        otherwise: None,
    },
    Row {
        programs: &["conntrack"],
        shows: &["-C", "-L", "-S"],
        watches: &["-E"],
        changes: &["-D", "-F", "-I", "-U"],
        otherwise: None,
    },
    Row {
        programs: &["crictl"],
        shows: &["info", "inspect", "inspectp", "logs", "pods", "ps"],
        watches: &[],
        changes: &["rm", "rmp", "stop", "stopp"],
        otherwise: None,
    },
    Row {
        programs: &["curl"],
        shows: &[],
        watches: &[],
        changes: &["-T", "-X", "-d"],
        otherwise: Some(Show),
    },
    Row {
        programs: &["etcdctl"],
        shows: &["get", "list", "status"],
        watches: &["watch"],
        changes: &["compact", "defrag", "del", "disarm", "put"],
        otherwise: None,
    },
    Row {
        programs: &["ethtool"],
        shows: &[],
        watches: &[],
        changes: &["-A", "-C", "-G", "-K", "-L", "-s"],
        otherwise: Some(Show),
    },
    Row {
        programs: &[
            "ip6tables",
            "ip6tables-legacy",
            "ip6tables-nft",
            "iptables",
            "iptables-legacy",
            "iptables-nft",
        ],
        shows: &["-L", "-S", "-nvL"],
        watches: &[],
        changes: &["-A", "-D", "-F", "-I", "-P", "-R"],
        otherwise: None,
    },
    Row {
        programs: &["ipset"],
        shows: &["list", "save", "test"],
        watches: &[],
        changes: &["add", "create", "del", "destroy", "flush", "swap"],
        otherwise: None,
    },
    Row {
        programs: &["netdiag"],
        shows: &["explain"],
        watches: &["path"],
        changes: &[],
        otherwise: None,
    },
    Row {
        programs: &["nft"],
        shows: &["list"],
        watches: &["monitor"],
        changes: &["add", "chain", "delete", "flush", "insert", "replace"],
        otherwise: None,
    },
    Row {
        programs: &["systemctl"],
        shows: &["cat", "show", "status"],
        watches: &[],
        changes: &["reload", "restart", "start", "stop"],
        otherwise: None,
    },
    Row {
        programs: &["sysctl"],
        shows: &[],
        watches: &[],
        changes: &["-p", "-w"],
        otherwise: Some(Show),
    },
];

/// The kind of a line: of the most that any of its programs does. Nothing where one is not known.
pub fn of(words: &[Word]) -> Option<CommandKind> {
    let kinds: Option<Vec<_>> = programs(words)
        .iter()
        .map(|words| of_program(words))
        .collect();
    let written = words.contains(&Word::Operator(">"));
    let most = kinds?.into_iter().max()?;
    Some(if written { Change } else { most })
}

/// The programs that it starts, each with its words; not those that only start another one.
pub fn programs(words: &[Word]) -> Vec<Vec<&str>> {
    let (mut all, mut open) = (Vec::new(), vec![Vec::new()]);
    for word in words {
        let ended = match word {
            Word::Fixed(text) => push(&mut open, text),
            Word::Text(text) => push(&mut open, text),
            Word::Operator("$(") => {
                open.push(Vec::new());
                None
            }
            Word::Operator(")") => {
                let ended = open.pop();
                // What it prints stands there as a word.
                push(&mut open, ")");
                ended
            }
            Word::Operator(_) => open.last_mut().map(std::mem::take),
        };
        all.extend(ended);
    }
    all.extend(open);
    // What it writes to is no program.
    let written = words.iter().filter(|word| **word == Word::Operator(">"));
    all.truncate(all.len() - written.count());
    all.into_iter().map(started).collect()
}

fn push<'a>(open: &mut [Vec<&'a str>], word: &'a str) -> Option<Vec<&'a str>> {
    open.last_mut()?.push(word);
    None
}

/// Without what only starts another program.
pub fn started(words: Vec<&str>) -> Vec<&str> {
    let mut rest = words.as_slice();
    loop {
        rest = match rest {
            ["timeout", _, rest @ ..] => rest,
            ["ip", "netns", "exec", _, rest @ ..] => rest,
            ["nsenter", rest @ ..] => entered(rest),
            _ => return rest.to_vec(),
        };
    }
}

/// The same of one program.
pub fn of_program(words: &[&str]) -> Option<CommandKind> {
    let (program, rest) = words.split_first()?;
    let row = TABLE.iter().find(|row| row.programs.contains(program))?;
    rest.iter().find_map(|word| row.by(word)).or(row.otherwise)
}

/// What nsenter(1) starts.
fn entered<'a, 'b>(mut words: &'b [&'a str]) -> &'b [&'a str] {
    while let [option, rest @ ..] = words
        && option.starts_with('-')
    {
        let value = usize::from(*option == "-t");
        words = rest.get(value..).unwrap_or_default();
    }
    words
}

impl Row {
    fn by(&self, word: &str) -> Option<CommandKind> {
        let all = [
            (self.shows, Show),
            (self.watches, Watch),
            (self.changes, Change),
        ];
        let found = all.into_iter().find(|(words, _)| words.contains(&word));
        found.map(|(_, kind)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{shell, shell::CommandLine};

    fn kind(line: &CommandLine) -> Option<CommandKind> {
        // The same of what a verdict's reader made of its text.
        let read = CommandLine::told_before(&line.text());
        assert_eq!(line.known_kind(), read.known_kind(), "{line}");
        line.known_kind()
    }

    #[test]
    fn the_first_verb_decides() {
        let name = "show";
        for (line, expected) in [
            (shell!("ip route get {}", "10.0.0.1"), Show),
            (shell!("ip -br address"), Show),
            (shell!("ip link set dev {} up", name), Change),
            (shell!("timeout 10 ip monitor neigh dev {}", name), Watch),
            (shell!("nft -a list ruleset"), Show),
            (
                shell!("nft delete rule inet {} list handle 3", "list"),
                Change,
            ),
            (shell!("tc -s filter show dev {} ingress", "del"), Show),
            (
                shell!("iptables-nft -t nat -D {} -m comment --comment -S", "X"),
                Change,
            ),
            (shell!("sysctl {}", "net.ipv4.ip_forward"), Show),
            (shell!("sysctl -w {}=1", "net.ipv4.ip_forward"), Change),
            (
                shell!("etcdctl --endpoints={} alarm list", "http://a:1"),
                Show,
            ),
            (
                shell!("etcdctl --endpoints={} alarm disarm", "http://a:1"),
                Change,
            ),
            (shell!("netdiag explain {}", "no-route"), Show),
        ] {
            assert_eq!(kind(&line), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_line_is_of_the_most_that_it_does() {
        let entered = shell!("nsenter -n -t $( lsns -n | awk '$1=={}{{print $2}}' )", 7);
        for (line, expected) in [
            (
                shell!("conntrack -C; conntrack -S; dmesg | grep full"),
                Show,
            ),
            (shell!("ss -ti").under(&entered), Show),
            (shell!("sysctl -w a=1").under(&entered), Change),
            (
                shell!("timeout 10 tcpdump -c 5 -i {v}", "a")
                    .under(&shell!("nsenter --net={}", "/a")),
                Watch,
            ),
            (
                shell!("tc filter del dev {}", "a").under(&shell!("ip netns exec {}", "show")),
                Change,
            ),
            (shell!("nsenter -n -t {v} ss -l", 5), Show),
            (shell!("kubectl get pods | grep a"), Elsewhere),
            (shell!("ssh {} ip link set dev {} up", "a", "b"), Elsewhere),
            (shell!("kubectl get pods; modprobe a"), Change),
            (shell!("echo {}=1 > /etc/sysctl.d/90.conf", "a"), Change),
        ] {
            assert_eq!(kind(&line), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_run_lightly() {
        for line in [shell!("reboot"), shell!("nft --help"), shell!("ss -l | sh")] {
            assert_eq!(kind(&line), None, "{line}");
            assert_eq!(line.kind(), Change, "{line}");
        }
    }
}

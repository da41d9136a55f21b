//! Rules as iptables-save(8) prints them.
use anyhow::Result;

use super::{Does, LONGEST, Matches, Rule, Rules};
use crate::{
    gather::rulesets::saved::{self, Lines, Says},
    model::{
        address::Prefix,
        netfilter::{Iptables, saved_words},
        source_nat::Leaving,
        text,
    },
};

/// The chain that NAT's tables have at postrouting.
const BASE: &str = "POSTROUTING";

/// True where there are NAT rules at postrouting, for packets of that family.
pub fn read(lines: &mut Lines<'_>, program: Iptables, rules: &mut Rules<'_>) -> Result<bool> {
    let ipv6 = matches!(program, Iptables::Legacy6 | Iptables::Nft6);
    let own = ipv6 == rules.packet.source.is_ipv6();
    let place = |chain: &str| format!("{} nat {chain}", program.name());
    let mut any = false;
    saved::each(lines, |line| {
        let Says::Rule(rule) = line.says else {
            return Ok(());
        };
        if line.table != "nat" || !own {
            return Ok(());
        }
        any |= line.chain == BASE;
        let Some((matches, does)) = one(&saved_words(rule), rules.packet, place) else {
            return Ok(());
        };
        rules.bases.insert(place(BASE));
        let text = format!("{}: {} {rule}", program.name(), line.chain);
        rules.keep(Rule {
            chain: place(line.chain),
            matches,
            does,
            text: text::line(&text, LONGEST),
        })
    })?;
    Ok(any)
}

fn one(
    words: &[String],
    packet: &Leaving,
    place: impl Fn(&str) -> String,
) -> Option<(Matches, Does)> {
    let mut all = words.iter().map(String::as_str);
    let mut matches = Matches::Yes;
    let mut negated = false;
    let mut does = None;
    while let Some(word) = all.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        // What stands behind the target is the target's own.
        if matches!(word, "-j" | "-g") {
            does = Some(target(all.next()?, word == "-j", &place));
            break;
        }
        if word.starts_with('-') {
            let one = selector(word, &mut all, packet);
            matches = matches.and(if negated { one.not() } else { one });
            negated = false;
        }
    }
    Some((matches, does?))
}

fn selector<'a>(
    option: &str,
    words: &mut impl Iterator<Item = &'a str>,
    packet: &Leaving,
) -> Matches {
    let mut value = || words.next().unwrap_or_default();
    let inside = |prefix: &str, address| match prefix.parse::<Prefix>() {
        Ok(prefix) => Matches::of(prefix.contains(address)),
        Err(_) => Matches::Maybe,
    };
    match option {
        "-m" | "--comment" => {
            value();
            Matches::Yes
        }
        "-s" => inside(value(), packet.source),
        "-d" => inside(value(), packet.destination),
        "-o" => Matches::of(names(value(), &packet.link)),
        // It has none: `0x4000/0x4000` is another's.
        "--mark" => {
            let value = value().split('/').next().unwrap_or_default();
            Matches::of(matches!(value, "0x0" | "0"))
        }
        // It is passed on from a pod to somebody outside.
        "--dst-type" | "--src-type" if value() == "LOCAL" => Matches::No,
        _ => Matches::Maybe,
    }
}

/// `eth+` stands for all that begin so.
fn names(selector: &str, link: &str) -> bool {
    match selector.strip_suffix('+') {
        Some(start) => link.starts_with(start),
        None => link == selector,
    }
}

fn target(name: &str, back: bool, place: impl Fn(&str) -> String) -> Does {
    match name {
        "MASQUERADE" | "SNAT" | "NETMAP" => Does::Translates,
        "ACCEPT" | "DROP" => Does::Ends,
        "RETURN" => Does::Returns,
        // One that is no chain (MARK, LOG) leads nowhere, and back.
        chain => Does::Goes {
            to: vec![place(chain)],
            back,
        },
    }
}

//! What rules counted, held against how many packets the walks took through them.
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use netdiag_host::stack::ruleset;
use netdiag_model::world::Known;

use crate::{
    batch,
    command::{Command, Line},
    expect::Expected,
    filters::TUNNELS_PORT,
    set::Set,
    told,
};

/// All that a world has.
pub const MOST: ruleset::Most = ruleset::Most {
    rules: 10_000,
    elements: 100_000,
    comments: false,
};

/// Rules, and packets that they took.
pub type Counters = BTreeMap<Counted, u64>;
/// A rule by its namespace, its table and its handle.
pub type Counted = (usize, String, u64);

/// What each rule has counted.
pub fn counters(set: &Set) -> Result<Counters> {
    let mut counters = Counters::new();
    for at in set.filtered() {
        set.enter(at)?;
        let ruleset = match ruleset::read(MOST) {
            Known::Is(ruleset) => ruleset,
            other => bail!("the rules of s{at} could not be read whole: {other:?}"),
        };
        for table in &ruleset.tables {
            for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
                let which = (at, told::table(table), rule.handle);
                counters.extend(rule.packets().map(|packets| (which, packets)));
            }
        }
    }
    Ok(counters)
}

/// All at once, or, where nft refuses one, each alone.
pub fn rule(lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let all = batch::fed("nft", &["-f", "-"], &lines.join("\n"))?;
    if !all.status.success() {
        for line in lines {
            batch::fed("nft", &["-f", "-"], line)?;
        }
    }
    Ok(())
}

/// Links whose packets are made of what nobody counts, too: questions for neighbours go by them.
const TUNNELS: [&str; 6] = ["vxlan", "wireguard", "ipip", "gre", "gretap", "ip6tnl"];

/// Namespaces whose rules count what is none of ours: those that a world's own are not restricted to ours.
pub fn uncounted(commands: &[Command], ipv6: bool) -> BTreeSet<usize> {
    let tunnel = |command: &Command| match &command.line {
        Line::Ip(words) | Line::Ip6(words) => {
            let kind = words.split_once(" type ").map(|(_, kind)| kind);
            let kind = kind.and_then(|kind| kind.split(' ').next());
            words.starts_with("link add") && kind.is_some_and(|kind| TUNNELS.contains(&kind))
        }
        _ => false,
    };
    let counts_all = |command: &&Command| match &command.line {
        Line::Nft(words) => words.contains(" counter ") && !words.contains(TUNNELS_PORT),
        Line::Iptables { words, .. } => words.starts_with("-A ") && !words.contains(TUNNELS_PORT),
        _ => false,
    };
    if !ipv6 && !commands.iter().any(tunnel) {
        return BTreeSet::new();
    }
    let all = commands.iter().filter(counts_all);
    all.map(|command| command.space).collect()
}

/// Least and most of what each rule should have counted.
#[derive(Default)]
pub struct Due(BTreeMap<Counted, (u64, u64)>);

impl Due {
    /// One more packet, by one of these ways; a superpacket may be cut on any of them into so many.
    pub fn add<'a>(&mut self, ways: impl Iterator<Item = &'a Expected>, pieces: u64) {
        let each: Vec<_> = ways
            .map(|way| (tally(&way.counted), tally(&way.perhaps)))
            .collect();
        let both = each.iter().flat_map(|(sure, perhaps)| [sure, perhaps]);
        let rules: BTreeSet<&Counted> = both.flat_map(BTreeMap::keys).copied().collect();
        for rule in rules {
            let of = |all: &BTreeMap<&Counted, u64>| all.get(rule).copied().unwrap_or(0);
            let counts = each.iter().map(|(sure, perhaps)| (of(sure), of(perhaps)));
            let (least, most) = counts.fold((u64::MAX, 0), |(least, most), (sure, perhaps)| {
                (least.min(sure), most.max(sure + perhaps))
            });
            let due = self.0.entry(rule.clone()).or_default();
            *due = (due.0 + least, due.1 + most * pieces);
        }
    }

    /// The first rule that counted otherwise, if any; where others' packets are counted, too, any may be more.
    pub fn missed(
        &self,
        (before, after): (&Counters, &Counters),
        others: &BTreeSet<usize>,
    ) -> Option<String> {
        let moved = |rule: &Counted| {
            let of = |all: &Counters| all.get(rule).copied().unwrap_or(0);
            of(after).saturating_sub(of(before))
        };
        after.keys().find_map(|rule| {
            let (least, most) = self.0.get(rule).copied().unwrap_or_default();
            let counted = moved(rule);
            let (space, table, handle) = rule;
            let most = if others.contains(space) {
                u64::MAX
            } else {
                most
            };
            (!(least..=most).contains(&counted)).then(|| {
                let due = if least == most {
                    least.to_string()
                } else {
                    format!("{least} to {most}")
                };
                format!("  s{space} {table} handle {handle} counted {counted} in place of {due}\n")
            })
        })
    }
}

fn tally(counted: &[Counted]) -> BTreeMap<&Counted, u64> {
    let mut tally = BTreeMap::new();
    for rule in counted {
        *tally.entry(rule).or_default() += 1;
    }
    tally
}

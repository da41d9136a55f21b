//! What is done with bytes that a stranger chose, from the first that is read of a rule to what the rule says of a packet:
//! the bodies of property tests and of fuzzers. None of it may panic, and each ends.
use netdiag_ruleset::{
    Byte, Index, Loaded, Packet, Stored, asks,
    leads::{Beside, leads},
    run,
};

use super::{
    attributes, expression, ipset,
    legacy::entries::{self, Info},
    set,
};
use crate::model::{
    netfilter::Family,
    world::ruleset::{
        Base, BaseChain, Chain, ChainKind, Expression, Hook, Ipset, Load, Rule, Ruleset, Set,
        Store, Table,
    },
};

/// Rules that one input may have: each is run.
const RULES: usize = 16;
const STEPS: usize = 4_096;
const ELEMENTS: usize = 64;

/// A packet that answers with bytes of the input: known, unknown or none.
struct Strange<'b> {
    bytes: &'b [u8],
    sets: &'b [Ipset],
    chosen: usize,
}

impl Packet for Strange<'_> {
    fn load(&self, what: &Load) -> Loaded {
        let length = match what {
            Load::Payload {
                base: Base::Inner, ..
            } => return Loaded::None,
            Load::Payload { length, .. } => usize::from(*length),
            _ => 4,
        };
        let seed = format!("{what:?}").len();
        let byte = |at: usize| {
            let at = (seed + at) % self.bytes.len().max(1);
            self.bytes.get(at).copied().unwrap_or_default()
        };
        match byte(0) % 4 {
            0 => Loaded::Unknown,
            1 => Loaded::None,
            _ => Loaded::known(&(0..length).map(byte).collect::<Vec<_>>()),
        }
    }

    fn store(&mut self, _: &Store, bytes: &[Byte]) -> Stored {
        if bytes.is_empty() {
            Stored::Unknown
        } else {
            Stored::Done
        }
    }

    fn untrack(&mut self) -> Stored {
        Stored::Done
    }

    fn choice(&mut self, ways: usize) -> Option<usize> {
        self.chosen += 1;
        let byte = self.bytes.get(self.chosen)?;
        usize::from(*byte).checked_rem(ways)
    }

    fn ipsets(&self) -> &[Ipset] {
        self.sets
    }
}

/// Attributes of a table's rules, and of one of its sets.
pub fn nf_tables(bytes: &[u8]) {
    let (of_set, of_rules) = bytes.split_at(bytes.len() / 2);
    let mut sets: Vec<Set> = set::set(of_set).into_iter().collect();
    for set in &mut sets {
        let mut left = ELEMENTS;
        let _ = set::elements(set, of_rules, &mut left, true);
        assert!(set.elements.len() <= ELEMENTS, "more elements than wanted");
    }
    let _ = set::verdicts(of_rules, &mut { ELEMENTS });
    let _ = expression::comment(of_rules);
    let _ = attributes::comment(of_rules);
    let one_by_one = of_rules.chunks((of_rules.len() / RULES).max(16));
    let each = one_by_one.map(expression::all);
    let rules = std::iter::once(expression::all(of_rules)).chain(each);
    let rules: Vec<Rule> = rules.take(RULES).enumerate().map(numbered).collect();
    for family in [Family::Ip, Family::Inet, Family::Bridge] {
        let table = Table {
            family,
            name: "t".into(),
            legacy: false,
            dormant: false,
            chains: vec![chain(rules.clone())],
            sets: sets.clone(),
        };
        runs(&table, bytes, &[]);
    }
}

/// A message of ipset's, and a rule that asks the set.
pub fn ipsets(bytes: &[u8]) {
    let (mut sets, mut left) = (Vec::new(), ELEMENTS);
    let _ = ipset::told(&mut sets, bytes, &mut left);
    let entries: usize = sets.iter().map(|set| set.entries.len()).sum();
    assert!(entries <= ELEMENTS, "more entries than wanted");
    for revision in 0..5 {
        let asks = Expression::Xtables {
            target: false,
            name: "set".into(),
            revision,
            info: bytes.iter().copied().take(64).collect::<Vec<_>>().into(),
        };
        let rules = vec![numbered((0, vec![asks]))];
        let table = Table {
            family: Family::Ip,
            name: "t".into(),
            legacy: true,
            dormant: false,
            chains: vec![chain(rules)],
            sets: Vec::new(),
        };
        runs(&table, bytes, &sets);
    }
}

/// Matches and targets of iptables by their names and revisions.
const XTABLES: [(&str, &[u32]); 27] = [
    ("addrtype", &[1]),
    ("comment", &[0]),
    ("connmark", &[1]),
    ("conntrack", &[3]),
    ("dscp", &[0]),
    ("hl", &[0]),
    ("icmp", &[0]),
    ("icmp6", &[0]),
    ("iprange", &[1]),
    ("length", &[0]),
    ("mark", &[1]),
    ("multiport", &[1]),
    ("owner", &[1]),
    ("rpfilter", &[0]),
    ("set", &[1, 2, 3, 4]),
    ("statistic", &[0]),
    ("tcp", &[0]),
    ("tos", &[1]),
    ("udp", &[0]),
    ("CONNMARK", &[1, 2]),
    ("CT", &[1, 2]),
    ("DNAT", &[0, 1, 2]),
    ("MARK", &[2]),
    ("MASQUERADE", &[0]),
    ("REDIRECT", &[0]),
    ("REJECT", &[0]),
    ("SNAT", &[0, 1, 2]),
];

/// What stands behind a match's or a target's name, whichever the first byte says.
pub fn xtables(bytes: &[u8]) {
    let Some((which, info)) = bytes.split_first() else {
        return;
    };
    let (name, revisions) = XTABLES[usize::from(*which) % XTABLES.len()];
    let each = revisions.iter().map(|revision| {
        vec![Expression::Xtables {
            target: name.starts_with(char::is_uppercase),
            name: name.into(),
            revision: *revision,
            info: info.to_vec().into(),
        }]
    });
    let rules: Vec<Rule> = each.enumerate().map(numbered).collect();
    for family in [Family::Ip, Family::Ip6, Family::Inet] {
        let table = Table {
            family,
            name: "t".into(),
            legacy: true,
            dormant: false,
            chains: vec![chain(rules.clone())],
            sets: Vec::new(),
        };
        runs(&table, bytes, &[]);
    }
}

/// What iptables' own table says it has, and has.
pub fn legacy(bytes: &[u8]) {
    let Some((about, entries)) = bytes.split_at_checked(Info::SIZE) else {
        return;
    };
    let Some(info) = Info::of(about) else {
        return;
    };
    for (ipv6, name) in [(false, "nat"), (true, "filter")] {
        if let Some(table) = entries::table(ipv6, name, &info, entries) {
            runs(&table, bytes, &[]);
        }
    }
}

/// Whatever asks a ruleset asks this one; what is kept of it is read again as it is.
fn runs(table: &Table, bytes: &[u8], sets: &[Ipset]) {
    let index = Index::new(table);
    for base in table.chains.iter().filter(|chain| chain.base.is_some()) {
        let mut packet = Strange {
            bytes,
            sets,
            chosen: 0,
        };
        run(&index, &base.name, &mut packet, None);
        let mut left = STEPS;
        let beside = Beside {
            ipsets: sets,
            own_addresses: false,
        };
        leads(table, beside, base, &mut left, &mut |_| ());
    }
    for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
        let _ = asks(table.family, &rule.expressions);
    }
    let ruleset = Ruleset {
        tables: vec![table.clone()],
        ..Ruleset::default()
    };
    let kept = serde_json::to_vec(&ruleset).expect("it is kept");
    let again: Ruleset = serde_json::from_slice(&kept).expect("it is read");
    assert_eq!(again.tables.len(), 1);
}

fn numbered((at, expressions): (usize, Vec<Expression>)) -> Rule {
    Rule {
        handle: at as u64,
        expressions,
        comment: None,
    }
}

fn chain(rules: Vec<Rule>) -> Chain {
    Chain {
        name: "c".into(),
        handle: 1,
        base: Some(BaseChain {
            hook: Hook::Forward,
            priority: 0,
            kind: ChainKind::Filter,
            accepts: true,
            devices: Vec::new(),
        }),
        rules,
    }
}

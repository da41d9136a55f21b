//! nft(8): tables, chains and rules, as far as netdiag itself and people in a hurry write them.
mod rule;

use netdiag_model::{
    netfilter::Family,
    world::{
        Stack,
        ruleset::{BaseChain, Chain, ChainKind, Hook, Rule, Ruleset, Table},
    },
};

use crate::{Done, Refused, Words, device::whole, words::unknown};

pub fn carry_out(stack: &mut Stack, mut words: Words<'_>) -> Done {
    let text = words.rest().join(" ");
    let apart = text
        .replace('{', " { ")
        .replace('}', " } ")
        .replace(';', " ; ");
    let tokens: Vec<&str> = apart.split_whitespace().collect();
    let mut words = Words::of(&tokens);
    let ruleset = std::sync::Arc::make_mut(whole(&mut stack.ruleset)?);
    let first = words.next()?;
    // `nft chain …` is `nft add chain …` (nft(8)).
    let (verb, object) = match first {
        "table" | "chain" | "rule" => ("add", first),
        verb => (verb, words.next()?),
    };
    match (verb, object) {
        ("flush", "ruleset") => {
            ruleset.tables.retain(|table| table.legacy);
            words.end()
        }
        ("add", "table") => add_table(ruleset, words),
        ("delete", "table") => {
            let (family, name) = (family(&mut words)?, words.next()?);
            let at = { ruleset.tables.iter() }.position(|table| is(table, family, name));
            ruleset.tables.remove(at.ok_or(Refused::Nothing)?);
            words.end()
        }
        ("add", "chain") => add_chain(ruleset, words),
        ("flush", "chain") => {
            chain(ruleset, &mut words)?.1.rules.clear();
            words.end()
        }
        ("delete", "rule") => {
            let chain = chain(ruleset, &mut words)?.1;
            if !words.take("handle") {
                return Err(Refused::Ends);
            }
            let handle: u64 = words.value()?;
            let at = chain.rules.iter().position(|rule| rule.handle == handle);
            chain.rules.remove(at.ok_or(Refused::Nothing)?);
            words.end()
        }
        ("add" | "insert", "rule") => add_rule(ruleset, verb == "insert", words),
        (_, other) => Err(unknown(other)),
    }
}

/// `ip` where none is said.
fn family(words: &mut Words<'_>) -> Result<Family, Refused> {
    let named = words.peek().and_then(Family::named);
    if named.is_some() {
        words.next()?;
    }
    Ok(named.unwrap_or(Family::Ip))
}

fn is(table: &Table, family: Family, name: &str) -> bool {
    table.family == family && table.name == name && !table.legacy
}

fn table<'r>(ruleset: &'r mut Ruleset, words: &mut Words<'_>) -> Result<&'r mut Table, Refused> {
    let (family, name) = (family(words)?, words.next()?);
    let mut all = ruleset.tables.iter_mut();
    all.find(|table| is(table, family, name))
        .ok_or(Refused::Nothing)
}

fn chain<'r>(
    ruleset: &'r mut Ruleset,
    words: &mut Words<'_>,
) -> Result<(Family, &'r mut Chain), Refused> {
    let table = table(ruleset, words)?;
    let name = words.next()?;
    let family = table.family;
    let mut all = table.chains.iter_mut();
    let chain = all.find(|chain| chain.name == name);
    Ok((family, chain.ok_or(Refused::Nothing)?))
}

fn add_table(ruleset: &mut Ruleset, mut words: Words<'_>) -> Done {
    let (family, name) = (family(&mut words)?, words.next()?);
    words.end()?;
    if !ruleset.tables.iter().any(|table| is(table, family, name)) {
        let nft = ruleset.tables.iter().filter(|table| !table.legacy).count();
        let table = Table {
            family,
            name: name.to_owned(),
            legacy: false,
            dormant: false,
            chains: Vec::new(),
            sets: Vec::new(),
        };
        ruleset.tables.insert(nft, table);
    }
    Ok(())
}

fn add_chain(ruleset: &mut Ruleset, mut words: Words<'_>) -> Done {
    let table = table(ruleset, &mut words)?;
    let name = words.next()?;
    let there = table.chains.iter().position(|chain| chain.name == name);
    let at = there.unwrap_or_else(|| {
        let handles = table.chains.iter().map(|chain| chain.handle);
        table.chains.push(Chain {
            name: name.to_owned(),
            handle: handles.max().unwrap_or(0) + 1,
            base: None,
            rules: Vec::new(),
        });
        table.chains.len() - 1
    });
    if !words.take("{") {
        return words.end();
    }
    let base = &mut table.chains[at].base;
    while !words.take("}") {
        match words.next()? {
            ";" => {}
            "type" => *base = Some(base_chain(&mut words)?),
            "policy" => {
                let accepts = match words.next()? {
                    "accept" => true,
                    "drop" => false,
                    other => return Err(unknown(other)),
                };
                base.as_mut().ok_or(Refused::Nothing)?.accepts = accepts;
            }
            other => return Err(unknown(other)),
        }
    }
    words.end()
}

fn base_chain(words: &mut Words<'_>) -> Result<BaseChain, Refused> {
    let kind = match words.next()? {
        "filter" => ChainKind::Filter,
        "nat" => ChainKind::Nat,
        "route" => ChainKind::Route,
        other => return Err(unknown(other)),
    };
    if !words.take("hook") {
        return Err(Refused::Ends);
    }
    let hook = match words.next()? {
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        other => return Err(unknown(other)),
    };
    if !words.take("priority") {
        return Err(Refused::Ends);
    }
    Ok(BaseChain {
        hook,
        priority: priority(words.next()?)?,
        kind,
        accepts: true,
        devices: Vec::new(),
    })
}

/// (nft(8), CHAINS)
fn priority(word: &str) -> Result<i32, Refused> {
    Ok(match word {
        "raw" => -300,
        "mangle" => -150,
        "dstnat" => -100,
        "filter" => 0,
        "security" => 50,
        "srcnat" => 100,
        other => other.parse().map_err(|_| unknown(other))?,
    })
}

fn add_rule(ruleset: &mut Ruleset, first: bool, mut words: Words<'_>) -> Done {
    let (family, chain) = chain(ruleset, &mut words)?;
    let beside = match words.take("handle") || words.take("position") {
        true => {
            let handle: u64 = words.value()?;
            let at = chain.rules.iter().position(|rule| rule.handle == handle);
            Some(at.ok_or(Refused::Nothing)?)
        }
        false => None,
    };
    let rule = Rule {
        handle: 0,
        expressions: rule::read(family, words)?,
        comment: None,
    };
    let at = match (first, beside) {
        (true, beside) => beside.unwrap_or(0),
        (false, Some(at)) => at + 1,
        (false, None) => chain.rules.len(),
    };
    chain.rules.insert(at, rule);
    Ok(())
}

//! How rules read: as nft lists their chain, or in the kernel's own words where that takes too long.
use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::LONGEST;
use crate::{
    gather::rulesets::{
        self,
        kernel::{Named, Refusing},
    },
    model::text,
    sys::program::Failure,
};

/// Chains that nft is asked for.
const CHAINS: usize = 32;
/// How long nft may take for all chains: earlier ones read all rules for each.
const TEXTS: Duration = Duration::from_secs(3);
/// Rules of longer chains whose words are told.
const WORDS: usize = 100;

/// How rules read, by chain and handle.
#[derive(Default)]
pub struct Texts {
    nfts: HashMap<Rc<Named>, HashMap<u64, String>>,
    /// Chains that nft is not asked for, or had no time for.
    long: HashSet<Rc<Named>>,
}

impl Texts {
    /// The first chains' are the likeliest: rules come busiest first.
    pub fn of(rules: &[Refusing], long: HashSet<Rc<Named>>) -> Result<Self> {
        let mut wanted: Vec<(&Rc<Named>, HashSet<u64>)> = Vec::new();
        for rule in rules.iter().filter(|rule| !long.contains(&rule.chain)) {
            let Some(handle) = rule.handle else { continue };
            match wanted.iter().position(|(chain, _)| *chain == &rule.chain) {
                Some(at) => drop(wanted[at].1.insert(handle)),
                None if wanted.len() < CHAINS => {
                    wanted.push((&rule.chain, HashSet::from([handle])));
                }
                None => {}
            }
        }
        let mut texts = Self {
            nfts: HashMap::new(),
            long,
        };
        let until = Instant::now() + TEXTS;
        for (chain, handles) in wanted {
            // No command has a name that is more than one word.
            let told = chain.told();
            let Some(names) = told.plain() else { continue };
            let left = until.saturating_duration_since(Instant::now());
            match listed(names, &handles, left)? {
                Some(all) => drop(texts.nfts.insert(chain.clone(), all)),
                None => drop(texts.long.insert(chain.clone())),
            }
        }
        texts.add_words(rules)?;
        Ok(texts)
    }

    /// What the kernel's own listing says of the others.
    fn add_words(&mut self, rules: &[Refusing]) -> Result<()> {
        let long = rules.iter().filter(|rule| self.long.contains(&rule.chain));
        let long = long.filter_map(|rule| Some((&rule.chain, rule.handle?)));
        let long: Vec<_> = long.take(WORDS).collect();
        let asked: Vec<_> = long
            .iter()
            .map(|(chain, handle)| (&***chain, *handle))
            .collect();
        let nfts = &mut self.nfts;
        rulesets::kernel::words(&asked, |at, words| {
            if let Some((chain, handle)) = long.get(at) {
                let of_chain = nfts.entry((*chain).clone()).or_default();
                of_chain.insert(*handle, text::line(&words, LONGEST));
            }
        })
    }

    pub fn get(&self, rule: &Refusing) -> Option<&String> {
        self.nfts.get(&rule.chain)?.get(&rule.handle?)
    }
}

/// Lines like `tcp dport 80 counter packets 3 bytes 180 drop # handle 4`; none where nft has no time.
fn listed(
    names: [&str; 3],
    handles: &HashSet<u64>,
    within: Duration,
) -> Result<Option<HashMap<u64, String>>> {
    let mut texts = HashMap::new();
    let listed = rulesets::chain(names, within, |line| {
        let rule = line.rsplit_once(" # handle ");
        let rule = rule.and_then(|(rule, handle)| Some((rule, handle.parse().ok()?)));
        if let Some((rule, handle)) = rule.filter(|(_, handle)| handles.contains(handle)) {
            texts.insert(handle, text::line(rule.trim(), LONGEST));
        }
    });
    match listed {
        // Without nft nobody knows which packets a rule is about: that is told once, as it is.
        Err(e @ (Failure::NotInstalled(_) | Failure::Untrusted(..))) => Err(e.into()),
        Err(Failure::TooSlow(..) | Failure::TooMuch(..) | Failure::NotStarted(..)) => Ok(None),
        // A chain that is gone by now, or one whose name is a word of nft's: it is told by its handle.
        Ok(()) | Err(_) => Ok(Some(texts)),
    }
}

pub fn refuses(line: &str) -> bool {
    line.split([' ', ';', ','])
        .any(|word| matches!(word, "drop" | "reject" | "DROP" | "REJECT"))
}

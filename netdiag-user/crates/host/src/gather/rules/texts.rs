//! How rules read, as nft lists their chain or in the kernel's own words where that takes too long, and what they ask.
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
        kernel::{Does, Known, Named, Refusing},
    },
    model::text,
    sys::program::Failure,
};

/// Chains that nft is asked for.
const CHAINS: usize = 32;
/// How long nft may take for all chains: earlier ones read all rules for each.
const TEXTS: Duration = Duration::from_secs(3);

/// How rules read, by chain and handle.
#[derive(Default)]
pub struct Texts {
    nfts: HashMap<Rc<Named>, HashMap<u64, String>>,
    /// Chains that nft is not asked for, or had no time for.
    long: HashSet<Rc<Named>>,
    known: HashMap<(Rc<Named>, u64), Known>,
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
            known: HashMap::new(),
        };
        let until = Instant::now() + TEXTS;
        for (chain, handles) in wanted {
            // No command has a name that is more than one word.
            let told = chain.told();
            let Some(names) = told.plain() else { continue };
            let left = until.saturating_duration_since(Instant::now());
            match listed(names, &handles, left) {
                Some(all) => drop(texts.nfts.insert(chain.clone(), all)),
                None => drop(texts.long.insert(chain.clone())),
            }
        }
        texts.add_known(rules)?;
        Ok(texts)
    }

    /// What the kernel's own listing says.
    fn add_known(&mut self, rules: &[Refusing]) -> Result<()> {
        let all = rules.iter();
        let all = all.filter_map(|rule| {
            let depends = rule.does == Does::Depends;
            Some((rule.chain.clone(), rule.handle?, depends))
        });
        let all: Vec<_> = all.collect();
        let asked = all
            .iter()
            .map(|(chain, handle, depends)| (&**chain, *handle, *depends));
        let asked: Vec<_> = asked.collect();
        let known = &mut self.known;
        rulesets::kernel::known(&asked, |at, one| {
            if let Some(rule) = all.get(at) {
                known.insert((rule.0.clone(), rule.1), one);
            }
        })
    }

    pub fn known(&self, rule: &Refusing) -> Option<&Known> {
        self.known.get(&(rule.chain.clone(), rule.handle?))
    }

    pub fn get(&self, rule: &Refusing) -> Option<String> {
        let nfts = self
            .nfts
            .get(&rule.chain)
            .and_then(|all| all.get(&rule.handle?));
        let long = self.long.contains(&rule.chain);
        let own = || {
            self.known(rule)
                .filter(|_| long)
                .map(|known| text::line(&known.words, LONGEST))
        };
        nfts.cloned().or_else(own)
    }
}

/// Lines like `tcp dport 80 counter packets 3 bytes 180 drop # handle 4`; none where nft has no time.
fn listed(
    names: [&str; 3],
    handles: &HashSet<u64>,
    within: Duration,
) -> Option<HashMap<u64, String>> {
    let mut texts = HashMap::new();
    let listed = rulesets::chain(names, within, |line| {
        let rule = line.rsplit_once(" # handle ");
        let rule = rule.and_then(|(rule, handle)| Some((rule, handle.parse().ok()?)));
        if let Some((rule, handle)) = rule.filter(|(_, handle)| handles.contains(handle)) {
            texts.insert(handle, text::line(rule.trim(), LONGEST));
        }
    });
    match listed {
        // Nobody here spells it better than the kernel's own words.
        Err(
            Failure::NotInstalled(_)
            | Failure::Untrusted(..)
            | Failure::TooSlow(..)
            | Failure::TooMuch(..)
            | Failure::NotStarted(..),
        ) => None,
        // A chain that is gone by now, or one whose name is a word of nft's: it is told by its handle.
        Ok(()) | Err(_) => Some(texts),
    }
}

//! A recording that says the same without names and addresses, for those who may not give theirs
//! away.
//!
//! It is read as any other and written anew, so nothing gets into it that was not looked at: of the
//! tables the columns that are known to name nobody, of texts the words that netdiag and the kernel
//! use themselves. Sizes, times, counts, ports, and numbers of links, namespaces and processes stay.
mod address;
mod notation;
mod packet;
mod places;
mod rows;
mod scene;
mod shape;
#[cfg(test)]
mod tests;
mod text;
mod tokens;
mod words;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use netdiag_common::loss::DropKey;
use serde::{Serialize, de::DeserializeOwned};

use self::{
    address::Addresses,
    rows::Rows,
    scene::{Found, Scrub},
    words::Words,
};
use super::{Recorder, Replay};
use crate::{
    model::{
        address::from_wire,
        cluster::Cluster,
        gather::Gathered,
        node::Node,
        observation::Observation,
        pod::{Pod, PodIndex},
        reason::Reasons,
    },
    pipeline::{
        facts::KnownNames,
        scene::{Run, Scene},
    },
};

/// Maps what a recording names, each always to the same.
pub struct Anonymiser {
    addresses: Addresses,
    words: Words,
    codes: BTreeMap<u64, u64>,
    symbols: BTreeMap<u64, String>,
    node: Kept<Node>,
    start: Kept<Node>,
    cluster: Kept<Cluster>,
    gathered: Kept<Gathered>,
    pods: Kept<Vec<Pod>>,
    run: Kept<Run>,
    reasons: Kept<Reasons>,
}

/// What a part became, as long as it stays what it was.
#[derive(Default)]
struct Kept<T>(Option<(T, T)>);

impl<T: Clone + PartialEq + Serialize + DeserializeOwned> Kept<T> {
    fn map(&mut self, name: &str, old: &T, scrub: &mut Scrub<'_>) -> Result<T> {
        if let Some((known, new)) = &self.0
            && known == old
        {
            return Ok(new.clone());
        }
        let value = shape::value(old, scrub)?;
        let new: T = serde_json::from_value(value)
            .with_context(|| format!("cannot anonymise what the recording says of {name}"))?;
        self.0 = Some((old.clone(), new.clone()));
        Ok(new)
    }
}

impl Anonymiser {
    /// Looks for all that is to be mapped in it.
    pub fn of<R: Read>(recording: &mut Replay<R>) -> Result<Self> {
        let mut seen = Seen::default();
        while let Some(reading) = recording.tick() {
            seen.scene(&recording.scene)?;
            seen.reading(&reading);
        }
        if let Some(why) = recording.refused() {
            return Err(anyhow!("it is no recording of netdiag's: {why}"));
        }
        let addresses = Addresses::apart(&seen.found.addresses);
        let names = seen.found.names.iter().map(String::as_str);
        Ok(Self {
            words: Words::new(names, addresses.clone()).avoiding(seen.found.labels),
            addresses,
            codes: BTreeMap::new(),
            symbols: BTreeMap::new(),
            node: Kept::default(),
            start: Kept::default(),
            cluster: Kept::default(),
            gathered: Kept::default(),
            pods: Kept::default(),
            run: Kept::default(),
            reasons: Kept::default(),
        })
    }

    /// Writes the same recording again, now from its beginning. Tells how many readings it has.
    pub fn write<R: Read, W: Write>(
        &mut self,
        recording: &mut Replay<R>,
        mut to: Recorder<W>,
    ) -> Result<usize> {
        let mut readings = 0;
        while let Some(mut reading) = recording.tick() {
            let scene = self.reading(&recording.scene, &mut reading)?;
            to.put(&scene, &mut reading)?;
            readings += 1;
        }
        // What was cut stays cut.
        match recording.trouble() {
            None => to.close()?,
            Some(_) => to.leave()?,
        }
        Ok(readings)
    }

    fn reading(&mut self, scene: &Scene, reading: &mut Observation) -> Result<Scene> {
        let locations: Vec<u64> = reading.drops.iter().map(|(key, _)| location(key)).collect();
        let mut rows = Rows {
            addresses: &self.addresses,
            words: &mut self.words,
            codes: &mut self.codes,
        };
        let ethernet = |index| scene.node.link(index).is_some_and(|link| link.ethernet);
        rows.reading(reading, ethernet);
        for old in locations {
            let name = || symbol(&scene.names.symbol(old));
            self.symbols.entry(rows.code(old)).or_insert_with(name);
        }
        self.scene(scene)
    }

    fn scene(&mut self, scene: &Scene) -> Result<Scene> {
        let gathered = scene.gathered.without_rulesets();
        let mut scrub = Scrub {
            addresses: &self.addresses,
            words: &mut self.words,
        };
        let pods: Vec<Pod> = scene.pods.iter().cloned().collect();
        let pods = self.pods.map("pods", &pods, &mut scrub)?;
        let mut links = scene.links.clone();
        links
            .iter_mut()
            .for_each(|link| link.name = scrub.words.name(&link.name));
        Ok(Scene {
            node: self.node.map("node", &scene.node, &mut scrub)?,
            start: self.start.map("start", &scene.start, &mut scrub)?,
            pods: PodIndex::new(pods),
            cluster: Arc::new(self.cluster.map("cluster", &scene.cluster, &mut scrub)?),
            gathered: self.gathered.map("gathered", &gathered, &mut scrub)?,
            names: Box::new(KnownNames {
                symbols: self.symbols.clone(),
                reasons: self
                    .reasons
                    .map("reasons", scene.names.reasons(), &mut scrub)?,
            }),
            clock: scene.clock,
            run: self.run.map("run", &scene.run, &mut scrub)?,
            asked: scene.asked.clone(),
            links,
        })
    }
}

fn location(key: &DropKey) -> u64 {
    key.location
}

/// A function of the kernel's, not an address of it, and none of a program that somebody loaded.
fn symbol(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.+[] ".contains(c);
    let loaded = ["0x", "bpf_prog_", "bpf_trampoline_", "bpf_dispatcher_"];
    let own = loaded.iter().any(|it| name.starts_with(it));
    match name.chars().all(plain) && !own {
        true => name.to_owned(),
        false => "?".into(),
    }
}

/// What is to be mapped.
#[derive(Default)]
struct Seen {
    found: Found,
    node: Option<Node>,
    start: Option<Node>,
    cluster: Option<Cluster>,
    gathered: Option<Gathered>,
    pods: Option<Vec<Pod>>,
    run: Option<Run>,
}

impl Seen {
    fn scene(&mut self, scene: &Scene) -> Result<()> {
        let pods: Vec<Pod> = scene.pods.iter().cloned().collect();
        let found = &mut self.found;
        look(&mut self.node, &scene.node, found)?;
        look(&mut self.start, &scene.start, found)?;
        look(&mut self.cluster, &*scene.cluster, found)?;
        look(
            &mut self.gathered,
            &scene.gathered.without_rulesets(),
            found,
        )?;
        look(&mut self.pods, &pods, found)?;
        look(&mut self.run, &scene.run, found)?;
        let links = scene.links.iter().map(|link| link.name.clone());
        found.names.extend(links);
        Ok(())
    }

    fn reading(&mut self, reading: &Observation) {
        let flows = reading.flows.iter().map(|(key, _)| key.flow);
        let flows = flows.chain(reading.drops.iter().map(|(key, _)| key.flow));
        let ends = flows.flat_map(|flow| [flow.source, flow.destination]);
        self.found.addresses.extend(ends.map(from_wire));
        for (key, _) in &reading.dns {
            let labels = rows::labels(&key.name).into_iter();
            let texts = labels.map(|(_, label)| String::from_utf8_lossy(label).into_owned());
            self.found.labels.extend(texts);
        }
    }
}

/// Looks through a part that is not the one that was looked through before.
fn look<T: Clone + PartialEq + Serialize>(
    last: &mut Option<T>,
    now: &T,
    found: &mut Found,
) -> Result<()> {
    if last.as_ref() != Some(now) {
        shape::value(now, found)?;
        *last = Some(now.clone());
    }
    Ok(())
}

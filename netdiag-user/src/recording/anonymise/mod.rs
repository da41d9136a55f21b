//! A recording that says the same without names and addresses, for those who may not give theirs
//! away.
//!
//! It is read as any other and written anew, so nothing gets into it that was not looked at: of the
//! tables the columns that are known to name nobody, of texts the words that netdiag and the kernel
//! use themselves. Sizes, times, counts, ports, and numbers of links, namespaces and processes stay.
mod address;
mod packet;
mod rows;
mod scene;
mod words;

use std::{
    collections::{BTreeMap, HashSet},
    io::{Read, Write},
    net::IpAddr,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use netdiag_common::loss::DropKey;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use self::{address::Addresses, rows::Rows, scene::Scrub, words::Words};
use super::{Recorder, Replay};
use crate::{
    model::{
        address::from_wire,
        cluster::Cluster,
        gather::Gathered,
        node::Node,
        observation::Observation,
        pod::{Pod, PodIndex},
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
        let mut value = serde_json::to_value(old)?;
        scrub.value(&mut value, name);
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
        let addresses = Addresses::apart(&seen.addresses);
        let names = seen.names.iter().map(String::as_str);
        Ok(Self {
            words: Words::new(names, addresses.clone()),
            addresses,
            codes: BTreeMap::new(),
            symbols: BTreeMap::new(),
            node: Kept::default(),
            start: Kept::default(),
            cluster: Kept::default(),
            gathered: Kept::default(),
            pods: Kept::default(),
            run: Kept::default(),
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
            gathered: self.gathered.map("gathered", &scene.gathered, &mut scrub)?,
            names: Box::new(KnownNames {
                symbols: self.symbols.clone(),
                reasons: scene.names.reasons().clone(),
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

/// A function of the kernel's, not an address of it.
fn symbol(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.+[] ".contains(c);
    match name.chars().all(plain) && !name.starts_with("0x") {
        true => name.to_owned(),
        false => "?".into(),
    }
}

/// What is to be mapped.
#[derive(Default)]
struct Seen {
    addresses: HashSet<IpAddr>,
    names: HashSet<String>,
    last: Vec<Value>,
}

impl Seen {
    fn scene(&mut self, scene: &Scene) -> Result<()> {
        let pods: Vec<&Pod> = scene.pods.iter().collect();
        let parts = [
            ("node", serde_json::to_value(&scene.node)?),
            ("pods", serde_json::to_value(&pods)?),
            ("cluster", serde_json::to_value(&*scene.cluster)?),
            ("gathered", serde_json::to_value(&scene.gathered)?),
            ("run", serde_json::to_value(&scene.run)?),
        ];
        for (at, (name, value)) in parts.into_iter().enumerate() {
            if self.last.get(at) == Some(&value) {
                continue;
            }
            let mut names = Vec::new();
            scene::names(&value, name, &mut names);
            self.names.extend(names);
            self.values(&value);
            match self.last.get_mut(at) {
                Some(last) => *last = value,
                None => self.last.push(value),
            }
        }
        self.names
            .extend(scene.links.iter().map(|link| link.name.clone()));
        Ok(())
    }

    fn values(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.addresses.extend(text.parse::<IpAddr>()),
            Value::Array(list) => list.iter().for_each(|it| self.values(it)),
            Value::Object(members) => members.values().for_each(|it| self.values(it)),
            _ => {}
        }
    }

    fn reading(&mut self, reading: &Observation) {
        let flows = reading.flows.iter().map(|(key, _)| key.flow);
        let flows = flows.chain(reading.drops.iter().map(|(key, _)| key.flow));
        let ends = flows.flat_map(|flow| [flow.source, flow.destination]);
        self.addresses.extend(ends.map(from_wire));
    }
}

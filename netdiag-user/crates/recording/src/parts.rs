//! The parts of a scene as they are read: the text of each, and the scene that they make.
use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;

use super::{
    entry::ClockText,
    limits::{self, Fault, TOO_LARGE},
    lines::{Members, each, plain},
    merge::merged,
    scan::scan,
};
use crate::{
    model::{
        gather::Gathered,
        node::Node,
        pod::{Pod, PodIndex},
        reason::Reasons,
    },
    pipeline::{
        asked::Asked,
        clock::Clock,
        facts::{KnownNames, Names},
        scene::{Run, Scene},
    },
};

#[derive(Default)]
pub struct Parts {
    texts: BTreeMap<String, Part>,
    names: Arc<KnownNames>,
}

struct Part {
    text: String,
    cost: usize,
}

impl Parts {
    /// Puts what changed into the scene.
    pub fn apply(&mut self, changes: &Members<'_>, scene: &mut Scene) -> Result<(), Fault> {
        for (name, change) in &changes.0 {
            self.change(name, change)?;
            self.fill(name, scene)?;
            if name == "node" && !self.texts.contains_key("start") {
                // That one is told as its difference from the first node.
                let node = self.text("node").to_owned();
                self.put("start", node)?;
                scene.start = scene.node.clone();
            }
        }
        Ok(())
    }

    fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("null", |part| &part.text)
    }

    fn change(&mut self, name: &str, change: &RawValue) -> Result<(), Fault> {
        let found = scan(change.get(), name)?;
        Fault::above(found.cost, limits::SCENE, TOO_LARGE)?;
        let text = merged(self.text(name), change.get())?;
        self.put(name, text)
    }

    fn put(&mut self, name: &str, text: String) -> Result<(), Fault> {
        let found = scan(&text, name)?;
        Fault::above(
            found.longest,
            limits::longest(name),
            "a text in it is longer than netdiag writes any",
        )?;
        let cost = found.cost;
        self.texts.insert(name.to_owned(), Part { text, cost });
        Fault::above(self.texts.len(), limits::MEMBERS, TOO_LARGE)?;
        let all = || self.texts.values();
        let bytes = all().map(|part| part.text.len()).sum();
        Fault::above(bytes, limits::SCENE_TEXT, TOO_LARGE)?;
        Fault::above(all().map(|part| part.cost).sum(), limits::SCENE, TOO_LARGE)
    }

    /// Puts one part of the scene into its place; what was there goes first.
    fn fill(&mut self, name: &str, scene: &mut Scene) -> Result<(), Fault> {
        let text = self.text(name);
        match name {
            "node" => scene.node = node(&mut scene.node, text)?,
            "start" => scene.start = node(&mut scene.start, text)?,
            "pods" => {
                scene.pods = PodIndex::default();
                let mut pods = Vec::new();
                // Two lists of them would be twice as much.
                each(Some(plain(text)?), |pod: Pod| {
                    pods.push(Arc::new(pod));
                    Ok(())
                })?;
                scene.pods = PodIndex::shared(pods);
            }
            "cluster" => {
                scene.cluster = Arc::default();
                scene.cluster = Arc::new(plain(text)?);
            }
            "gathered" => {
                scene.gathered = Gathered::default();
                scene.gathered = plain(text)?;
            }
            "run" => scene.run = plain(text)?,
            "clock" => scene.clock = clock(&plain(text)?)?,
            "reasons" => {
                let reasons: Reasons = plain(text)?;
                self.name(scene, |known| known.reasons = reasons);
            }
            // Of a later netdiag.
            _ => {}
        }
        Ok(())
    }

    /// Adds names of kernel functions.
    pub fn symbols(&mut self, new: Vec<(u64, String)>, scene: &mut Scene) -> Result<(), Fault> {
        if new.is_empty() {
            return Ok(());
        }
        self.name(scene, |known| known.symbols.extend(new));
        Fault::above(
            self.names.symbols.len(),
            limits::SYMBOLS,
            "it names more kernel functions than a kernel has that drop packets",
        )
    }

    /// The scene shares the names, so that there is one of each however often some are added.
    fn name(&mut self, scene: &mut Scene, change: impl FnOnce(&mut KnownNames)) {
        scene.names = Box::new(KnownNames::default());
        change(Arc::make_mut(&mut self.names));
        scene.names = Box::new(Shared(self.names.clone()));
    }
}

struct Shared(Arc<KnownNames>);

impl Names for Shared {
    fn symbol(&self, address: u64) -> String {
        self.0.symbol(address)
    }

    fn reasons(&self) -> &Reasons {
        self.0.reasons()
    }
}

fn node(before: &mut Node, text: &str) -> Result<Node, Fault> {
    *before = Node::default();
    let node: Node = plain(text)?;
    countable(&node)?;
    for link in &node.links {
        Fault::above(
            link.name.len(),
            limits::LINK,
            "a link in it has too long a name",
        )?;
    }
    Ok(node)
}

/// Nobody should wait for the square of what a file says; a writer keeps to it too.
pub fn countable(node: &Node) -> Result<(), Fault> {
    let links = "a node in it has more links than netdiag takes";
    Fault::above(node.links.len(), limits::LINKS, links)?;
    let namespaces = [&node.pod_sides, &node.linkless].map(Vec::len);
    let most = namespaces.into_iter().chain([node.counters.len()]).max();
    let told = "a node in it has more network namespaces than netdiag takes";
    Fault::above(most.unwrap_or(0), limits::NAMESPACES, told)
}

fn clock(text: &ClockText) -> Result<Clock, Fault> {
    Ok(Clock {
        monotonic: text.monotonic,
        wall: text.wall.parse().map_err(|_| Fault::Misfit)?,
    })
}

/// A scene in which nothing is known yet.
pub fn nothing() -> Scene {
    Scene {
        node: Node::default(),
        start: Node::default(),
        pods: PodIndex::default(),
        cluster: Default::default(),
        gathered: Gathered::default(),
        names: Box::new(KnownNames::default()),
        clock: Clock {
            monotonic: 0,
            wall: jiff::Timestamp::UNIX_EPOCH,
        },
        run: Run::default(),
        asked: Asked::default(),
        links: Vec::new(),
    }
}

//! What a session begins with, and what it says where it ends early.
use std::{sync::mpsc::Receiver, time::Instant};

use anyhow::{Context, Result, bail};
use netdiag_lang::{english, mark};
use tokio::task::JoinHandle;

use crate::{
    cli::options::{Global, Scope},
    host::snapshot,
    kernel::{
        attach::Hooks,
        load::{self, Programs, Set},
    },
    model::{
        filter,
        level::Level,
        limits,
        node::{Link, LinkKind, Node},
        roles::{Role, Roles},
        verdict::NotChecked,
    },
    pipeline::asked::Asked,
};

/// The programs, with the few links covered that all packets pass.
pub struct Loaded {
    pub programs: Programs,
    pub hooks: Hooks,
}

/// What the programs' tables had no room for.
pub struct Left {
    /// Routes whose limits are not known.
    pub unjudged: usize,
    /// Pods' namespaces.
    pub unnamed: usize,
}

/// Loads the programs on a thread of its own, which the kernel takes most of the beginning for, and
/// attaches the first of them as soon as it is told of the node's links.
pub fn loading(
    scope: &Scope,
    asked: &Asked,
    level: Level,
    global: &Global,
    sketches: Receiver<Sketch>,
) -> JoinHandle<Result<Loaded>> {
    let set = match scope.empty {
        true => Set::Empty,
        false => Set::Tracing,
    };
    let (root, only) = (scope.place.root.clone(), scope.iface.clone());
    let rules = asked.filter.as_ref().map(|filter| *filter.rules());
    let told = load::Asked {
        set,
        packets: asked.of_packets(),
        debug: global.verbose > 1,
        ring: scope.ring,
        reading: scope.read.unwrap_or_default(),
    };
    tokio::task::spawn_blocking(move || {
        let mut programs = load::load(&root, &told)?;
        if let Some(rules) = rules {
            programs.set_rules(&rules)?;
        }
        programs.set_level(level)?;
        let Sketch { node, begun } = sketches.recv().context("the links are not known")?;
        let mut hooks = Hooks::new(node.netns, &programs, &only)?;
        tell(&mut programs, &node)?;
        hooks.cover_first(&node, begun);
        Ok(Loaded { programs, hooks })
    })
}

/// The node's links before it is known what they lead to.
pub struct Sketch {
    node: Node,
    begun: Instant,
}

/// Reads it, with those that were asked for among them.
pub fn sketch(scope: &Scope) -> Result<Sketch> {
    let begun = Instant::now();
    let node = snapshot::sketch()?;
    check_interfaces(&node, &scope.iface)?;
    Ok(Sketch { node, begun })
}

/// Tells the programs what they judge packets by.
pub fn tell(programs: &mut Programs, node: &Node) -> Result<Left> {
    let overlays = node.links.iter().filter(|l| l.up);
    let overlays = overlays.filter(|l| l.kind == LinkKind::Vxlan);
    let ports: Vec<u16> = overlays.filter_map(|l| l.tunnel.as_ref()?.port).collect();
    let roles = Roles::new(node);
    let of_pods = node.links.iter().filter(|l| roles.of(l) == Some(Role::Pod));
    let of_pods: Vec<&Link> = of_pods.collect();
    let pods = of_pods.iter().filter_map(|l| l.peer_netns);
    let pods = pods.chain(node.linkless.iter().map(|side| side.netns));
    let followed: Vec<u32> = of_pods.iter().map(|l| l.index).collect();
    programs.set_followed(&followed)?;
    Ok(Left {
        unjudged: programs.set_limits(&limits::table(node), &ports)?,
        unnamed: programs.set_namespaces(node.netns, &pods.collect())?,
    })
}

fn check_interfaces(node: &Node, patterns: &[String]) -> Result<()> {
    for pattern in patterns {
        if !node.links.iter().any(|l| filter::glob(pattern, &l.name)) {
            bail!("there is no interface '{pattern}' here: `ip -br link` lists those that are");
        }
    }
    Ok(())
}

/// Whoever asked for a file and gets half of it must hear of it, on stderr at once and in the verdict.
pub fn unkept(what: &str, error: &impl std::fmt::Display) -> NotChecked {
    log::error!("{what} ends here: {error}");
    NotChecked::new(english!("the rest of {what}"), error.to_string())
}

pub fn no_links() -> NotChecked {
    let why = mark!("no link here is a pod's, a bridge, a tunnel or an uplink");
    NotChecked::new(mark!("packets on the node's links"), why)
}

//! What a session begins with, and what it says where it ends early.
use anyhow::{Result, bail};
use tokio::task::JoinHandle;

use crate::{
    cli::options::{Global, Scope},
    kernel::load::{self, Programs, Set},
    model::{filter, node::Node, verdict::NotChecked},
    pipeline::asked::Asked,
};

/// Loads the programs on a thread of its own, which the kernel takes most of the beginning for.
pub fn loading(scope: &Scope, asked: &Asked, global: &Global) -> JoinHandle<Result<Programs>> {
    let set = match scope.empty {
        true => Set::Empty,
        false => Set::Tracing,
    };
    let root = scope.place.root.clone();
    let told = load::Asked {
        set,
        packets: asked.of_packets(),
        debug: global.verbose > 1,
        ring: scope.ring,
    };
    tokio::task::spawn_blocking(move || load::load(&root, &told))
}

pub fn check_interfaces(node: &Node, patterns: &[String]) -> Result<()> {
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
    NotChecked::new(format!("the rest of {what}"), error.to_string())
}

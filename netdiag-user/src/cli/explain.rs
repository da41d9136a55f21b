//! `netdiag explain`: the catalogue, and this kernel's drop reasons.
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;

use super::{Usage, exit};
use crate::{causes, kernel::types, model::reason::Reasons, output};

#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A cause (`vxlan-mtu-too-large`) or a kernel drop reason (`NETFILTER_DROP`); lists both
    /// without it.
    pub name: Option<String>,
}

pub fn run(args: &ExplainArgs) -> Result<i32> {
    let Some(name) = &args.name else {
        output::catalogue(&reasons())?;
        return Ok(exit::OK);
    };
    if let Some(cause) = causes::find(&name.to_ascii_lowercase()) {
        output::manual(cause)?;
        return Ok(exit::OK);
    }
    let wanted = name.to_ascii_uppercase();
    let wanted = wanted.trim_start_matches("SKB_DROP_REASON_");
    let known = reasons();
    if let Some((number, name)) = known.iter().find(|(_, n)| *n == wanted) {
        output::reason(number, name)?;
        return Ok(exit::OK);
    }
    bail!(Usage(format!(
        "'{name}' is neither a cause nor a drop reason of this kernel: `netdiag explain` lists both"
    )))
}

/// Empty where the kernel has no BTF to read them from.
fn reasons() -> Reasons {
    let btf = types::types(Path::new("/"));
    let members = btf.ok().and_then(|btf| btf.enumeration("skb_drop_reason"));
    Reasons::new(members.unwrap_or_default())
}

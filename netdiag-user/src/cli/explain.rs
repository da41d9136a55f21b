//! `netdiag explain`: the catalogue, and this kernel's drop reasons.
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use super::{Usage, exit, options::like, replay};
use crate::{
    causes,
    kernel::types,
    model::{reason::Reasons, verdict::Finding},
    output,
};

#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A cause (`vxlan-mtu-too-large`) or a kernel drop reason (`NETFILTER_DROP`); lists both
    /// without it.
    pub name: Option<String>,
    /// Say first what this recording (repeatable: of several nodes) shows of the cause: evidence,
    /// pods, flows and commands with their own values. Without NAME it is the first root cause there.
    #[arg(long = "in", value_name = "FILE")]
    pub input: Vec<PathBuf>,
}

pub fn run(args: &ExplainArgs) -> Result<i32> {
    if !args.input.is_empty() {
        return recorded(args);
    }
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
        "'{name}' is neither a cause nor a drop reason of this kernel: {}",
        match like(&name.to_ascii_lowercase()) {
            near if near.starts_with("like") => near,
            _ => "`netdiag explain` lists both".into(),
        }
    )))
}

/// The cause as it was met, and then its manual.
fn recorded(args: &ExplainArgs) -> Result<i32> {
    let asked = args.name.as_ref().map(|it| it.to_ascii_lowercase());
    if let Some(name) = asked.as_ref().filter(|it| causes::find(it).is_none()) {
        let why =
            format!("'{name}' is no cause: `netdiag explain` lists them, and --in is for one");
        bail!(Usage(why));
    }
    let verdict = replay::judged(&args.input)?;
    let shown = || verdict.findings.iter().map(|it| it.cause.as_str());
    let Some(name) = asked.as_deref().or_else(|| shown().next()) else {
        log::warn!("no cause is in what was recorded: name one to read its manual");
        return Ok(exit::OK);
    };
    let met: Vec<&Finding> = verdict
        .findings
        .iter()
        .filter(|it| it.cause == name)
        .collect();
    if met.is_empty() {
        let others: Vec<&str> = shown().collect();
        let others = match others.as_slice() {
            [] => "no cause".to_owned(),
            some => some.join(", "),
        };
        log::warn!("what was recorded does not show {name}: it shows {others}");
    }
    output::met(&met)?;
    if let Some(cause) = causes::find(name) {
        output::manual(cause)?;
    }
    Ok(exit::OK)
}

/// Empty where the kernel has no BTF to read them from.
fn reasons() -> Reasons {
    let btf = types::types(Path::new("/"));
    let members = btf.ok().and_then(|btf| btf.enumeration("skb_drop_reason"));
    Reasons::new(members.unwrap_or_default())
}

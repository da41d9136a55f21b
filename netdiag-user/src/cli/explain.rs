//! `netdiag explain`: the catalogue, and this kernel's drop reasons.
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use super::{Usage, exit, options::near, replay};
use crate::{
    causes,
    kernel::types,
    model::{
        reason::{
            Reasons,
            by_place::{PLACES, Place, place_of},
        },
        verdict::Finding,
    },
    output::{self, Format},
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
    /// What a drop in this kernel function means (`ip_error`, `nf_hook_slow+0x9a`), or which functions drop
    /// for this reason, on kernels that give no reasons; without a value: all of them.
    #[arg(long, value_name = "FUNCTION|REASON", num_args = 0..=1, default_missing_value = "")]
    #[arg(conflicts_with_all = ["name", "input"])]
    pub who: Option<String>,
    /// How to print what --who asks for [default: table].
    #[arg(short, long, value_enum, requires = "who", conflicts_with_all = ["name", "input"])]
    pub output: Option<Format>,
}

pub fn run(args: &ExplainArgs) -> Result<i32> {
    if !args.input.is_empty() {
        return recorded(args);
    }
    if let Some(asked) = &args.who {
        output::places(&who(asked)?, args.output.unwrap_or_default())?;
        return Ok(exit::OK);
    }
    let Some(name) = &args.name else {
        output::catalogue(&reasons())?;
        return Ok(exit::OK);
    };
    if let Some(cause) = causes::find(&name.to_ascii_lowercase()) {
        output::manual(cause)?;
        return Ok(exit::OK);
    }
    let wanted = bare(name);
    let known = reasons();
    if let Some((number, name)) = known.iter().find(|(_, n)| *n == wanted) {
        output::reason(number, name)?;
        return Ok(exit::OK);
    }
    bail!(Usage(format!(
        "'{name}' is neither a cause nor a drop reason of this kernel: {}",
        near(name, causes::ALL.iter().map(|it| it.id))
            .unwrap_or_else(|| "`netdiag explain` lists both".into())
    )))
}

fn who(asked: &str) -> Result<Vec<&'static Place>> {
    let reason = bare(asked);
    let meant = |row: &&Place| asked.is_empty() || row.reason == Some(&reason);
    let mut rows: Vec<&Place> = PLACES.iter().filter(meant).collect();
    rows.extend(place_of(asked));
    if rows.is_empty() {
        let names = |row: &'static Place| row.functions.iter().copied().chain(row.reason);
        let like = near(asked, PLACES.iter().flat_map(names));
        bail!(Usage(format!(
            "'{asked}' is neither a function nor a reason of that table: {}",
            like.unwrap_or_else(|| "`netdiag explain --who` prints it".into())
        )));
    }
    Ok(rows)
}

/// The kernel's word for a reason, as the tables have it.
fn bare(reason: &str) -> String {
    let reason = reason.to_ascii_uppercase();
    let bare = reason.strip_prefix("SKB_DROP_REASON_");
    bare.unwrap_or(&reason).to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_or_a_reason_finds_its_rows() {
        let of = |asked| {
            let rows = who(asked).expect("it is in the table");
            rows.iter().map(|it| it.functions[0]).collect::<Vec<_>>()
        };
        assert_eq!(of("ip_error+0x12"), ["ip_error"]);
        assert_eq!(of("netfilter_drop"), ["nf_hook_slow"]);
        assert_eq!(of("SKB_DROP_REASON_TC_EGRESS"), ["__dev_queue_xmit"]);
        assert_eq!(of("").len(), PLACES.len());
    }

    #[test]
    fn what_is_unknown_is_told_with_its_like() {
        let told = |asked| who(asked).expect_err("it is in no row").to_string();
        assert!(told("nf_hook").contains("like it: nf_hook_slow"));
        assert!(told("zz").contains("--who"));
    }
}

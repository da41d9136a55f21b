//! `netdiag doctor`: what is possible here, and what to do about what is not.
use anyhow::Result;
use clap::Args;

use super::{exit, options::Format};
use crate::{kernel::support, output};

#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// The node's root, as a container sees it.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: std::path::PathBuf,
}

pub fn run(args: &DoctorArgs) -> Result<i32> {
    let features = support::check(&args.root);
    output::features(&features, args.output)?;
    let essential_missing = features.iter().any(|f| f.essential && !f.available);
    Ok(if essential_missing {
        exit::ENVIRONMENT
    } else {
        exit::OK
    })
}

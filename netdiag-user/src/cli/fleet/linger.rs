//! `netdiag linger`: what a pod does that is there for others' commands.
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::cli::{exit, options::duration, watch::Signals};

#[derive(Args, Debug)]
pub struct LingerArgs {
    /// End by itself after so long.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub long: Duration,
}

pub async fn run(args: &LingerArgs) -> Result<i32> {
    let mut signals = Signals::catch()?;
    // Being told to end is how it should end.
    let _ = tokio::time::timeout(args.long, signals.wait()).await;
    Ok(exit::OK)
}

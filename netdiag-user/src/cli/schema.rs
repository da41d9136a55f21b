//! `netdiag schema`: the form of what programs read.
use anyhow::Result;
use clap::Args;

use super::exit;
use crate::output::{self, Format, Sink, schema::Kind};

#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// Which output.
    #[arg(value_name = "OUTPUT")]
    pub kind: Kind,
}

pub fn run(args: &SchemaArgs) -> Result<i32> {
    let mut sink = Sink::open(None)?;
    output::document(&mut sink, &args.kind.schema(), Format::Json)?;
    Ok(exit::OK)
}

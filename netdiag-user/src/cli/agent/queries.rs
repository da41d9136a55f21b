//! `netdiag agent queries`: what to ask ClickHouse of the agents' records.
use anyhow::Result;
use clap::Args;
use netdiag_otlp::queries::{QUERIES, Query, query};

use crate::{cli::exit, model::text, output};

#[derive(Args, Debug)]
pub struct QueriesArgs {
    /// Print this one; the names of all where none is given.
    #[arg(value_name = "NAME", value_parser = named)]
    pub name: Option<&'static Query>,
}

pub fn run(args: &QueriesArgs) -> Result<i32> {
    match args.name {
        Some(query) => output::line(query.text.trim_end())?,
        None => {
            for query in QUERIES {
                output::line(&format!("{:18}{}", query.name, query.about()))?;
            }
        }
    }
    Ok(exit::OK)
}

fn named(name: &str) -> Result<&'static Query, String> {
    let all = || {
        QUERIES
            .iter()
            .map(|it| it.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let clean = text::line(name, 40);
    query(name).ok_or_else(|| format!("'{clean}' is none of {}", all()))
}

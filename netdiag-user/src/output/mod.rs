//! What people and programs read. An output renders and never computes; stdout belongs to it.
mod catalogue;
mod live;
mod pcapng;
mod sink;
mod style;
mod verdict;

use anyhow::{Context, Result};

pub use self::{
    catalogue::{catalogue, features, manual, reason},
    live::Live,
    pcapng::Pcapng,
    sink::{Sink, line},
    style::clean,
};
use crate::{cli::options::Format, model::verdict::Verdict};

/// Prints a verdict in the wanted form.
pub fn verdict(sink: &mut Sink, verdict: &Verdict, format: Format) -> Result<()> {
    match format {
        Format::Table => sink.write(&verdict::render(verdict, sink.width(), false)),
        Format::Wide => sink.write(&verdict::render(verdict, usize::MAX, true)),
        other => document(sink, verdict, other),
    }
}

/// Verdicts of several nodes: one below the other, or a list. A single one is itself.
pub fn verdicts(sink: &mut Sink, verdicts: &[Verdict], format: Format) -> Result<()> {
    match (verdicts, format) {
        ([one], _) => verdict(sink, one, format),
        (_, Format::Json | Format::Yaml) => document(sink, &verdicts, format),
        (all, _) => all.iter().enumerate().try_for_each(|(n, one)| {
            if n > 0 {
                sink.write("\n")?;
            }
            verdict(sink, one, format)
        }),
    }
}

/// A document for programs.
pub fn document(sink: &mut Sink, value: &impl serde::Serialize, format: Format) -> Result<()> {
    let text = match format {
        Format::Ndjson => serde_json::to_string(value).context("encoding JSON")? + "\n",
        Format::Yaml => serde_saphyr::to_string(value).context("encoding YAML")?,
        _ => serde_json::to_string_pretty(value).context("encoding JSON")? + "\n",
    };
    sink.write(&text)
}

//! What people and programs read. An output renders and never computes; stdout belongs to it.
mod catalogue;
mod escape;
mod foretold;
mod format;
mod live;
mod locale;
mod path;
mod pcapng;
mod predicted;
mod programs;
pub mod schema;
mod sink;
mod style;
#[cfg(test)]
mod tests;
mod verdict;

use anyhow::Result;
#[cfg(test)]
use netdiag_diagnosis as diagnosis;
use netdiag_diagnosis::{FlowWay, causes};
use netdiag_kernel as kernel;
use netdiag_model::{self as model, shell};
use netdiag_pipeline as pipeline;
#[cfg(test)]
use netdiag_recording as recording;
use netdiag_sys as sys;

pub use self::{
    catalogue::{catalogue, features, manual, places, reason},
    escape::{json, pretty_json},
    format::Format,
    live::Live,
    locale::{is_utf8, plain},
    pcapng::Pcapng,
    programs::programs,
    sink::{Sink, line},
    style::{beside, clean},
    verdict::{
        screen::{
            drawn,
            picture::{Cell, Direction, cells, chosen, is_loss},
        },
        words,
    },
};
use model::{
    foretold::Foretold,
    path::Path,
    predicted::Predicted,
    verdict::{Finding, Verdict},
};

/// Prints a verdict in the wanted form: on a terminal what fits onto a screen, with the ways that are
/// drawn there.
pub fn verdict(sink: &mut Sink, verdict: &Verdict, ways: &[FlowWay], format: Format) -> Result<()> {
    match format {
        Format::Table if sink.is_screen() => {
            let ascii = sink.is_ascii();
            sink.write(&verdict::screen::render(verdict, ways, sink.width(), ascii))
        }
        Format::Table => sink.write(&verdict::render(verdict, sink.width(), false)),
        Format::Wide => sink.write(&verdict::render(verdict, sink.room(), true)),
        other => document(sink, verdict, other),
    }
}

/// Prints findings of one cause in full, before its manual.
pub fn met(findings: &[&Finding]) -> Result<()> {
    let mut sink = Sink::open(None)?;
    let each = findings.iter().map(|it| verdict::alone(it, sink.width()));
    let text: String = each.collect();
    sink.write(&text)
}

/// Prints computed ways for people: in a document they are a part of the path.
pub fn predicted(sink: &mut Sink, all: &[Predicted], format: Format) -> Result<()> {
    match format {
        Format::Table => sink.write(&predicted::render(all, sink.width())),
        Format::Wide => sink.write(&predicted::render(all, usize::MAX)),
        _ => Ok(()),
    }
}

/// Prints a path of which nothing was watched.
pub fn unwatched(sink: &mut Sink, path: &Path, format: Format) -> Result<()> {
    match format {
        Format::Table => sink.write(&path::unwatched(path, sink.width())),
        Format::Wide => sink.write(&path::unwatched(path, usize::MAX)),
        other => document(sink, path, other),
    }
}

/// Prints a path in the wanted form.
pub fn path(sink: &mut Sink, path: &Path, format: Format) -> Result<()> {
    match format {
        Format::Table => sink.write(&path::render(path, sink.width())),
        Format::Wide => sink.write(&path::render(path, usize::MAX)),
        other => document(sink, path, other),
    }
}

/// Prints the paths of several nodes, one below the other; a single one is itself. Of what is computed alone nothing else
/// is said.
pub fn paths(sink: &mut Sink, paths: &[Path], (format, computed): (Format, bool)) -> Result<()> {
    let one = |sink: &mut Sink, one: &Path| {
        if computed {
            return unwatched(sink, one, format);
        }
        predicted(sink, &one.predicted, format)?;
        path(sink, one, format)
    };
    match (paths, format) {
        ([first], _) => one(sink, first),
        (_, Format::Table | Format::Wide) => paths.iter().enumerate().try_for_each(|(n, it)| {
            if n > 0 {
                sink.write("\n")?;
            }
            one(sink, it)
        }),
        _ => document(sink, &paths, format),
    }
}

/// Prints what a change would do in the wanted form.
pub fn foretold(sink: &mut Sink, foretold: &Foretold, format: Format) -> Result<()> {
    match format {
        Format::Table => sink.write(&foretold::render(foretold, sink.width(), false)),
        Format::Wide => sink.write(&foretold::render(foretold, sink.room(), true)),
        other => document(sink, foretold, other),
    }
}

/// A document for programs.
pub fn document(sink: &mut Sink, value: &impl serde::Serialize, format: Format) -> Result<()> {
    let text = match format {
        Format::Ndjson => json(value)? + "\n",
        Format::Yaml => escape::yaml(value)?,
        _ => pretty_json(value)? + "\n",
    };
    sink.write(&text)
}

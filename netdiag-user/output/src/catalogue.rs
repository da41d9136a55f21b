//! The manual pages: causes, drop reasons, and what is possible here.
use anyhow::Result;

use super::{
    Format, Sink, document, line,
    style::{BOLD, DIM, GREEN, RED, YELLOW, beside, paint, wrap},
};
use crate::{
    causes::{self, Cause},
    kernel::support::Feature,
    model::reason::Reasons,
};

/// All causes, and this kernel's drop reasons.
pub fn catalogue(reasons: &Reasons) -> Result<()> {
    line(&paint(BOLD, "Causes (netdiag explain ID)"))?;
    let longest = causes::ALL.iter().map(|c| c.id.len()).max().unwrap_or(0);
    let mut sink = Sink::open(None)?;
    for cause in causes::ALL {
        let label = format!(" {}", cause.id);
        sink.write(&beside(&label, longest + 3, cause.title, sink.room()))?;
    }
    if reasons.is_empty() {
        return line("\nThis kernel has no BTF that its drop reasons could be read from.");
    }
    line(&paint(BOLD, "\nDrop reasons of this kernel"))?;
    let names: Vec<_> = reasons.iter().map(|(_, name)| name).collect();
    sink.write(&wrap(&names.join(" "), sink.width(), " "))
}

pub fn manual(cause: &Cause) -> Result<()> {
    let mut sink = Sink::open(None)?;
    sink.write(&pages(cause, sink.width()))
}

/// Its headings, and its paragraphs as wide as the reader's terminal.
fn pages(cause: &Cause, width: usize) -> String {
    let title = format!("{}: {}", cause.id, cause.title);
    let mut out = wrap(&title, width, "").replacen(cause.id, &paint(BOLD, cause.id), 1);
    out.push('\n');
    let manual = cause.manual();
    let mut paragraph: Vec<&str> = Vec::new();
    for text in manual.lines().chain([""]) {
        let heading = text.strip_prefix("# ");
        if (heading.is_some() || text.is_empty()) && !paragraph.is_empty() {
            out.push_str(&wrap(&paragraph.join(" "), width, "  "));
            paragraph.clear();
        }
        match heading {
            Some(heading) => out.push_str(&format!("{}\n", paint(BOLD, heading))),
            None if text.is_empty() => out.push('\n'),
            None => paragraph.push(text),
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// A drop reason: which causes it leads to, and how to see it by hand.
pub fn reason(number: u32, name: &str) -> Result<()> {
    let mut sink = Sink::open(None)?;
    let width = sink.room();
    let head = format!(
        "{name}: drop reason {number} of this kernel (enum skb_drop_reason, \
         include/net/dropreason-core.h; its number differs between kernels)"
    );
    sink.write(&wrap(&head, width, "").replacen(name, &paint(BOLD, name), 1))?;
    let related: Vec<_> = causes::ALL
        .iter()
        .filter(|c| c.manual().contains(name))
        .map(|c| c.id)
        .collect();
    let related = match related.is_empty() {
        true => "No cause of the catalogue is decided by it alone.".into(),
        false => format!("Causes that use it: {}", related.join(", ")),
    };
    sink.write(&wrap(&related, width, ""))?;
    sink.write(&wrap(
        &format!(
            "By hand: perf record -ag -e skb:kfree_skb --filter 'reason == {number}' sleep 10; perf script; or netdiag run"
        ),
        width,
        "",
    ))
}

pub fn features(features: &[Feature], format: Format) -> Result<()> {
    let mut sink = Sink::open(None)?;
    if !matches!(format, Format::Table | Format::Wide) {
        return document(&mut sink, &features, format);
    }
    let longest = features.iter().map(|f| f.name.chars().count()).max();
    let column = WORD + longest.unwrap_or(0) + 3;
    for feature in features {
        let (style, word) = match (feature.available, feature.essential) {
            (true, _) => (GREEN, "yes"),
            (false, true) => (RED, "NO"),
            (false, false) => (YELLOW, "without"),
        };
        let label = format!("{word:<WORD$} {}", feature.name);
        let text = beside(&label, column, &feature.detail, sink.room());
        sink.write(&text.replacen(word, &paint(style, word), 1))?;
        if !feature.remedy.is_empty() {
            let label = " ".repeat(WORD);
            let remedy = format!("needs: {}", feature.remedy);
            let text = beside(&label, WORD + 1, &remedy, sink.room());
            sink.write(
                &text
                    .lines()
                    .map(|l| paint(DIM, l) + "\n")
                    .collect::<String>(),
            )?;
        }
    }
    Ok(())
}

/// Columns that the word before a feature takes.
const WORD: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_fits_the_terminal() {
        for cause in causes::ALL {
            let text = anstream::adapter::strip_str(&pages(cause, 80)).to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", cause.id);
            }
            assert!(text.contains("\nFix\n"), "{text}");
        }
    }
}

//! The manual pages: causes, drop reasons, and what is possible here.
use anyhow::Result;
use comfy_table::{Table, presets::NOTHING};

use super::{
    Sink, document, line,
    style::{BOLD, DIM, GREEN, RED, YELLOW, paint},
};
use crate::{
    causes::{self, Cause},
    cli::options::Format,
    kernel::support::Feature,
    model::reason::Reasons,
};

/// All causes, and this kernel's drop reasons.
pub fn catalogue(reasons: &Reasons) -> Result<()> {
    line(&paint(BOLD, "Causes (netdiag explain ID)"))?;
    let mut table = Table::new();
    table.load_style(NOTHING);
    for cause in causes::ALL {
        table.add_row([cause.id, cause.title]);
    }
    rows(&table)?;
    if reasons.is_empty() {
        return line("\nThis kernel has no BTF that its drop reasons could be read from.");
    }
    line(&paint(BOLD, "\nDrop reasons of this kernel"))?;
    let names: Vec<_> = reasons.iter().map(|(_, name)| name).collect();
    let text = super::style::wrap(&names.join(" "), Sink::open(None)?.width(), " ");
    line(text.trim_end())
}

fn rows(table: &Table) -> Result<()> {
    for row in table.lines() {
        line(row.trim_end())?;
    }
    Ok(())
}

pub fn manual(cause: &Cause) -> Result<()> {
    line(&format!("{}: {}\n", paint(BOLD, cause.id), cause.title))?;
    for text in cause.manual().lines() {
        match text.strip_prefix("# ") {
            Some(heading) => line(&paint(BOLD, heading))?,
            None => line(format!("  {text}").trim_end())?,
        }
    }
    Ok(())
}

/// A drop reason: which causes it leads to, and how to see it by hand.
pub fn reason(number: u32, name: &str) -> Result<()> {
    line(&format!(
        "{}: drop reason {number} of this kernel (enum skb_drop_reason, \
         include/net/dropreason-core.h; its number differs between kernels)",
        paint(BOLD, name)
    ))?;
    let related: Vec<_> = causes::ALL
        .iter()
        .filter(|c| c.manual().contains(name))
        .map(|c| c.id)
        .collect();
    if related.is_empty() {
        line("No cause of the catalogue is decided by it alone.")?;
    } else {
        line(&format!("Causes that use it: {}", related.join(", ")))?;
    }
    line(&format!(
        "By hand: perf trace -e skb:kfree_skb --filter 'reason == {number}', or netdiag run"
    ))
}

pub fn features(features: &[Feature], format: Format) -> Result<()> {
    if !matches!(format, Format::Table | Format::Wide) {
        return document(&mut Sink::open(None)?, &features, format);
    }
    for feature in features {
        let (style, word) = match (feature.available, feature.essential) {
            (true, _) => (GREEN, "yes    "),
            (false, true) => (RED, "NO     "),
            (false, false) => (YELLOW, "without"),
        };
        line(&format!(
            "{} {:<24} {}",
            paint(style, word),
            feature.name,
            feature.detail
        ))?;
        if !feature.remedy.is_empty() {
            line(&paint(DIM, &format!("        needs: {}", feature.remedy)))?;
        }
    }
    Ok(())
}

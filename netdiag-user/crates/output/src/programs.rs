//! What each program is to this kernel.
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use netdiag_lang::t;

use super::{Format, Sink, document};
use crate::kernel::weigh::{Form, MOST_VERIFIED, Weighed, Weight};

/// Prints how the verifier took each program, without a filter and with one.
pub fn programs(weighed: &Weighed, format: Format) -> Result<()> {
    let mut sink = Sink::open(None)?;
    match format {
        Format::Table | Format::Wide => sink.write(&render(weighed)),
        other => document(&mut sink, weighed, other),
    }
}

fn render(weighed: &Weighed) -> String {
    let forms: Vec<String> = weighed.forms.iter().map(form).collect();
    let (kernel, cpus) = (&weighed.kernel, weighed.possible_cpus);
    let most = MOST_VERIFIED;
    t!("Linux {kernel}, {cpus} possible CPUs, at most {most} instructions verified a program\n")
        + &forms.concat()
}

fn form(form: &Form) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        t!("PROGRAM"),
        t!("VERIFIED"),
        t!("TRANSLATED"),
        t!("JITTED"),
        t!("MAPS"),
    ]);
    table.add_rows(form.programs.iter().map(row));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let lines: Vec<String> = table.lines().map(|l| l.trim_end().to_owned()).collect();
    let refused = form.programs.iter().filter_map(|program| {
        let why = program.refused.as_ref()?;
        Some(t!("{} is refused: {why}\n", program.program))
    });
    let (take, of) = (form.map_bytes >> 10, form.map_budget >> 10);
    let title = match form.filter {
        true => t!("with --filter and a selection: maps take {take} of {of} KiB"),
        false => t!("without --filter and a selection: maps take {take} of {of} KiB"),
    };
    let title = match form.helper {
        true => t!("{title}; with --read helper"),
        false => title,
    };
    format!(
        "\n{title}\n{}\n{}",
        lines.join("\n"),
        refused.collect::<String>()
    )
}

fn row(program: &Weight) -> [String; 5] {
    let name = format!(" {}", program.program);
    if program.refused.is_some() {
        return [name, t!("refused").into(), "".into(), "".into(), "".into()];
    }
    let verified = program.verified_insns;
    [
        name,
        verified.map_or("?".into(), |count| count.to_string()),
        format!("{} B", program.translated_bytes),
        format!("{} B", program.jitted_bytes),
        format!("{} KiB", program.map_bytes >> 10),
    ]
}

//! Where in time this is, and what keys there are.
use jiff::Timestamp;
use netdiag_lang::t;
use ratatui::buffer::Buffer;

use super::{
    Canvas,
    ink::{Tone, width},
    line::Line,
};
use crate::app::{App, Source};

/// A run that goes on needs none.
pub const fn has_timeline(app: &App) -> bool {
    matches!(app.source, Source::Recording) || app.is_paused()
}

pub fn draw(app: &App, canvas: &Canvas<'_>, timeline: bool, buffer: &mut Buffer) {
    let last = canvas.height().saturating_sub(1);
    if timeline {
        time(app, canvas).put(canvas, 0, false, buffer);
    }
    keys(app, canvas).put(canvas, last, false, buffer);
}

fn moment(time: Timestamp) -> String {
    time.strftime("%F %T%.3fZ").to_string()
}

/// When, which of how many, and a scale on which causes are marked where they were first named.
fn time(app: &App, canvas: &Canvas<'_>) -> Line {
    let Some(reading) = app.moment().map(|it| it.reading) else {
        return Line::default();
    };
    let (at, all) = (app.position(), app.history.len());
    let came = app.history.came();
    let thinned = match app.source {
        Source::Recording if came > all => t!(" ({came} in the file)"),
        _ => String::new(),
    };
    let text = t!(
        "{} reading {} of {all}{thinned} ",
        moment(reading.time),
        at + 1
    );
    let room = canvas.width().saturating_sub(width(&text) + 2);
    let line = Line::new(text, Tone::Plain);
    match room {
        0..8 => line,
        _ => {
            let (before, after) = scale(app, canvas, room);
            let cursor = canvas.ink.glyph("◆", "#");
            line.with("[", Tone::Dim)
                .with(before, Tone::Plain)
                .with(cursor, Tone::Strong)
                .with(after, Tone::Dim)
                .with("]", Tone::Dim)
        }
    }
}

/// What stands on the scale before this reading and after it.
fn scale(app: &App, canvas: &Canvas<'_>, room: usize) -> (String, String) {
    let last = app.history.len().saturating_sub(1).max(1);
    let place = |at: usize| at * (room - 1) / last;
    let (stroke, mark) = (canvas.ink.glyph("─", "-"), canvas.ink.glyph("!", "!"));
    let mut scale = vec![stroke; room];
    let mut known = 0;
    for at in 0..app.history.len() {
        let causes = app.history.get(at).map_or(0, |it| it.causes.len());
        if causes > known {
            scale[place(at)] = mark;
        }
        known = causes;
    }
    let own = place(app.position());
    (scale[..own].concat(), scale[own + 1..].concat())
}

fn keys(app: &App, canvas: &Canvas<'_>) -> Line {
    let ink = canvas.ink;
    if app.typing {
        let cursor = ink.glyph("▏", "_");
        let text = format!("/{}{cursor}", ink.text(&app.filter));
        return Line::new(text, Tone::Strong)
            .with(t!("  Enter keeps it, Esc clears it"), Tone::Dim);
    }
    if let Some(notice) = &app.notice {
        return Line::new(ink.text(notice), Tone::Warning);
    }
    let mut keys = match app.pages.is_empty() {
        true => vec![
            t!("? help"),
            t!("Enter open"),
            t!("Tab next"),
            t!("s sort"),
            t!("/ filter"),
        ],
        false => vec![t!("? help"), t!("Esc back"), t!("Enter open")],
    };
    keys.push(match (app.source, app.is_paused()) {
        (Source::Live, false) => t!("Space pause"),
        (Source::Live, true) => t!("Space go on"),
        (Source::Recording, _) => t!("Left Right time"),
    });
    keys.push(t!("q quit"));
    let mut line = Line::default();
    for key in keys {
        let (name, does) = key.rsplit_once(' ').unwrap_or((key, ""));
        let gap = if line.width() == 0 { "" } else { "  " };
        if line.width() + gap.len() + width(key) > canvas.width() {
            break;
        }
        line = line
            .with(gap, Tone::Plain)
            .with(name, Tone::Strong)
            .with(" ", Tone::Plain)
            .with(does, Tone::Dim);
    }
    line
}

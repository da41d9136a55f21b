//! The one way in which text of others comes onto the page.
use maud::{Markup, Render, html};

use crate::model::{shell::CommandLine, text};

/// Text whose harmful characters are shown; as it is written it is escaped.
pub struct Shown(String);

pub fn shown(text: &str) -> Shown {
    Shown(text::shown(text))
}

impl Render for Shown {
    fn render_to(&self, to: &mut String) {
        self.0.as_str().render_to(to);
    }
}

/// A line to be pasted; one click marks all of it.
pub fn command(command: &CommandLine) -> Markup {
    html! { pre.command { code { (shown(&command.text())) } } }
}

/// Within the width of so many letters: a picture breaks no lines.
pub fn cut(text: &str, most: usize) -> Shown {
    let clean = text::shown(text);
    if text::width(&clean) <= most {
        return Shown(clean);
    }
    Shown(text::fitting(&clean, most.saturating_sub(1)).to_owned() + "…")
}

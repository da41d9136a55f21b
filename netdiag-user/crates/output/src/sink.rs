//! Where output goes: stdout or a file, with colour only where a person reads it.
use std::{
    borrow::Cow,
    fs::File,
    io::{IsTerminal, Write},
    path::Path,
};

use anyhow::{Context, Result};

use super::{escape, locale};
use crate::{model::text::is_plain, sys::output_file};

/// Columns where nothing says how wide the reader's paper is.
pub const WIDTH: usize = 100;
/// Narrower terminals get lines of this width all the same.
const NARROWEST: usize = 40;

pub struct Sink {
    to: To,
}

enum To {
    Stdout,
    File(File),
    Memory {
        text: String,
        width: usize,
        screen: bool,
    },
}

impl Sink {
    /// Opens the file before anything else is done, so that a typo does not cost a diagnosis.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let to = match path {
            None => To::Stdout,
            Some(path) => To::File(
                output_file::create(path)
                    .with_context(|| format!("cannot write {}", path.display()))?,
            ),
        };
        Ok(Self { to })
    }

    /// Keeps what is written for a reader of so many columns, with its colours.
    pub fn memory(width: usize) -> Self {
        Self::kept(width, false)
    }

    /// The same, of one who sees no more than a screen.
    pub fn screen(width: usize) -> Self {
        Self::kept(width, true)
    }

    const fn kept(width: usize, screen: bool) -> Self {
        let to = To::Memory {
            text: String::new(),
            width,
            screen,
        };
        Self { to }
    }

    /// What was kept; nothing where it went elsewhere.
    pub fn text(self) -> String {
        match self.to {
            To::Memory { text, .. } => text,
            To::Stdout | To::File(_) => String::new(),
        }
    }

    /// Columns that a line may have.
    pub fn width(&self) -> usize {
        match self.to {
            To::Stdout if std::io::stdout().is_terminal() => terminal_width(),
            To::Memory { width, .. } => width,
            _ => WIDTH,
        }
    }

    /// Somebody looks at it as it comes, and sees what was written last.
    pub fn is_screen(&self) -> bool {
        match self.to {
            To::Stdout => std::io::stdout().is_terminal(),
            To::File(_) => false,
            To::Memory { screen, .. } => screen,
        }
    }

    /// Its reader has no other characters.
    pub fn is_ascii(&self) -> bool {
        matches!(self.to, To::Stdout) && self.is_screen() && !locale::is_utf8()
    }

    /// Columns where lines are for eyes alone: what a program reads, it reads line by line.
    pub fn room(&self) -> usize {
        match self.to {
            To::Stdout if std::io::stdout().is_terminal() => terminal_width(),
            _ => usize::MAX,
        }
    }

    /// The same of lines that come one by one: whoever keeps them for a test says how wide they are.
    pub fn line_width(&self) -> usize {
        match self.to {
            To::Memory { width, .. } => width,
            _ => self.room(),
        }
    }

    /// Writes and flushes. Colour is taken out where it is not wanted.
    pub fn write(&mut self, text: &str) -> Result<()> {
        // Much of it in a storm: no colour and no escape is looked for where there can be none.
        let plain = is_plain(text);
        let text = match plain {
            true => Cow::Borrowed(text),
            false => Cow::Owned(escape::terminal(text)),
        };
        let text = match plain || !self.is_ascii() {
            true => text,
            false => Cow::Owned(locale::plain(&text)),
        };
        let written = match &mut self.to {
            To::Stdout if plain => put(std::io::stdout().lock(), &text),
            To::Stdout => put(anstream::stdout(), &text),
            To::Memory { text: all, .. } => {
                all.push_str(&text);
                Ok(())
            }
            To::File(file) if plain => put(file, &text),
            To::File(file) => put(anstream::StripStream::new(file), &text),
        };
        written.context("writing the output")
    }
}

fn put(mut to: impl Write, text: &str) -> std::io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(WIDTH, |(w, _)| usize::from(w.0).max(NARROWEST))
}

/// One line on stdout.
pub fn line(text: &str) -> Result<()> {
    Sink { to: To::Stdout }.write(&format!("{text}\n"))
}

//! The terminal while it is netdiag's: everything on it is as it was when netdiag leaves, however it
//! does.
use std::{
    io::{BufWriter, Stdout, stdout},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result, bail};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};

use super::{ink, messages};
use crate::top::{App, Ink, draw};

/// A frame is written at once: a slow line shows no half of one for long.
const FRAME: usize = 32 << 10;

/// The terminal is ours.
static OURS: AtomicBool = AtomicBool::new(false);

pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    ink: Ink,
}

impl Screen {
    pub fn open() -> Result<Self> {
        let ink = ink();
        give_back_on_panic();
        messages::hold();
        OURS.store(true, Relaxed);
        let opened = Self::take(ink);
        if opened.is_err() {
            give_back();
        }
        opened.context("taking the terminal")
    }

    fn take(ink: Ink) -> Result<Self> {
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME, stdout()));
        let terminal = Terminal::new(backend)?;
        Ok(Self { terminal, ink })
    }

    pub fn draw(&mut self, app: &mut App) -> Result<()> {
        if !OURS.load(Relaxed) {
            bail!("a thread panicked");
        }
        if let Some(message) = messages::take() {
            app.notice = Some(message);
        }
        let drawn = self
            .terminal
            .draw(|frame| draw(app, &self.ink, frame.buffer_mut()));
        drawn.map(drop).context("drawing")
    }

    /// Everything is drawn anew: something else wrote to the terminal.
    pub fn clear(&mut self) -> Result<()> {
        self.terminal.clear().context("drawing")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once, whoever comes first.
fn give_back() {
    if !OURS.swap(false, Relaxed) {
        return;
    }
    // A terminal that is gone needs nothing.
    let _ = execute!(stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
    messages::release();
}

/// What a panic says is to be read on the terminal as it was.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
}

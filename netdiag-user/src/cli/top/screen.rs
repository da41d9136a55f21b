//! The terminal while it is netdiag's: everything on it is as it was when netdiag leaves, however it
//! does.
use std::{
    cell::RefCell,
    io::{self, Write, stdout},
    rc::Rc,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result, bail};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    buffer::Buffer,
    crossterm::{
        cursor::{Hide, Show},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};

use super::{
    ink,
    line::{self, Line},
    messages,
};
use crate::top::{App, Ink, draw};

/// The terminal is ours.
static OURS: AtomicBool = AtomicBool::new(false);

pub struct Screen {
    terminal: Terminal<CrosstermBackend<Frame>>,
    frame: Frame,
    line: Line,
    ink: Ink,
    /// Something changed while the frame before was on its way.
    behind: bool,
}

/// What is drawn, until it is whole.
#[derive(Clone, Default)]
struct Frame(Rc<RefCell<Vec<u8>>>);

impl Frame {
    fn take(&self) -> Vec<u8> {
        self.0.take()
    }
}

impl Write for Frame {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        let frame = Frame::default();
        let terminal = Terminal::new(CrosstermBackend::new(frame.clone()))?;
        Ok(Self {
            terminal,
            frame,
            line: Line::open()?,
            ink,
            behind: false,
        })
    }

    /// Where the frame before is still on its way, what there is then will be drawn once it came.
    pub fn draw(&mut self, app: &mut App) -> Result<()> {
        if !OURS.load(Relaxed) {
            bail!("a thread panicked");
        }
        if let Some(message) = messages::take() {
            app.notice = Some(message);
        }
        self.behind = self.line.is_busy();
        if self.behind {
            // What the next key does goes by what is drawn, not by what is seen already.
            let size = self.terminal.size().context("asking the terminal's size")?;
            draw(
                app,
                &self.ink,
                &mut Buffer::empty((Default::default(), size).into()),
            );
            return Ok(());
        }
        let drawn = self
            .terminal
            .draw(|frame| draw(app, &self.ink, frame.buffer_mut()));
        drawn.context("drawing")?;
        self.line.send(self.frame.take()).context("drawing")
    }

    /// Waits for the time to draw what could not be.
    pub async fn room(&self) {
        match self.behind {
            true => self.line.free().await,
            false => std::future::pending().await,
        }
    }

    /// Everything is drawn anew: something else wrote to the terminal.
    pub fn clear(&mut self) -> Result<()> {
        self.terminal.clear().context("drawing")
    }
}

impl Drop for Screen {
    // What ratatui writes for its own end stays in the frame, which nobody sends.
    fn drop(&mut self) {
        give_back();
    }
}

/// Once, whoever comes first.
fn give_back() {
    if !OURS.swap(false, Relaxed) {
        return;
    }
    line::cut();
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

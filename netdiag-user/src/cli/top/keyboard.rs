//! Keys as they are pressed, from a thread of their own.
use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use tokio::sync::mpsc;

use super::screen::Screen;
use crate::{
    cli::exit,
    top::{App, keys},
};

/// More than anybody types before the next frame.
const WAITING: usize = 64;

pub struct Keyboard {
    events: mpsc::Receiver<Event>,
}

impl Keyboard {
    /// The thread ends with the process: nothing wakes it from waiting for a key.
    pub fn open() -> Self {
        let (to, events) = mpsc::channel(WAITING);
        std::thread::spawn(move || {
            while let Ok(event) = event::read() {
                if to.blocking_send(event).is_err() {
                    break;
                }
            }
        });
        Self { events }
    }

    /// The next one; nothing where the terminal is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// What it and those behind it do to the screen; a code where that is the end.
    pub fn act(
        &mut self,
        first: Option<Event>,
        app: &mut App,
        screen: &mut Screen,
    ) -> Result<Option<i32>> {
        let Some(first) = first else {
            return Ok(Some(exit::HUNG_UP));
        };
        let mut next = Some(first);
        while let Some(event) = next {
            if let Event::Key(key) = event {
                press(&key, app, screen)?;
            }
            if app.ended {
                return Ok(Some(exit::OK));
            }
            next = self.events.try_recv().ok();
        }
        screen.draw(app)?;
        Ok(None)
    }
}

fn press(key: &KeyEvent, app: &mut App, screen: &mut Screen) -> Result<()> {
    let redraw = key.code == KeyCode::Char('l') && key.modifiers == KeyModifiers::CONTROL;
    if redraw {
        return screen.clear();
    }
    if let Some(action) = keys::action(key, app.typing) {
        let leads = app.needs_a_look(action);
        app.apply(action);
        if leads {
            // Where its lines lead is known once they were drawn.
            screen.draw(app)?;
        }
    }
    Ok(())
}

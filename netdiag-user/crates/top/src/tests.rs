//! Whole frames of recorded incidents, whose own clock is the only one there is.
mod frames;
mod hostile;
#[path = "../tests/playing/mod.rs"]
mod playing;
mod sizes;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

pub use self::playing::{PLAIN, frame, played, recorded, without_samples};
use crate::{App, Budget, History, Ink, Source, keys, pipeline::scene::Scene};

/// Presses keys, and looks at the screen after each as a person does.
pub fn press(app: &mut App, size: (u16, u16), codes: &[KeyCode]) -> String {
    let mut shown = frame(app, &PLAIN, size);
    for code in codes {
        let key = KeyEvent::new(*code, KeyModifiers::NONE);
        if let Some(action) = keys::action(&key, app.typing) {
            app.apply(action);
        }
        shown = frame(app, &PLAIN, size);
    }
    shown
}

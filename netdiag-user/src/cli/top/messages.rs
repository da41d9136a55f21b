//! netdiag's own messages while the terminal is a screen: they wait until it is none again, and the
//! last one stands at the screen's foot.
use std::{
    collections::VecDeque,
    io::{Result, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The last ones are kept.
const MOST: usize = 200;

#[derive(Default)]
struct Held {
    lines: VecDeque<String>,
    /// Not shown yet.
    new: Option<String>,
}

/// Nothing where messages go to stderr.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the log writes to: a message at a time.
pub struct Writer;

impl Write for Writer {
    fn write(&mut self, message: &[u8]) -> Result<usize> {
        match held().as_mut() {
            None => std::io::stderr().write_all(message)?,
            Some(held) => {
                let text = String::from_utf8_lossy(message).trim_end().to_owned();
                held.new = Some(text.clone());
                held.lines.push_back(text);
                if held.lines.len() > MOST {
                    held.lines.pop_front();
                }
            }
        }
        Ok(message.len())
    }

    fn flush(&mut self) -> Result<()> {
        std::io::stderr().flush()
    }
}

/// From now on they wait.
pub fn hold() {
    held().get_or_insert_default();
}

/// The one that came last, where it was not taken yet.
pub fn take() -> Option<String> {
    held().as_mut()?.new.take()
}

/// Those that waited are told, and others at once again.
pub fn release() {
    let Some(waited) = held().take() else {
        return;
    };
    for line in waited.lines {
        // Nobody to tell is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_wait_for_the_screen_to_go() {
        hold();
        Writer.write_all(b"one\n").expect("kept");
        Writer.write_all(b"two\n").expect("kept");
        assert_eq!(take().as_deref(), Some("two"));
        assert_eq!(take(), None);
        let kept = held().as_ref().map(|held| held.lines.len());
        assert_eq!(kept, Some(2));
        release();
        assert_eq!(take(), None);
    }
}

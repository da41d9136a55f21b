//! What a key does. The same key means the same on every page where it means anything.
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use netdiag_lang::mark;

use super::tab::Tab;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Quit,
    /// Down by so many rows, or up.
    Move(isize),
    Page(isize),
    First,
    Last,
    Open,
    Back,
    Show(Tab),
    Beside {
        on: bool,
    },
    Sort {
        on: bool,
    },
    Reverse,
    /// Begins to type a filter.
    Filter,
    Type(char),
    Erase,
    /// Takes what was typed as it is.
    Take,
    /// The filter goes.
    Clear,
    Help,
    Unseen,
    Pause,
    /// By so many readings forward, or back.
    Step(isize),
    Begin,
    End,
}

/// Readings that Shift goes at once.
const STRIDE: isize = 10;

/// Nothing where the key means nothing. `typing`: letters go into the filter.
pub fn action(key: &KeyEvent, typing: bool) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return control(key.code);
    }
    match typing {
        true => typed(key.code),
        false => pressed(key.code, key.modifiers.contains(KeyModifiers::SHIFT)),
    }
}

fn control(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char('c') => Some(Action::Quit),
        KeyCode::Char('u') => Some(Action::Clear),
        KeyCode::Char('f') => Some(Action::Page(1)),
        KeyCode::Char('b') => Some(Action::Page(-1)),
        _ => None,
    }
}

fn typed(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char(c) => Some(Action::Type(c)),
        KeyCode::Backspace => Some(Action::Erase),
        KeyCode::Enter => Some(Action::Take),
        KeyCode::Esc => Some(Action::Clear),
        KeyCode::Down => Some(Action::Move(1)),
        KeyCode::Up => Some(Action::Move(-1)),
        _ => None,
    }
}

fn pressed(code: KeyCode, shift: bool) -> Option<Action> {
    let step = if shift { STRIDE } else { 1 };
    Some(match code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
        KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
        KeyCode::PageDown => Action::Page(1),
        KeyCode::PageUp => Action::Page(-1),
        KeyCode::Char('g') => Action::First,
        KeyCode::Char('G') => Action::Last,
        KeyCode::Enter => Action::Open,
        KeyCode::Esc | KeyCode::Backspace => Action::Back,
        KeyCode::Tab => Action::Beside { on: true },
        KeyCode::BackTab => Action::Beside { on: false },
        KeyCode::Char(c @ '1'..='4') => {
            let number = usize::try_from(c.to_digit(10)?).ok()?;
            Action::Show(*Tab::ALL.get(number.checked_sub(1)?)?)
        }
        KeyCode::Char('s') => Action::Sort { on: true },
        KeyCode::Char('S') => Action::Sort { on: false },
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Action::Help,
        KeyCode::Char('n') => Action::Unseen,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Right => Action::Step(step),
        KeyCode::Left => Action::Step(-step),
        KeyCode::Char(']') => Action::Step(STRIDE),
        KeyCode::Char('[') => Action::Step(-STRIDE),
        KeyCode::Home => Action::Begin,
        KeyCode::End => Action::End,
        _ => return None,
    })
}

/// What the help says of them.
pub const HELP: &[(&str, &str)] = &[
    (
        mark!("Up Down j k"),
        mark!("select a row; PgUp PgDn a page, g G the first or last"),
    ),
    (
        "Enter",
        mark!("open the row: a cause, its flows, a flow's way; a pod, hop or reason"),
    ),
    ("Esc", mark!("back; on a table: clear the filter")),
    ("Tab 1 2 3 4", mark!("causes, pods, hops, drop reasons")),
    (
        "s S r",
        mark!("sort by the next or previous column; reverse the order"),
    ),
    (
        "/",
        mark!("show only rows that contain a text; Enter keeps it, Esc clears it"),
    ),
    (mark!("Space p"), mark!("pause, and go on")),
    (
        mark!("Left Right"),
        mark!("one reading back or forward; [ ] ten; Home End first and last"),
    ),
    ("n", mark!("what netdiag does not see here, and why")),
    ("? h", mark!("this help")),
    ("q Ctrl-C", mark!("quit")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn letters_are_typed_where_somebody_types() {
        let quit = press(KeyCode::Char('q'));
        assert_eq!(action(&quit, false), Some(Action::Quit));
        assert_eq!(action(&quit, true), Some(Action::Type('q')));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for typing in [false, true] {
            assert_eq!(action(&interrupt, typing), Some(Action::Quit));
        }
    }

    #[test]
    fn numbers_are_tabs() {
        for (number, tab) in ('1'..).zip(Tab::ALL) {
            let key = press(KeyCode::Char(number));
            assert_eq!(action(&key, false), Some(Action::Show(tab)));
        }
        assert_eq!(action(&press(KeyCode::Char('5')), false), None);
    }

    #[test]
    fn a_key_that_is_let_go_does_nothing() {
        let mut key = press(KeyCode::Enter);
        key.kind = KeyEventKind::Release;
        assert_eq!(action(&key, false), None);
    }
}

//! Any terminal is drawn into, however small, and any key may come at any time.
use crossterm::event::KeyCode;

use super::*;

const KEYS: [KeyCode; 24] = [
    KeyCode::Enter,
    KeyCode::Char('j'),
    KeyCode::Enter,
    KeyCode::PageDown,
    KeyCode::Char('G'),
    KeyCode::Esc,
    KeyCode::Char('2'),
    KeyCode::Enter,
    KeyCode::Char('?'),
    KeyCode::Home,
    KeyCode::Char('n'),
    KeyCode::Esc,
    KeyCode::Esc,
    KeyCode::Char('3'),
    KeyCode::Char('/'),
    KeyCode::Char('v'),
    KeyCode::Enter,
    KeyCode::Char('s'),
    KeyCode::Char('G'),
    KeyCode::End,
    KeyCode::Char('4'),
    KeyCode::Char('g'),
    KeyCode::Char('r'),
    KeyCode::Char(' '),
];

#[test]
fn every_size_is_drawn() {
    let mut app = recorded("firewall-drop.ndr");
    let widths = (1..=90).flat_map(|width| [(width, 5), (width, 24)]);
    let heights = (1..=40).flat_map(|height| [(20, height), (80, height)]);
    for (n, size) in widths
        .chain(heights)
        .chain([(200, 60), (500, 9)])
        .enumerate()
    {
        // Each size meets other keys, and each page other sizes.
        for code in KEYS.iter().skip(n % 3).step_by(3) {
            let key = KeyEvent::new(*code, KeyModifiers::NONE);
            if let Some(action) = keys::action(&key, app.typing) {
                app.apply(action);
            }
            let shown = frame(&mut app, &PLAIN, size);
            assert_eq!(shown.split('\n').count(), usize::from(size.1));
        }
    }
}

#[test]
fn nothing_was_read_yet() {
    let mut app = App::new(History::live(Budget::LIVE), Source::Live);
    for code in KEYS {
        press(&mut app, (80, 24), &[code]);
    }
    let mut app = App::new(History::live(Budget::LIVE), Source::Live);
    let shown = frame(&mut app, &PLAIN, (80, 24));
    assert!(shown.contains("no reading yet"), "{shown}");
}

/// Where too many readings come, the oldest go, or every second one; the screen stays where it was.
#[test]
fn history_is_bounded() {
    let small = Budget {
        readings: 8,
        bytes: usize::MAX,
    };
    let from = recorded("healthy.ndr").history;
    let readings = || (0..from.len()).filter_map(|n| from.get(n).cloned());
    let all = from.len();
    assert!(all > 16, "{all}");
    let mut live = App::new(History::live(small), Source::Live);
    for reading in readings().take(8) {
        live.push(reading.as_ref().clone());
    }
    live.apply(crate::Action::Step(-2));
    let time = live.moment().expect("one").reading.now;
    live.push(from.get(8).expect("one").as_ref().clone());
    assert_eq!(live.moment().expect("one").reading.now, time, "it stays");
    assert_eq!((live.history.len(), live.history.gone()), (8, 1));
    let mut recording = History::recording(small);
    readings().for_each(|reading| recording.push(reading));
    let times = |history: &History| -> Vec<u64> {
        let all = (0..history.len()).filter_map(|n| history.get(n));
        all.map(|it| it.now).collect()
    };
    let (thin, whole) = (times(&recording), times(&from));
    assert!(thin.len() <= 8 && thin.len() > 3, "{thin:?}");
    assert_eq!((thin.first(), thin.last()), (whole.first(), whole.last()));
    assert_eq!(recording.came(), all);
    // Evenly.
    let places: Vec<usize> = thin
        .iter()
        .filter_map(|t| whole.iter().position(|w| w == t))
        .collect();
    let step = places[1] - places[0];
    let steps = places.windows(2).map(|two| two[1] - two[0]);
    assert!(
        steps.take(places.len() - 2).all(|own| own == step),
        "{places:?}"
    );
}

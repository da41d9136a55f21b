//! Recordings as the full screen shows them, for tests within the crate and in a process of their own.
use std::path::Path;

use netdiag_common::config::counter;
use netdiag_diagnosis::diagnoser::Diagnoser;
use netdiag_model::observation::Observation;
use netdiag_pipeline::scene::Scene;
use netdiag_recording::Replay;
use netdiag_top::{App, Budget, History, Ink, Lens, Source, Ways, draw};
use ratatui::{Terminal, backend::TestBackend};
use unicode_width::UnicodeWidthStr;

pub const PLAIN: Ink = Ink {
    colour: false,
    ascii: None,
};

/// All readings of a recording, with each changed before it is judged.
pub fn played(name: &str, change: impl Fn(&mut Scene, &mut Observation)) -> App {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/tests/fixtures/recordings");
    let mut replay = Replay::open(&folder.join(name)).expect("a recording");
    let (mut judge, mut lens) = (Diagnoser::default(), Lens::default());
    let mut app = App::new(History::recording(Budget::RECORDING), Source::Recording);
    while let Some(mut reading) = replay.tick() {
        change(&mut replay.scene, &mut reading);
        let before = app.history.last().cloned();
        let (_, kept) = judge.looked(&replay.scene, &reading, |look| {
            lens.read(look, &Ways::All, before.as_deref())
        });
        app.push(kept);
    }
    app
}

pub fn recorded(name: &str) -> App {
    played(name, |_, _| {})
}

/// Where records of so many packets found no room.
pub fn without_samples(name: &str, samples: u64) -> App {
    played(name, |_, reading| {
        reading.counters[counter::RING_FULL as usize] = samples;
    })
}

/// The screen as text, without the spaces at its lines' ends.
pub fn frame(app: &mut App, ink: &Ink, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let drawn = terminal.draw(|frame| draw(app, ink, frame.buffer_mut()));
    let drawn = drawn.expect("drawn");
    let area = drawn.area;
    let line = |y: u16| {
        let mut text = String::new();
        let mut x = 0;
        while x < area.width {
            let symbol = drawn.buffer[(x, y)].symbol();
            text.push_str(symbol);
            // The cell after a wide character is its other half.
            x += u16::try_from(symbol.width().max(1)).expect("few");
        }
        text.trim_end().to_owned()
    };
    let lines: Vec<String> = (0..area.height).map(line).collect();
    lines.join("\n")
}

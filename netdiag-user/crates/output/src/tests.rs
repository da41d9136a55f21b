//! Recordings of incidents, with names as a stranger may choose them, through every output.
#![expect(clippy::disallowed_methods, reason = "files of the test's own")]
use std::path::Path;

use super::*;
use crate::{
    diagnosis::{diagnoser::Diagnoser, path},
    model::{
        event::LiveEvent,
        flow,
        observation::Observation,
        path::{Path as Way, Wanted},
        pod::{Pod, PodIndex},
        text::is_harmful,
    },
    pipeline::{samples::samples, scene::Scene},
    recording::Replay,
};

/// Clears the screen, sets its title, turns text around, hides, ends lines.
const NASTY: &str =
    "\x1b[2J\x1b]0;t\x07\u{9b}31m\u{202e}\u{2066}\u{200b}\u{2028}\r\n\u{e0041}\u{7f}\x1b[31mX!q";
/// The colour that its end sets.
const COLOUR: &str = "\x1b[31mX!q";

/// What was shown of one incident.
struct Told {
    events: Vec<LiveEvent>,
    verdict: Verdict,
    ways: Vec<Way>,
    drawn: Vec<FlowWay>,
    node: model::node::Node,
    capture: Vec<u8>,
}

fn poison(text: &mut String) {
    if !text.is_empty() && !text.contains(NASTY) {
        text.push_str(NASTY);
    }
}

fn poisoned(scene: &mut Scene) {
    let mut pods: Vec<Pod> = scene.pods.iter().cloned().collect();
    for pod in &mut pods {
        poison(&mut pod.name);
        poison(&mut pod.namespace);
        pod.labels.values_mut().for_each(poison);
        pod.containers.iter_mut().for_each(|c| poison(&mut c.name));
    }
    scene.pods = PodIndex::new(pods);
    poison(&mut scene.node.name);
    poison(&mut scene.node.kernel);
    let links = scene.node.links.iter_mut();
    links.for_each(|link| poison(&mut link.name));
}

fn play(file: &Path) -> Told {
    let mut replay = Replay::open(file).expect("a recording");
    let mut judge = Diagnoser::default();
    let (mut events, mut capture) = (Vec::new(), Vec::new());
    let mut pcap = Pcapng::to(&mut capture).expect("begun");
    let mut last = Observation::default();
    while let Some(reading) = replay.tick() {
        poisoned(&mut replay.scene);
        events.extend(judge.events(&replay.scene, &reading).events);
        pcap.put(&samples(&replay.scene, &reading))
            .expect("written");
        last = reading;
    }
    let scene = &replay.scene;
    events.extend(judge.closing(scene, &last));
    let rows = scene.rows(&last);
    let facts = scene.facts(&rows);
    let findings = judge.evaluated(&facts).findings;
    let way = |key: &netdiag_common::hop::FlowHopKey| {
        let (source, destination) = flow::ends(&key.flow);
        let wanted = |address: std::net::IpAddr| address.to_string().parse::<Wanted>().ok();
        let ends = path::ends(&facts, &wanted(source)?, &wanted(destination)?).ok()?;
        Some(path::path(&facts, ends, &scene.run, &findings))
    };
    let ways = last.flows.iter().filter_map(|(key, _)| way(key)).take(3);
    let verdict = judge.verdict(scene, &last);
    Told {
        ways: ways.collect(),
        drawn: Diagnoser::ways(scene, &last, &verdict.findings),
        verdict,
        node: scene.node.clone(),
        events,
        capture,
    }
}

const FORMATS: [Format; 5] = [
    Format::Table,
    Format::Wide,
    Format::Json,
    Format::Ndjson,
    Format::Yaml,
];

/// Everything that is printed of it in one form.
fn printed(told: &Told, format: Format) -> String {
    let mut sink = Sink::memory(sink::WIDTH);
    let mut live = Live::new(format);
    live.begin(&mut sink, &told.node, 7).expect("told");
    live.events(&mut sink, told.events.clone()).expect("told");
    live.end(&mut sink, &told.verdict).expect("told");
    verdict(&mut sink, &told.verdict, &[], format).expect("told");
    let screen = verdict::screen::render(&told.verdict, &told.drawn, 80, false);
    sink.write(&screen).expect("told");
    paths(&mut sink, &told.ways, (format, false)).expect("told");
    sink.text()
}

fn without_colours(text: &str) -> String {
    let colour = regex::Regex::new("\x1b\\[[0-9;]*m").expect("a pattern");
    colour.replace_all(text, "").into_owned()
}

#[test]
fn no_output_passes_on_what_a_terminal_obeys() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/tests/fixtures/recordings");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("recordings")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "ndr"))
        .collect();
    files.sort();
    let (mut named, mut captured) = (0, 0);
    for file in files.iter().step_by(4) {
        let told = play(file);
        for format in FORMATS {
            let text = printed(&told, format);
            assert!(!text.contains(COLOUR), "{} {format:?}", file.display());
            let plain = without_colours(&text);
            let bad: Vec<char> = plain
                .chars()
                .filter(|c| is_harmful(*c) && *c != '\n')
                .collect();
            assert!(bad.is_empty(), "{} {format:?}: {bad:?}", file.display());
            named += usize::from(plain.to_ascii_lowercase().contains("202e"));
        }
        let text = String::from_utf8_lossy(&told.capture);
        captured += usize::from(text.contains("\\u{202e}"));
        for part in ["\x1b]0;", "\u{202e}", "\u{200b}", "\u{2028}"] {
            assert!(!text.contains(part), "{}: {part:?}", file.display());
        }
    }
    // The names were there to be told.
    assert!(
        named > files.len() / 2 && captured > 0,
        "{named} {captured}"
    );
}

//! `netdiag report`: pages of recordings and of verdicts, as whoever gets one reads them.
mod hostile;
mod page;

use std::{path::Path, process::Command};

use netdiag_tests::{
    netdiag::{command, netdiag, sentence},
    process::{Ended, run},
    recordings,
    workdir::Workdir,
};
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::Value;

const PAIR: [&str; 2] = [
    "vxlan-source-mismatch.worker-1",
    "vxlan-source-mismatch.worker-2",
];

/// As somebody does where the recordings are.
fn report(arguments: &[&str]) -> Ended {
    let mut command = command(&["report"]);
    command.args(arguments).current_dir(recordings::folder());
    run(&mut command)
}

fn written(arguments: &[&str]) -> String {
    let ended = report(arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
    ended.text()
}

fn file(name: &str) -> String {
    format!("{name}.ndr")
}

fn verdict(name: &str) -> Value {
    let file = recordings::file(name).display().to_string();
    netdiag(&["replay", &file, "-o", "json"]).json()
}

/// What Markdown makes of it; panics at anything that leads elsewhere.
fn read_markdown(text: &str, what: &str) -> usize {
    let mut headings = 0;
    for event in Parser::new_ext(text, Options::all()) {
        match event {
            Event::Start(Tag::Heading { .. }) => headings += 1,
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                panic!("{what}: leads to {dest_url}")
            }
            Event::Html(html) | Event::InlineHtml(html) => panic!("{what}: {html}"),
            Event::Start(
                Tag::Emphasis
                | Tag::Strikethrough
                | Tag::BlockQuote(_)
                | Tag::HtmlBlock
                | Tag::FootnoteDefinition(_)
                | Tag::MetadataBlock(_)
                | Tag::Superscript
                | Tag::Subscript,
            )
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::Rule
            | Event::TaskListMarker(_) => panic!("{what}: {event:?}"),
            Event::Text(text) => plain(&text, what),
            _ => {}
        }
    }
    headings
}

/// Plain words, which software looks into for people and places: code it leaves alone.
fn plain(text: &str, what: &str) {
    for sign in ["://", "@all", "#1"] {
        assert!(!text.contains(sign) || in_code(text), "{what}: {text}");
    }
}

/// Text of a block of code comes as such, too: those are commands and pictures.
fn in_code(text: &str) -> bool {
    text.ends_with('\n')
}

#[test]
fn every_recording_makes_both_pages() {
    for name in recordings::names() {
        let read = page::read(&written(&[&file(&name)]), &name);
        let verdict = verdict(&name);
        let findings = verdict["findings"].as_array().expect("a list");
        assert_eq!(read.count("article"), findings.len(), "{name}");
        for finding in findings {
            let summary = finding["summary"].as_str().expect("text");
            assert!(read.text.contains(summary), "{name}: {summary}");
        }
        for row in verdict["not_checked"].as_array().expect("a list") {
            let why = row["why"].as_str().expect("text");
            assert!(read.text.contains(why), "{name}: {why}");
        }
        let markdown = written(&[&file(&name), "-o", "markdown"]);
        assert_eq!(
            read_markdown(&markdown, &name),
            1 + findings.len(),
            "{name}"
        );
    }
}

#[test]
fn the_place_of_death_is_drawn() {
    let read = page::read(&written(&["vxlan-mtu-too-large.ndr"]), "page");
    for words in ["largest 1450 B > limit 1400 B", "packets die here", "bond0"] {
        assert!(read.text.contains(words), "{words}");
    }
    assert!(read.count("svg") > 2, "ways and timelines");
    let read = page::read(&written(&["healthy.ndr"]), "page");
    assert!(read.text.contains("No cause found."));
    assert!(!read.text.contains("die here"));
}

#[test]
fn the_way_is_computed_beside_what_was_counted() {
    let html = written(&[&file("path-broken")]);
    let read = page::read(&html, "page");
    assert!(
        read.text.contains("As computed from what was read"),
        "{}",
        read.text
    );
    let dead = html.matches("<li class=\"dead\">").count();
    assert!(dead > 0, "where it ends is marked");
    assert!(
        html.contains("<details class=\"computed\" open>"),
        "a way that dies is shown at once"
    );
}

#[test]
fn several_nodes_stand_side_by_side() {
    let files = PAIR.map(file);
    let read = page::read(&written(&[&files[0], &files[1]]), "page");
    for words in ["worker-1, worker-2", "Between the nodes", "on worker-2"] {
        assert!(read.text.contains(words), "{words}");
    }
    // The same twice is one node.
    let twice = report(&[&files[0], &files[0], "-o", "markdown"]);
    assert!(!twice.text().contains("worker-1, worker-1"), "{twice:?}");
    let one = written(&[&files[0], &files[1], "--node", "worker-1"]);
    assert!(!page::read(&one, "page").text.contains("worker-2 ·"));
    let none = report(&[&files[0], "--node", "other"]);
    assert_eq!(
        (none.code, sentence(&none).contains("worker-1")),
        (Some(2), true)
    );
}

#[test]
fn markdown_is_as_before() {
    for (name, files) in [
        ("one-cause", vec!["vxlan-mtu-too-large.ndr".to_owned()]),
        ("a-chain", vec![file("sidecar-without-dns")]),
        ("two-nodes", PAIR.map(file).to_vec()),
        ("healthy", vec![file("healthy")]),
    ] {
        let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
        arguments.extend(["-o", "markdown"]);
        let mut settings = insta::Settings::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/report");
        settings.set_snapshot_path(folder);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, written(&arguments)));
    }
}

#[test]
fn a_verdict_is_told_without_what_it_lacks() {
    let workdir = Workdir::new();
    let verdict = verdict("vxlan-mtu-too-large");
    let file = workdir.put("verdict.json", verdict.to_string().as_bytes());
    let read = page::read(&written(&[&file]), "page");
    for words in [
        "hop-by-hop counts and timelines are in recordings",
        "large transfers hang",
    ] {
        assert!(read.text.contains(words), "{words}");
    }
    assert_eq!(read.count("svg"), 0);
    let joined = [recordings::file(PAIR[0]), recordings::file(PAIR[1])];
    let joined = joined.map(|it| it.display().to_string());
    let joined = netdiag(&["replay", &joined[0], &joined[1], "-o", "json"]);
    let file = workdir.put("joined.json", &joined.stdout);
    assert!(written(&[&file]).contains("Between the nodes"));
}

#[test]
fn what_is_no_recording_and_no_verdict_is_refused_in_a_sentence() {
    let workdir = Workdir::new();
    let verdict = verdict("healthy");
    let good = workdir.put("verdict.json", verdict.to_string().as_bytes());
    let mut other = verdict;
    other["schema"] = "netdiag.path/1".into();
    let other = workdir.put("other.json", other.to_string().as_bytes());
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(9 << 20));
    let bad = [
        (workdir.put("empty", b""), "no recording"),
        (workdir.put("junk", b"\x00\xff junk"), "no recording"),
        (workdir.put("half.json", b"{\"schema\""), "no verdict"),
        (workdir.put("list.json", b"[]"), "no verdict"),
        (
            workdir.put("deep.json", &b"[".repeat(100_000)),
            "no verdict",
        ),
        (workdir.put("long.json", long.as_bytes()), "longer than"),
        (other, "netdiag.path/1"),
        (workdir.path("missing").display().to_string(), "cannot read"),
        (workdir.path("").display().to_string(), "folder"),
    ];
    for (file, why) in &bad {
        let ended = report(&[file]);
        assert_eq!(ended.code, Some(3), "{file}: {ended:?}");
        assert!(sentence(&ended).contains(why), "{file}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{file}: {ended:?}");
    }
    for arguments in [
        &[good.as_str(), "healthy.ndr"][..],
        &[&good, "--node", "x"],
        &[&good, "-n", "x"],
        &[&good, "--output-file", &good],
        &[],
    ] {
        let ended = report(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    }
    // None of these has emptied it.
    assert!(written(&[&good, "-o", "markdown"]).contains("healthy"));
}

#[test]
fn hostile_names_stay_text() {
    let workdir = Workdir::new();
    for name in [
        "sidecar-without-dns",
        "firewall-drop",
        "service-stale-endpoint",
    ] {
        let told = verdict(name);
        let (bytes, headings) = (
            recordings::bytes(name),
            told["findings"].as_array().map_or(0, Vec::len) + 1,
        );
        for (n, payload) in hostile::PAYLOADS.iter().enumerate() {
            let what = format!("{name} {payload:?}");
            let recording = workdir.put(&format!("{n}.ndr"), &hostile::recording(&bytes, payload));
            let verdict = workdir.put(
                &format!("{n}.json"),
                hostile::verdict(&told, payload).as_bytes(),
            );
            for file in [&recording, &verdict] {
                let read = page::read(&written(&[file]), &what);
                let shown = payload.contains(['\n', '\u{202e}']) || read.text.contains(payload);
                assert!(shown, "{what} is nowhere on the page");
                let markdown = written(&[file, "-o", "markdown"]);
                let found = read_markdown(&markdown, &what);
                assert!(
                    file != &verdict || found == headings,
                    "{what}: {found} headings"
                );
                let hidden =
                    |c: &char| c.is_control() && *c != '\n' || "\u{202e}\u{200b}".contains(*c);
                assert_eq!(markdown.chars().find(hidden), None, "{what}");
            }
        }
    }
}

#[test]
fn a_page_is_for_a_file_and_not_for_a_terminal() {
    if netdiag_tests::require::find("script").is_none() {
        netdiag_tests::require::say("script");
        return;
    }
    let typed = |form: &str| {
        let line = format!(
            "{} report healthy.ndr -o {form}; echo code $?",
            netdiag_tests::netdiag::binary().display()
        );
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &line, "/dev/null"]);
        terminal.current_dir(recordings::folder());
        run(&mut terminal).text()
    };
    let refused = typed("html");
    assert!(
        refused.contains("--output-file") && refused.contains("code 2"),
        "{refused}"
    );
    assert!(typed("markdown").contains("code 0"));
}

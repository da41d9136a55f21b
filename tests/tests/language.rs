//! Everything that people read, in Chinese; everything that programs read is as it was.
use std::{fs, path::Path};

use netdiag_tests::{netdiag::netdiag, terminal::at_a_terminal};
use regex::Regex;
use unicode_width::UnicodeWidthStr;

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/recordings/");

/// What others said, and what they set: plugins, rules, filters; and a sentence of an old recording.
const KEPT: &[&str] = &[
    "Network plugin returns error: cni plugin not initialized",
    "cni plugin not initialized",
    "netplugin failed with no error message: exit status 1",
    "failed to allocate for range 0: no IP addresses available in range set",
    "udp dport 53 counter packets 4 bytes 348 drop",
    "inet filter lab",
    "100: from all to 10.244.116.0/24 prohibit",
    "tc filter pref 11 handle 0x2 bpf ratelimit",
    "no CRI socket was given or found",
];

/// Lines of a terminal of 24, whose last one the prompt takes.
const LINES: usize = 23;

fn recordings() -> Vec<String> {
    let files = fs::read_dir(RECORDINGS).expect("recordings");
    let files = files.map(|it| it.expect("a file").path().display().to_string());
    let mut files: Vec<String> = files.filter(|it| it.ends_with(".ndr")).collect();
    files.sort();
    files
}

/// Without what nobody translates: others' words, wherever a line is broken in them, commands, what is
/// quoted.
fn spoken(text: &str) -> String {
    let mut text = text.to_owned();
    for kept in KEPT {
        let pattern = regex::escape(kept).replace(' ', r"\s+");
        let kept = Regex::new(&pattern).expect("a pattern");
        text = kept.replace_all(&text, "Q").into_owned();
    }
    let quoted = Regex::new(r#"`[^`\n]*`|'[^'\n]*'|"[^"\n]*"|\$ .*"#).expect("a pattern");
    quoted.replace_all(&text, "Q").into_owned()
}

/// Lines in which three English words follow each other.
fn english(text: &str) -> Vec<String> {
    let words =
        Regex::new(r"(^|[^\w/.-])[a-z]{2,} [a-z]+ [a-z]{2,}([^\w/.-]|$)").expect("a pattern");
    let text = spoken(text);
    let found = text.lines().filter(|line| words.is_match(line));
    found.map(str::to_owned).collect()
}

#[test]
fn english_words_are_found() {
    assert_eq!(english("节点 the packet was dropped").len(), 1);
    assert!(english("运行 `ip route get` 或 '--filter a b c d'").is_empty());
    assert!(english("请看 tcp 10.0.0.1:80 → 10.0.0.2:80").is_empty());
}

#[test]
fn a_screen_of_every_recording_is_chinese_and_fits() {
    for file in recordings() {
        let shown = at_a_terminal(
            &format!("replay {file} --lang zh"),
            "LANG=C.UTF-8 NO_COLOR=1",
        );
        let text = shown.text().replace('\r', "");
        assert!(text.lines().count() <= LINES, "{file}:\n{text}");
        // A command is whole, however long.
        let lines = text.lines().filter(|it| !it.trim_start().starts_with("$ "));
        for line in lines {
            assert!(line.width() <= 80, "{file}: {}: {line}", line.width());
        }
        assert!(
            text.contains("观察") || text.contains("仅检查配置"),
            "{file}:\n{text}"
        );
        assert_eq!(english(&text), [""; 0], "{file}:\n{text}");
    }
}

#[test]
fn the_whole_verdict_of_every_recording_is_chinese() {
    for file in recordings() {
        let wide = netdiag(&["replay", &file, "--lang", "zh", "-o", "wide"]);
        let english_wide = netdiag(&["replay", &file, "--lang", "en", "-o", "wide"]);
        assert_eq!(wide.code, english_wide.code, "{file}: {wide:?}");
        let text = wide.text();
        assert!(text.contains("个钩子"), "{file}:\n{text}");
        assert_eq!(english(&text), [""; 0], "{file}:\n{text}");
    }
}

#[test]
fn programs_read_english() {
    for file in recordings() {
        for form in ["json", "ndjson", "yaml"] {
            let of = |lang| netdiag(&["replay", &file, "-o", form, "--lang", lang]);
            let (english, chinese) = (of("en"), of("zh"));
            assert_eq!(english.code, chinese.code, "{file}");
            assert_eq!(english.text(), chinese.text(), "{file} {form}");
        }
    }
}

/// Who asks for it at a terminal that names no UTF-8 gets its characters, and ASCII strokes.
#[test]
fn without_utf8_strokes_are_ascii_and_characters_are_not_lost() {
    let file = format!("{RECORDINGS}vxlan-mtu-too-large.ndr");
    let shown = at_a_terminal(&format!("replay {file} --lang zh"), "LANG=C NO_COLOR=1");
    let text = shown.text();
    assert!(text.contains("个根因") && text.contains("-X "), "{text}");
    assert!(
        !text.contains('?') && !text.contains(['─', '╳', '…']),
        "{text}"
    );
}

#[test]
fn a_report_is_chinese() {
    let file = format!("{RECORDINGS}firewall-drop.ndr");
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    let to = page.to_str().expect("a name");
    let code = netdiag(&["report", &file, "--lang", "zh", "--output-file", to]).code;
    let english_code = netdiag(&["report", &file, "--lang", "en", "-o", "markdown"]).code;
    assert_eq!(code, english_code);
    let html = fs::read_to_string(Path::new(to)).expect("a page");
    for part in [
        "<html lang=\"zh-CN\">",
        "netdiag 故障报告",
        "逐跳表",
        "时间线",
        "严重",
    ] {
        let part = if part == "严重" && !html.contains(part) {
            "警告"
        } else {
            part
        };
        assert!(html.contains(part), "{part}");
    }
    let markdown = netdiag(&["report", &file, "--lang", "zh", "-o", "markdown"]).text();
    for part in ["**证据**", "**修复**", "| 原因 |", "**未检查**"] {
        assert!(markdown.contains(part), "{part}:\n{markdown}");
    }
    assert!(!markdown.contains("Evidence"), "{markdown}");
}

#[test]
fn a_path_is_chinese() {
    let file = format!("{RECORDINGS}firewall-drop.ndr");
    let verdict = netdiag(&["replay", &file, "-o", "json"]).json();
    let flow = &verdict["findings"][0]["flows"][0];
    let end = |name: &str| flow[name].as_str().expect("an end").to_owned();
    let source = end("source");
    let source = source
        .rsplit_once(':')
        .map_or(source.as_str(), |(host, _)| host);
    let arguments = [
        "replay",
        &file,
        "--path",
        source,
        &end("destination"),
        "--lang",
        "zh",
    ];
    let text = netdiag(&arguments).text();
    for part in ["请求", "跳", "重传", "观察"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert_eq!(english(&text), [""; 0], "{text}");
}

//! The full-screen view on a real terminal: what is shown, what keys do, and that the terminal is as
//! it was afterwards.
use std::process::Command;

use netdiag_tests::{
    netdiag::{binary, netdiag, sentence},
    require,
    tmux::Tmux,
};

#[test]
fn a_recording_is_looked_at_and_left() {
    if require::missing(&["tmux", "stty"]) {
        return;
    }
    let terminal = Tmux::open(80, 24);
    terminal.look("vxlan-mtu-too-large", "top --in");
    let first = terminal.shows("? help");
    assert!(first.contains("CRITICAL  vxlan-mtu-too-large"), "{first}");
    terminal.keys(&["Enter"]);
    terminal.shows("Evidence");
    // The first line leads nowhere: the key goes to the first flow, and then into it.
    terminal.keys(&["Enter", "Enter"]);
    let way = terminal.shows("Request");
    assert!(way.contains("flannel"), "{way}");
    terminal.keys(&["Home"]);
    terminal.shows("reading 1 of");
    terminal.tmux(&["resize-window", "-x", "120", "-y", "40"]);
    terminal.keys(&["2"]);
    terminal.shows("[2 Pods");
    terminal.keys(&["q"]);
    terminal.shows("ended with 0");
    terminal.is_as_before();
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    if require::missing(&["tmux", "stty", "pkill"]) {
        return;
    }
    let terminal = Tmux::open(80, 24);
    terminal.look("firewall-drop", "replay --top");
    terminal.shows("? help");
    let shell = terminal.tmux(&["display", "-p", "#{pane_pid}"]);
    let mut end = Command::new("pkill");
    let ended = end.args(["-TERM", "-P", shell.trim()]).status();
    assert!(ended.expect("pkill").success());
    terminal.shows("ended with 143");
    terminal.is_as_before();
}

#[test]
fn what_is_no_recording_is_a_sentence() {
    if require::missing(&["tmux", "stty"]) {
        return;
    }
    let terminal = Tmux::open(100, 24);
    let missing = format!(
        "{} top --in /nowhere.ndr; echo ended with $?",
        binary().display()
    );
    terminal.keys(&[&missing, "Enter"]);
    let screen = terminal.shows("ended with 3");
    assert!(screen.contains("cannot read /nowhere.ndr"), "{screen}");
}

#[test]
fn without_a_terminal_there_is_nothing_to_draw_on() {
    let ended = netdiag(&["top"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(sentence(&ended).contains("needs a terminal"), "{ended:?}");
    let several = netdiag(&["replay", "--top", "a.ndr", "b.ndr"]);
    assert_eq!(several.code, Some(2), "{several:?}");
    assert!(sentence(&several).contains("one recording"), "{several:?}");
    let often = netdiag(&["top", "--interval", "10ms"]);
    assert_eq!(often.code, Some(2), "{often:?}");
}

/// Says to this very program, started in a terminal, where it is to panic: what is shipped has no way
/// to be asked for that.
const PANICS: &str = "NETDIAG_TEST_PANICS";

fn panics_with_the_screen(place: &str) {
    use netdiag::top::{App, Budget, History, Source};
    let mut screen = netdiag::cli::top::screen::Screen::open().expect("a screen");
    let mut app = App::new(History::live(Budget::LIVE), Source::Live);
    screen.draw(&mut app).expect("drawn");
    if place == "beside" {
        let ended = std::thread::spawn(|| panic!("foreseen by nobody")).join();
        assert!(ended.is_err());
        let next = screen.draw(&mut app).expect_err("no screen any more");
        assert_eq!(next.to_string(), "a thread panicked");
        return;
    }
    panic!("foreseen by nobody");
}

#[test]
fn a_panic_gives_the_terminal_back_and_is_read_there() {
    if let Ok(place) = std::env::var(PANICS) {
        return panics_with_the_screen(&place);
    }
    if require::missing(&["tmux", "stty"]) {
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let name = "a_panic_gives_the_terminal_back_and_is_read_there";
    for (place, code) in [("here", 101), ("beside", 0)] {
        let terminal = Tmux::open(120, 40);
        let program = program.display();
        terminal.run(&format!(
            "RUST_BACKTRACE=0 {PANICS}={place} {program} --exact {name} --nocapture"
        ));
        let screen = terminal.shows(&format!("ended with {code}"));
        assert!(screen.contains("foreseen by nobody"), "{screen}");
        assert!(screen.contains("tests/tests/top.rs:"), "where: {screen}");
        assert!(!screen.contains("netdiag top: no reading yet"), "{screen}");
        terminal.is_as_before();
    }
}

//! The full-screen view on a real terminal: what is shown, what keys do, and that the terminal is as
//! it was afterwards.
use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use netdiag_tests::{
    need,
    netdiag::{binary, netdiag, sentence},
    process::PATIENCE,
    recordings,
};

const LOOK: Duration = Duration::from_millis(50);

/// A tmux of its own with a shell in it.
struct Terminal {
    socket: String,
    folder: tempfile::TempDir,
}

impl Terminal {
    fn open(width: u16, height: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("tmux").display().to_string();
        let terminal = Self { socket, folder };
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", &width, "-y", &height];
        let shell = "env -u NO_COLOR -u LC_ALL LANG=C.UTF-8 PS1='' sh";
        let start = ["-f", "/dev/null", "new-session", "-d"];
        terminal.tmux(&[&start[..], &size, &[shell]].concat());
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-S", &self.socket]).args(arguments);
        let done = command.output().expect("tmux");
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        String::from_utf8(done.stdout).expect("text")
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows it.
    fn shows(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if screen.contains(text) {
                return screen;
            }
            assert!(begun.elapsed() < PATIENCE, "no {text:?}:\n{screen}");
            sleep(LOOK);
        }
    }

    /// `netdiag top --in` of a recording, between two looks at how the terminal is set.
    fn top(&self, recording: &str) {
        self.look(recording, "top --in");
    }

    fn look(&self, recording: &str, how: &str) {
        let file = self.folder.path().join("incident.ndr");
        std::fs::write(&file, recordings::bytes(recording)).expect("written");
        let folder = self.folder.path().display();
        let (program, file) = (binary(), file.display());
        let line = format!(
            "stty -g > {folder}/before; {} {how} {file}; echo ended with $?; \
             stty -g > {folder}/after; echo look''ed",
            program.display()
        );
        self.keys(&[&line, "Enter"]);
    }

    /// Fails where anything of the terminal is not as it was.
    fn is_as_before(&self) {
        // The line as it was typed has quotes in it.
        self.shows("looked");
        let flags = self.tmux(&["display", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(flags.trim(), "0 1", "alternate screen, cursor");
        let [before, after] = ["before", "after"].map(|name| {
            let read = std::fs::read_to_string(self.folder.path().join(name));
            read.expect("what stty says")
        });
        assert_eq!(before, after);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that is gone needs nothing.
        let mut end = Command::new("tmux");
        let _ = end.args(["-S", &self.socket, "kill-server"]).output();
    }
}

#[test]
fn a_recording_is_looked_at_and_left() {
    if need::missing(&["tmux", "stty"]) {
        return;
    }
    let terminal = Terminal::open(80, 24);
    terminal.top("vxlan-mtu-too-large");
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
    if need::missing(&["tmux", "stty", "pkill"]) {
        return;
    }
    let terminal = Terminal::open(80, 24);
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
    if need::missing(&["tmux", "stty"]) {
        return;
    }
    let terminal = Terminal::open(100, 24);
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

//! A terminal as a person has it, by tmux: what is shown, keys, and how it is left.
use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{netdiag::binary, process::PATIENCE, recordings};

const LOOK: Duration = Duration::from_millis(50);

/// A tmux of its own with a shell in it.
pub struct Tmux {
    socket: String,
    folder: tempfile::TempDir,
}

impl Tmux {
    pub fn open(width: u16, height: u16) -> Self {
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

    /// What tmux prints when it is asked so.
    pub fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-S", &self.socket]).args(arguments);
        let done = command.output().expect("tmux");
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        String::from_utf8(done.stdout).expect("text")
    }

    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows it.
    pub fn shows(&self, text: &str) -> String {
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

    /// A command line, between two looks at how the terminal is set.
    pub fn run(&self, line: &str) {
        let folder = self.folder.path().display();
        let line = format!(
            "stty -g > {folder}/before; {line}; echo ended with $?; stty -g > {folder}/after; \
             echo look''ed"
        );
        self.keys(&[&line, "Enter"]);
    }

    /// `netdiag HOW` of a recording.
    pub fn look(&self, recording: &str, how: &str) {
        let file = self.folder.path().join("incident.ndr");
        std::fs::write(&file, recordings::bytes(recording)).expect("written");
        self.run(&format!("{} {how} {}", binary().display(), file.display()));
    }

    /// Fails where anything of the terminal is not as it was.
    pub fn is_as_before(&self) {
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

impl Drop for Tmux {
    fn drop(&mut self) {
        // One that is gone needs nothing.
        let mut end = Command::new("tmux");
        let _ = end.args(["-S", &self.socket, "kill-server"]).output();
    }
}

//! Children that do not outlive their test, and that are waited for with a limit.
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::schema;

/// How an ended process ended.
#[derive(Debug)]
pub struct Ended {
    /// Nothing where a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<String>,
}

impl Ended {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// One JSON object a line, each as its schema says.
    pub fn ndjson(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        let parse = |line| schema::parsed(line).expect("a line of JSON");
        text.lines().map(parse).collect()
    }

    /// A document as its schema says.
    pub fn json(&self) -> serde_json::Value {
        match schema::parsed(&self.text()) {
            Ok(document) => document,
            Err(error) => panic!("no JSON ({error}); {self:?}"),
        }
    }
}

/// How long a test waits for what must come: a busy machine is slow, a hang is for ever, and what a
/// test measures it measures itself.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running process; killed when dropped.
pub struct Process {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Receiver<String>,
    said: Vec<String>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {command:?}: {error}"),
        };
        let mut stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stderr).split(b'\n');
            for line in lines.map_while(Result::ok) {
                // The test may have lost interest.
                let _ = tell.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let stdout = std::thread::spawn(move || {
            let mut all = Vec::new();
            // What was read before an error is worth looking at.
            let _ = stdout.read_to_end(&mut all);
            all
        });
        Self {
            child,
            stdout: Some(stdout),
            stderr: told,
            said: Vec::new(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on stderr.
    pub fn wait_for(&mut self, what: &str, limit: Duration) {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) if line.contains(what) => return,
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("'{what}' was not said within {limit:?}: {:?}", self.said)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without saying '{what}': {:?}", self.said)
                }
            }
        }
    }

    /// Waits for any line on stderr.
    pub fn line(&mut self, limit: Duration) -> String {
        let line = self.stderr.recv_timeout(limit);
        line.expect("it says something in time")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("the process is there");
    }

    /// Waits for its end; kills it and panics when it does not come.
    pub fn end(mut self, limit: Duration) -> Ended {
        let until = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waiting for a child") {
                break status;
            }
            assert!(
                Instant::now() < until,
                "it did not end within {limit:?}: {:?}",
                self.stderr.try_iter().collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        let stdout = self.stdout.take().expect("only taken here");
        let mut stderr = std::mem::take(&mut self.said);
        stderr.extend(self.stderr.iter());
        Ended {
            code: status.code(),
            stdout: stdout.join().expect("the reader does not panic"),
            stderr,
        }
    }

    /// Sends the signal and waits for the end.
    pub fn stop(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.end(PATIENCE)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    Process::start(command).end(PATIENCE)
}

/// Waits until the condition holds.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

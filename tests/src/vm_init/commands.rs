//! Runs the commands one after the other, each to its end and nothing of it left behind.
use std::{
    fs,
    io::Read,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::frames::{FILE, Port, STDERR, STDOUT};

/// What a command leaves here goes out with its result; xtask/src/vm/mod.rs names it too.
const OUT: &str = "/out";

/// As timeout(1) has it.
const TIMED_OUT: i32 = 124;
/// As shells have it.
const NOT_STARTED: i32 = 127;
const REAP_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Plan {
    /// Per command.
    limit: Option<Duration>,
    commands: Vec<Vec<String>>,
}

impl Plan {
    /// The file holds NUL-terminated words: the limit in seconds (0 for none), then per command
    /// the number of its words and the words.
    pub fn read(path: &str) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let mut words = text.split_terminator('\0');
        let limit: u64 = words.next().context("no limit")?.parse().context("limit")?;
        let mut commands = Vec::new();
        while let Some(count) = words.next() {
            let count: usize = count.parse().with_context(|| format!("count {count:?}"))?;
            commands.push(words.by_ref().take(count).map(str::to_owned).collect());
        }
        let limit = (limit > 0).then(|| Duration::from_secs(limit));
        Ok(Self { limit, commands })
    }

    pub fn run(&self, port: &Port) -> Result<()> {
        for words in &self.commands {
            let code = match start(words) {
                Ok(child) => watch(child, self.limit, port)?,
                Err(error) => {
                    port.send(STDERR, format!("{error:#}\n").as_bytes())?;
                    NOT_STARTED
                }
            };
            if let Ok(bytes) = fs::read(OUT) {
                port.send(FILE, &bytes)?;
                fs::remove_file(OUT).context("remove what went out")?;
            }
            port.exit(code)?;
        }
        Ok(())
    }
}

fn start(words: &[String]) -> Result<Child> {
    let (program, args) = words.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(args).env_clear();
    command.envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root")]);
    command.envs([
        ("TERM", "dumb"),
        ("LANG", "C.UTF-8"),
        ("RUST_BACKTRACE", "1"),
    ]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().with_context(|| format!("start {program}"))
}

fn watch(mut child: Child, limit: Option<Duration>, port: &Port) -> Result<i32> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(|| forward(stdout, STDOUT, port));
        scope.spawn(|| forward(stderr, STDERR, port));
        let code = wait(&child, limit);
        // Its orphans hold the pipes; to process 1, -1 is everybody else.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        code
    })
}

fn forward(from: Option<impl Read>, kind: u8, port: &Port) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if let Err(error) = port.send(kind, &buffer[..length]) {
            eprintln!("vm-init: {error:#}");
        }
    }
}

/// Reaps whatever dies, as process 1 must, until the child is among it.
fn wait(child: &Child, limit: Option<Duration>) -> Result<i32> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let start = Instant::now();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(who, code)) if who == pid => return Ok(code),
            Ok(WaitStatus::Signaled(who, signal, _)) if who == pid => {
                return Ok(128 + signal as i32);
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => thread::sleep(REAP_EVERY),
            Ok(_) => {}
            Err(error) => return Err(error).context("wait"),
        }
        if limit.is_some_and(|limit| start.elapsed() > limit) {
            return Ok(TIMED_OUT);
        }
    }
}

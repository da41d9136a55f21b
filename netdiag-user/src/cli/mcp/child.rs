//! A call's own netdiag: asked to end when its time is over or nobody waits for it any more, and killed
//! where it does not.
use std::{ffi::OsString, io::Write, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
};

use crate::model::text;

/// A larger answer is none.
const MOST_BYTES: usize = 8 << 20;
/// Of what it says on stderr.
const MOST_SAID: u64 = 64 << 10;
/// It takes its programs off the node's links meanwhile.
const GRACE: Duration = Duration::from_secs(8);

pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    /// Its last words.
    said: Vec<String>,
}

impl Ran {
    /// Why there is no answer, in one sentence.
    pub fn why(&self) -> String {
        let usage = self.said.iter().find_map(|it| it.strip_prefix("error: "));
        let last = self
            .said
            .iter()
            .rev()
            .find_map(|it| it.strip_prefix("netdiag: "));
        let any = self.said.last().map(String::as_str);
        let why = usage.or(last).or(any).unwrap_or("it ended without a word");
        text::line(why, 1000)
    }
}

/// Runs `netdiag ARGUMENTS`; `gone` is when nobody waits any more.
pub async fn run(
    arguments: &[OsString],
    limit: Duration,
    gone: impl Future<Output = ()>,
) -> Result<Ran, String> {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is for the server, which ends it in its own time.
    command.process_group(0).kill_on_drop(true);
    let child = command.spawn();
    let mut child = child.map_err(|e| format!("netdiag cannot start itself: {e}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (told, said) = (tokio::spawn(whole(stdout)), tokio::spawn(forwarded(stderr)));
    let told = tokio::select! {
        told = told => told.map_err(|e| format!("reading its answer: {e}")),
        () = tokio::time::sleep(limit) => Err(format!("it took longer than {} s", limit.as_secs())),
        () = gone => Err("nobody waits for it any more".to_owned()),
    };
    let told = told.and_then(|told| match told.len() < MOST_BYTES {
        true => Ok(told),
        false => Err("its answer is too large: ask for less".to_owned()),
    });
    if told.is_err() {
        end(&mut child).await;
    }
    let stdout = told?;
    let status = child
        .wait()
        .await
        .map_err(|e| format!("waiting for netdiag: {e}"))?;
    Ok(Ran {
        code: status.code(),
        stdout,
        said: said.await.unwrap_or_default(),
    })
}

/// All that it prints; nothing where that is too much.
async fn whole(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read before an error is no whole document, and is seen not to be.
        let _ = from.take(MOST_BYTES as u64).read_to_end(&mut bytes).await;
    }
    bytes
}

/// Says on this stderr what it says on its own, and keeps the last of it.
async fn forwarded(from: Option<impl AsyncRead + Unpin>) -> Vec<String> {
    let mut said = Vec::new();
    let Some(from) = from else { return said };
    let mut from = BufReader::new(from);
    let mut lines = (&mut from).take(MOST_SAID).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = text::lines(&String::from_utf8_lossy(&line));
        let _ = writeln!(std::io::stderr(), "{line}");
        said.push(line);
    }
    // The rest is for nobody; a full pipe would keep it waiting.
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    said
}

async fn end(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        log::warn!("a call was killed: `netdiag cleanup` removes what it may have left");
        let _ = child.kill().await;
    }
}

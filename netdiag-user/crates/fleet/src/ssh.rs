//! The user's own ssh, where there is no API.
use std::{process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{
    kept::{Kept, Said, both, ended, failed},
    model::shell::quoted,
};

/// It closes the connection meanwhile.
const GRACE: Duration = Duration::from_secs(2);
/// ssh(1): its own failure.
const NO_CONNECTION: i32 = 255;

/// How hosts are reached.
#[derive(Clone, Debug)]
pub struct Remote {
    /// `ssh` and its options.
    pub ssh: Vec<String>,
    /// `netdiag` on the other side, and what gives it its rights.
    pub netdiag: Vec<String>,
}

impl Remote {
    /// Runs it there; its output goes to the file. Gives back why that is not all that was wanted.
    pub async fn run(
        &self,
        host: &str,
        command: &[String],
        to: &mut Kept,
        said: Said,
        limit: Duration,
    ) -> Option<String> {
        let words = self.netdiag.iter().chain(command);
        let line = words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let (program, options) = self.ssh.split_first()?;
        let child = Command::new(program)
            .args(options)
            .args(["-T", "-o", "BatchMode=yes", "--", host])
            .arg(line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for who started it, which ends it in its own time.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return Some(format!("{program} cannot be run: {error}")),
        };
        let mut group = Group(child.id());
        let trouble = ended(limit, streamed(&mut child, to, said)).await;
        // It has ended, and its number may be another's.
        if child.id().is_none() {
            group.0 = None;
        }
        trouble
    }
}

/// What was started with ssh (a ProxyCommand) ends with it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            // It may be gone already.
            let _ = killpg(Pid::from_raw(leader), Signal::SIGTERM);
        }
    }
}

async fn streamed(child: &mut Child, to: &mut Kept, mut said: Said) -> Option<String> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    if let Err(why) = both(stdout, stderr, to, &mut said).await {
        return Some(why);
    }
    let status = match timeout(GRACE, child.wait()).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Some(format!("waiting for ssh: {error}")),
        Err(_) => return Some("ssh did not end with its output".into()),
    };
    let last = said.last();
    let told = |otherwise: String| Some(last.unwrap_or(otherwise));
    match status.code() {
        Some(NO_CONNECTION) => told("ssh could not connect".into()),
        Some(127) => told("there is no netdiag on it".into()),
        Some(code) => failed(code).and_then(told),
        None => Some("ssh was ended by a signal".into()),
    }
}

//! What ends a watch: its time, or a signal.
use std::path::Path;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit;
use crate::sys::file::{self, SMALL};

/// SIGINT, SIGTERM and SIGHUP, caught from now on: a terminal that goes away leaves nothing attached.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None under nohup, which wants it ignored.
    hang_up: Option<Signal>,
}

impl Signals {
    pub fn catch() -> Result<Self> {
        let catch = |kind| signal(kind).context("catching signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hang_up: match ignored(SignalKind::hangup()) {
                true => None,
                false => Some(catch(SignalKind::hangup())?),
            },
        })
    }

    /// Waits for one and gives its exit code.
    pub async fn wait(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => exit::INTERRUPTED,
            _ = self.terminate.recv() => exit::TERMINATED,
            () = hung_up(self.hang_up.as_mut()) => exit::HUNG_UP,
        }
    }
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether whoever started us had it ignored (proc(5), SigIgn).
fn ignored(kind: SignalKind) -> bool {
    let status = file::kernel(Path::new("/proc/self/status"), SMALL).unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
    mask.is_some_and(|m| m >> (kind.as_raw_value() - 1) & 1 == 1)
}

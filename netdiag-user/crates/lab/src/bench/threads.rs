//! A load is two threads: one that sends for a time, one that receives until the other is done.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use super::cpu::{self, Meter};

/// What is on its way when the sender ends arrives within this time.
const SETTLE: Duration = Duration::from_millis(30);

/// What one load came to, in packets, or in bytes of TCP.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Flooded {
    pub sent: u64,
    pub received: u64,
    pub seconds: f64,
    /// CPU time of the two threads and of the kernel's threads for soft interrupts: the kernel
    /// carries a packet through both nodes on these, whatever else runs on the machine.
    pub cpu_seconds: f64,
    /// CPU time of the whole machine.
    pub busy_seconds: f64,
}

/// What an end counted, with the CPU time of its thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub units: u64,
    pub cpu: Duration,
}

/// Lets both ends work, and tells the sender after that time to stop.
pub async fn drive(
    meter: &Meter,
    time: Duration,
    send: impl FnOnce(&AtomicBool) -> Result<u64> + Send + 'static,
    receive: impl FnOnce(&AtomicBool) -> Result<u64> + Send + 'static,
) -> Result<Flooded> {
    let receiver_stop = Stop::default();
    let receiving = receiver_stop.spawn(receive)?;
    let before = meter.read()?;
    let begun = Instant::now();
    let sender_stop = Stop::default();
    let sending = sender_stop.spawn(send)?;
    wait(&sending, time).await;
    drop(sender_stop);
    let sent = join(sending)?;
    let seconds = begun.elapsed().as_secs_f64();
    let used = meter.read()?.since(before);
    tokio::time::sleep(SETTLE).await;
    drop(receiver_stop);
    let received = join(receiving)?;
    Ok(Flooded {
        sent: sent.units,
        received: received.units,
        seconds,
        cpu_seconds: (sent.cpu + received.cpu).as_secs_f64() + used.softirqs,
        busy_seconds: used.busy,
    })
}

/// A sender may be done before its time.
async fn wait<T>(thread: &JoinHandle<T>, time: Duration) {
    let end = Instant::now() + time;
    while !thread.is_finished() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(Duration::from_millis(20))).await;
    }
}

/// A flag that is set when this goes, whatever the reason.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn spawn(
        &self,
        work: impl FnOnce(&AtomicBool) -> Result<u64> + Send + 'static,
    ) -> Result<JoinHandle<Result<Counted>>> {
        let flag = self.0.clone();
        let counted = move || {
            let units = work(&flag)?;
            let cpu = cpu::thread()?;
            Ok(Counted { units, cpu })
        };
        let thread = thread::Builder::new().name("load".to_owned());
        thread.spawn(counted).context("cannot start a thread")
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn join(thread: JoinHandle<Result<Counted>>) -> Result<Counted> {
    thread.join().map_err(|_| anyhow!("a load panicked"))?
}

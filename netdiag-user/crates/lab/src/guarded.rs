//! Child processes that end with what needs them.
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

/// A child that does not outlive its run: it is asked to end and, if it does not, killed.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let Some(pid) = self.0.id() else {
            return;
        };
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        for _ in 0..100 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.start_kill();
    }
}

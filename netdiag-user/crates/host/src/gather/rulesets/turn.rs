//! One program that lists rules at a time, whatever namespace it is of: each takes memory for every
//! rule that it lists.
use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};

static TAKEN: Mutex<bool> = Mutex::new(false);
static FREE: Condvar = Condvar::new();

/// Longer than one program may take.
const PATIENCE: Duration = Duration::from_secs(25);

/// While it lives nobody else lists rules.
pub struct Turn(());

impl Turn {
    pub fn take() -> Result<Self> {
        Self::within(PATIENCE)
    }

    /// For those who have another way.
    pub fn within(patience: Duration) -> Result<Self> {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = FREE.wait_timeout_while(taken, patience, |taken| *taken);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            bail!(
                "other listings of rules took more than {} s",
                patience.as_secs()
            );
        }
        *taken = true;
        Ok(Self(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = false;
        FREE.notify_one();
    }
}

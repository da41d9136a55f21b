//! A descriptor that tells tokio when there is something to read.
#![expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Must be called within a tokio runtime; `fd` does not block.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, and the `AsyncFd`
    // drops it after its registration.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

//! What a program prints, read as it comes: never longer than until its time is up, never more than
//! it may print. What it says on stderr is read beside it, so that it never waits for a reader.
use std::{
    io::{self, Read},
    os::fd::AsFd,
    process::{ChildStderr, ChildStdout},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes of stderr that are kept; its first line tells.
const SAID: usize = 4096;
/// For the last words of a program that is not listened to any more.
const MOMENT: Duration = Duration::from_millis(500);

/// Which limit it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Slow,
    Much,
}

pub struct Output {
    /// None at their ends.
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    said: Vec<u8>,
    until: Instant,
    left: usize,
    broken: Option<Broken>,
}

impl Output {
    pub fn new(out: ChildStdout, err: ChildStderr, until: Instant, most: usize) -> Self {
        Self {
            out: Some(out),
            err: Some(err),
            said: Vec::new(),
            until,
            left: most,
            broken: None,
        }
    }

    pub fn said(&self) -> &[u8] {
        &self.said
    }

    pub fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// Reads on to both ends. Where nobody wants the rest of what it prints, it has a moment to say
    /// why it failed.
    pub fn drain(&mut self, whole: bool) {
        if !whole {
            self.out = None;
            self.until = self.until.min(Instant::now() + MOMENT);
        }
        let mut rest = [0; 1 << 12];
        while self.out.is_some() && matches!(self.read(&mut rest), Ok(1..)) {}
        while self.err.is_some() && self.broken.is_none() && self.wait().is_ok() {}
    }

    fn fail(&mut self, why: Broken) -> io::Error {
        self.broken = Some(why);
        (self.out, self.err) = (None, None);
        io::Error::other("it is not read any further")
    }

    /// Waits for either; true where there is something of stdout's.
    fn wait(&mut self) -> io::Result<bool> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.fail(Broken::Slow));
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let fds = [
            self.out.as_ref().map(AsFd::as_fd),
            self.err.as_ref().map(AsFd::as_fd),
        ];
        let mut fds: Vec<_> = { fds.into_iter().flatten() }
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        let mut ready = fds.iter().map(|fd| fd.any().unwrap_or(true));
        let out = self.out.is_some() && ready.next() == Some(true);
        let err = self.err.is_some() && ready.next() == Some(true);
        drop(fds);
        if err {
            self.listen()?;
        }
        Ok(out)
    }

    fn listen(&mut self) -> io::Result<()> {
        let mut bytes = [0; SAID];
        let Some(err) = &mut self.err else {
            return Ok(());
        };
        let read = err.read(&mut bytes)?;
        if read == 0 {
            self.err = None;
        }
        let kept = read.min(SAID - self.said.len());
        self.said.extend(&bytes[..kept]);
        Ok(())
    }
}

impl Read for Output {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Err(io::Error::other("it is not read any further"));
        }
        loop {
            if self.out.is_none() {
                return Ok(0);
            }
            if !self.wait()? {
                continue;
            }
            let read = match &mut self.out {
                Some(out) => out.read(bytes)?,
                None => 0,
            };
            if read == 0 {
                self.out = None;
            }
            let Some(left) = self.left.checked_sub(read) else {
                return Err(self.fail(Broken::Much));
            };
            self.left = left;
            return Ok(read);
        }
    }
}

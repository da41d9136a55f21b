//! The way to the terminal: a thread of its own writes a frame at a time, so that a slow line (ssh to
//! the other side of the world) delays frames and nothing else. While one is on its way no other is
//! made, and what is left of it when the screen goes is thrown away.
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::termios::{FlushArg, tcflush},
};
use tokio::sync::Notify;

/// How often a line that takes nothing is asked whether the screen has gone meanwhile.
const LOOK: u16 = 20;
/// A thread that writes notices within `LOOK` that it is to stop.
const STOPPED: Duration = Duration::from_millis(500);

/// Of the one terminal that there is: what a panic's hook can reach.
static STATE: State = State {
    busy: AtomicBool::new(false),
    stop: AtomicBool::new(false),
    gone: AtomicBool::new(false),
    written: Notify::const_new(),
};

struct State {
    /// A frame is on its way.
    busy: AtomicBool,
    /// The screen goes.
    stop: AtomicBool,
    /// Nothing can be written to the terminal any more.
    gone: AtomicBool,
    written: Notify,
}

/// Where frames are handed in.
pub struct Line {
    frames: SyncSender<Vec<u8>>,
}

impl Line {
    pub fn open() -> io::Result<Self> {
        STATE.stop.store(false, SeqCst);
        STATE.busy.store(false, SeqCst);
        let terminal = terminal()?;
        let (frames, waiting) = sync_channel(1);
        let thread = std::thread::Builder::new().name("frames".into());
        thread.spawn(move || write(&terminal, &waiting))?;
        Ok(Self { frames })
    }

    pub fn is_busy(&self) -> bool {
        STATE.busy.load(SeqCst)
    }

    /// Sends it on its way; only where none is.
    pub fn send(&self, frame: Vec<u8>) -> io::Result<()> {
        STATE.busy.store(true, SeqCst);
        let sent = self.frames.try_send(frame);
        let gone = STATE.gone.load(SeqCst) || sent.is_err();
        let error = || io::Error::other("the terminal takes nothing any more");
        (!gone).then_some(()).ok_or_else(error)
    }

    /// Waits until none is on its way.
    pub async fn free(&self) {
        while self.is_busy() {
            STATE.written.notified().await;
        }
    }
}

/// Ends the frame that is on its way: what the terminal was not given yet, and what it did not take
/// yet, it never gets.
pub fn cut() {
    STATE.stop.store(true, SeqCst);
    let begun = Instant::now();
    while STATE.busy.load(SeqCst) && begun.elapsed() < STOPPED {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = tcflush(io::stdout(), FlushArg::TCOFLUSH);
    // CAN ends an escape sequence of which only the beginning came (ECMA-48, 8.3.6).
    let _ = io::stdout().write_all(b"\x18");
}

/// The same terminal by a description of its own: stdout's is shared with the shell, which expects
/// that its writes wait.
#[expect(clippy::disallowed_methods, reason = "what it writes to already")]
fn terminal() -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    options.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
    let own = options.open("/proc/self/fd/1");
    // One of another mount namespace cannot be opened again: then writes wait.
    own.or_else(|_| io::stdout().as_fd().try_clone_to_owned().map(File::from))
}

fn write(terminal: &File, waiting: &Receiver<Vec<u8>>) {
    while let Ok(frame) = waiting.recv() {
        if all(terminal, &frame).is_err() {
            STATE.gone.store(true, SeqCst);
        }
        STATE.busy.store(false, SeqCst);
        STATE.written.notify_one();
    }
}

/// As much of it as there is time for.
fn all(mut terminal: &File, mut frame: &[u8]) -> io::Result<()> {
    while !frame.is_empty() && !STATE.stop.load(SeqCst) {
        match terminal.write(frame) {
            Ok(taken) => frame = &frame[taken..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => room(terminal.as_fd())?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Waits for room, or for the next look at what else there is to do.
fn room(terminal: BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = [PollFd::new(terminal, PollFlags::POLLOUT)];
    match poll(&mut polled, PollTimeout::from(LOOK)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

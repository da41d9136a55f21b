//! A program's process: made as alone as it can be, and never left behind.
#![expect(
    unsafe_code,
    reason = "what happens between fork and exec, and wait4, have no safe forms"
)]
use std::{
    ffi::{CStr, CString, OsStr},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl::set_pdeathsig,
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, chdir, chroot, getpid, getppid, setsid},
};

use super::{
    super::capabilities::{self, Right},
    find::Found,
};

/// A killed process is gone after this long, unless the kernel holds it.
const DYING: Duration = Duration::from_secs(1);
/// Processes that the kernel holds though they were killed; beyond that nothing is run any more.
const HELD: usize = 4;
/// Without a handle of the process its end is looked for this often.
const LOOK: u16 = 5;

static STILL_HELD: AtomicUsize = AtomicUsize::new(0);

pub struct Child {
    pid: Pid,
    /// Readable when it has ended (pidfd_open(2), Linux 5.3).
    handle: Option<OwnedFd>,
    ended: Option<(ExitStatus, Duration)>,
}

impl Child {
    pub fn start(
        found: &Found,
        name: &str,
        arguments: &[impl AsRef<OsStr>],
        memory: u64,
        rights: &'static [Right],
    ) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        let held = STILL_HELD.load(Ordering::Relaxed);
        if held >= HELD {
            let why = format!("{held} programs that were ended before still hang in the kernel");
            return Err(io::Error::other(why));
        }
        let parent = getpid();
        let mut command = Command::new(&found.path);
        // Some are many programs in one, which look at the name that they are called by.
        { command.arg0(name).args(arguments) }
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let root = found
            .root
            .as_ref()
            .map(|it| CString::new(it.as_os_str().as_bytes()));
        let root = root.transpose()?;
        let made = move || {
            alone(parent, memory)?;
            root.as_deref().map_or(Ok(()), within)?;
            // Last: another root is entered by a right that the program does not get.
            capabilities::hand_on(rights)
        };
        // SAFETY: `made` allocates nothing and takes no lock: it makes system calls only.
        unsafe { command.pre_exec(made) };
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let piped = || io::Error::other("it has no pipes");
        let out = child.stdout.take().ok_or_else(piped)?;
        let err = child.stderr.take().ok_or_else(piped)?;
        let made = Self {
            pid,
            handle: handle(pid),
            ended: None,
        };
        Ok((made, out, err))
    }

    /// Waits for its end; none where it goes on.
    pub fn end(&mut self, until: Instant) -> Option<ExitStatus> {
        while self.ended.is_none() {
            if has_ended(self.pid) {
                // What it started and left; the number of its group is its own until it is reaped.
                let _ = killpg(self.pid, Signal::SIGKILL);
                self.ended = reap(self.pid);
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let fd = self.handle.as_ref().map(AsFd::as_fd);
            let mut fds: Vec<_> = { fd.into_iter() }
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let timeout = match fds.is_empty() {
                true => PollTimeout::from(LOOK),
                false => left,
            };
            // Interrupted or not: it is looked for again.
            let _ = poll(&mut fds, timeout);
        }
        self.ended.map(|(status, _)| status)
    }

    /// Ends it and what it started, if anything still runs.
    pub fn kill(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let _ = killpg(self.pid, Signal::SIGKILL);
        if self.end(Instant::now() + DYING).is_none() {
            STILL_HELD.fetch_add(1, Ordering::Relaxed);
            let pid = self.pid;
            let wait = move || {
                reap(pid);
                STILL_HELD.fetch_sub(1, Ordering::Relaxed);
            };
            let _ = thread::Builder::new().name("reaper".into()).spawn(wait);
        }
    }

    /// What it took of the processors.
    pub fn cost(&self) -> Duration {
        self.ended.map_or(Duration::ZERO, |(_, cost)| cost)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// That folder is its root from now on.
fn within(root: &CStr) -> io::Result<()> {
    chroot(root)?;
    Ok(chdir(c"/")?)
}

/// Between fork and exec.
fn alone(parent: Pid, memory: u64) -> io::Result<()> {
    setsid()?;
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    limit(Resource::RLIMIT_AS, memory)?;
    limit(Resource::RLIMIT_CORE, 0)?;
    // SAFETY: the path is a C string that lives as long as the program, the descriptor is our own.
    unsafe {
        let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
        if score >= 0 {
            libc::write(score, c"1000".as_ptr().cast(), 4);
            libc::close(score);
        }
    }
    close_others();
    Ok(())
}

fn limit(of: Resource, most: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(of)?;
    let most = most.min(hard);
    Ok(setrlimit(of, most, most)?)
}

/// Whoever started netdiag may have left it files that are no program's business. By a mark, not at
/// once: std still needs the one by which it learns that exec failed.
fn close_others() {
    // SAFETY: neither reads memory of ours.
    unsafe {
        let marked = libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        if marked < 0 {
            // Before Linux 5.11.
            for fd in 3..1024 {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

fn handle(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: it reads no memory; what it gives is a descriptor that nobody else has.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        Some(OwnedFd::from_raw_fd(fd))
    }
}

fn has_ended(pid: Pid) -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(pid), look), Ok(WaitStatus::StillAlive))
}

/// Waits for it; none where somebody else did.
fn reap(pid: Pid) -> Option<(ExitStatus, Duration)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both addresses are valid for writing, and a zeroed rusage is a valid one.
    let (done, usage) = unsafe {
        let done = loop {
            let done = libc::wait4(pid.as_raw(), &raw mut status, 0, usage.as_mut_ptr());
            if done >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break done;
            }
        };
        (done, usage.assume_init())
    };
    let time = |t: libc::timeval| {
        let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    let cost = time(usage.ru_utime) + time(usage.ru_stime);
    (done == pid.as_raw()).then(|| (ExitStatus::from_raw(status), cost))
}

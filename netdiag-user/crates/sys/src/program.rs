//! The one way in which netdiag runs programs of the host's: found by absolute paths that only root
//! can have written, without an environment, for a bounded time, with a bounded output that is read
//! while it is written.
//!
//! In a container, a program that is not there is taken from the node's files, and sees these as its
//! own (chroot(2)).
//!
//! A program runs in the network namespace of the thread that starts it. It is told to end with that
//! thread, is the first to go where memory runs out, and may take only so much of it. Of netdiag's
//! rights it gets those that it works with: it reads what strangers wrote.
mod child;
mod find;
mod output;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsStr,
    fmt,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::OnceLock,
    time::{Duration, Instant},
};

use self::{
    child::Child,
    output::{Broken, Output},
};
use super::{
    capabilities::{NETWORK, Right},
    cost, limits,
};
use crate::model::text;

/// How long a program may take.
const TIME: Duration = Duration::from_secs(10);
/// Bytes that it may print. nft lists 100,000 rules as 38 MiB of JSON.
const OUTPUT: usize = 64 << 20;
/// Characters of what it says on stderr.
const LONGEST: usize = 300;

/// Where programs are looked for that are not here: the node's root, as a container sees it.
static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// From now on a program that is not here is the node's, below that root, and is run in it.
pub fn look_below(root: &Path) {
    if root != Path::new("/") {
        // The first to say so is the one command that there is.
        let _ = ROOT.set(root.to_owned());
    }
}

/// A program of the host's, and what it may take.
#[derive(Clone, Debug)]
pub struct Program {
    name: &'static str,
    folders: Vec<PathBuf>,
    time: Duration,
    output: usize,
    rights: &'static [Right],
}

/// Why a program did not do what it was to do: a sentence each.
#[derive(Debug)]
pub enum Failure {
    NotInstalled(&'static str),
    /// Others than root may put something else in its place.
    Untrusted(&'static str, String),
    NotStarted(&'static str, String),
    TooSlow(&'static str, Duration),
    TooMuch(&'static str, usize),
    /// By its own word.
    Failed(&'static str, String),
    /// It printed what nobody understands.
    Odd(&'static str, String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled(name) => write!(f, "{name} is not installed here"),
            Self::Untrusted(name, why) => write!(f, "{name} is not run: {why}"),
            Self::NotStarted(name, why) => write!(f, "{name} cannot be started: {why}"),
            Self::TooSlow(name, time) => {
                write!(f, "{name} did not end within {:.0} s", time.as_secs_f64())
            }
            Self::TooMuch(name, most) => write!(f, "{name} prints more than {} MiB", most >> 20),
            Self::Failed(name, why) => write!(f, "{name}: {why}"),
            Self::Odd(name, why) => write!(f, "what {name} prints is not understood: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

impl Program {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            folders: find::FOLDERS.iter().map(PathBuf::from).collect(),
            time: TIME,
            output: OUTPUT,
            rights: NETWORK,
        }
    }

    /// It needs these of netdiag's rights, and none of the network's.
    pub fn with(self, rights: &'static [Right]) -> Self {
        Self { rights, ..self }
    }

    pub fn within(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// It prints at most so many bytes.
    pub fn at_most(self, output: usize) -> Self {
        Self { output, ..self }
    }

    #[cfg(test)]
    fn found_in(self, folders: &[PathBuf]) -> Self {
        Self {
            folders: folders.to_vec(),
            ..self
        }
    }

    /// Runs it and hands over what it prints while it prints it. It has failed where it says so, even
    /// if `take` understood what it printed until then.
    pub fn read<T>(
        &self,
        arguments: &[impl AsRef<OsStr>],
        take: impl FnOnce(&mut dyn BufRead) -> anyhow::Result<T>,
    ) -> Result<T, Failure> {
        let root = ROOT.get().map(PathBuf::as_path);
        let found = find::find(self.name, &self.folders, root)?;
        let until = Instant::now() + self.time;
        // Of address space. nft builds the whole of its JSON before it prints it: 800 MiB for 100,000
        // rules.
        let memory = limits::of_a_program();
        let started = Child::start(&found, self.name, arguments, memory, self.rights);
        let (mut child, out, said) =
            started.map_err(|e| Failure::NotStarted(self.name, e.to_string()))?;
        let mut output = Output::new(out, said, until, self.output);
        let taken = take(&mut BufReader::with_capacity(1 << 16, &mut output));
        let limited = |output: &Output| match output.broken() {
            Some(Broken::Much) => Err(Failure::TooMuch(self.name, self.output)),
            Some(Broken::Slow) => Err(Failure::TooSlow(self.name, self.time)),
            None => Ok(()),
        };
        let met = limited(&output);
        if met.is_ok() {
            output.drain(taken.is_ok());
        }
        let status = match output.broken() {
            None => child.end(until),
            Some(_) => None,
        };
        child.kill();
        cost::add(child.cost());
        met?;
        let odd = |e| Failure::Odd(self.name, text::line(&format!("{e:#}"), LONGEST));
        // What it prints was not wanted any more: it may end by that.
        let hung_up = |status: ExitStatus| taken.is_err() && status.signal() == Some(libc::SIGPIPE);
        match status {
            Some(status) if !status.success() && !hung_up(status) => {
                Err(self.failed(&output, status))
            }
            Some(_) => taken.map_err(odd),
            None => {
                let all = taken.map_err(odd)?;
                limited(&output)?;
                drop(all);
                Err(Failure::TooSlow(self.name, self.time))
            }
        }
    }

    fn failed(&self, output: &Output, status: ExitStatus) -> Failure {
        let said = String::from_utf8_lossy(output.said());
        let said = said.lines().map(|line| text::line(line, LONGEST));
        let said = { said }.find(|line| !line.is_empty());
        Failure::Failed(self.name, said.unwrap_or_else(|| status.to_string()))
    }

    /// All that it prints.
    pub fn text(&self, arguments: &[impl AsRef<OsStr>]) -> Result<String, Failure> {
        self.read(arguments, |from| {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
    }
}

//! The way out: `kind, length as u32 little-endian, bytes` over a serial port.
//!
//! xtask/src/vm/frames.rs reads them.
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use nix::sys::termios::{SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr};

pub const STDOUT: u8 = b'o';
pub const STDERR: u8 = b'e';
pub const FILE: u8 = b'f';
const HELLO: u8 = b'h';
const EXIT: u8 = b'x';
const DONE: u8 = b'd';

pub struct Port(Mutex<File>);

impl Port {
    /// Opens the terminal and takes all processing off it: every byte goes as it is.
    pub fn open(path: &str) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .context(path.to_owned())?;
        let mut mode = tcgetattr(&file)?;
        cfmakeraw(&mut mode);
        tcsetattr(&file, SetArg::TCSANOW, &mode)?;
        Ok(Self(Mutex::new(file)))
    }

    pub fn send(&self, kind: u8, bytes: &[u8]) -> Result<()> {
        let length = u32::try_from(bytes.len()).context("frame too long")?;
        let frame = [&[kind][..], &length.to_le_bytes(), bytes].concat();
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&frame).context("write to the host")
    }

    /// Says that the kernel runs, and which.
    pub fn hello(&self) -> Result<()> {
        let release = fs::read("/proc/sys/kernel/osrelease")?;
        self.send(HELLO, release.trim_ascii())
    }

    pub fn exit(&self, code: i32) -> Result<()> {
        self.send(EXIT, &code.to_le_bytes())
    }

    /// All commands have run; returns when the last byte has left.
    pub fn done(&self) -> Result<()> {
        self.send(DONE, &[])?;
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tcdrain(&*file).context("drain the port")
    }
}

//! What comes out of a VM: `kind, length as u32 little-endian, bytes`.
//!
//! tests/src/vm_init/frames.rs writes them.
use std::io::{self, Read};

use anyhow::{Context, Result, bail};

#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// The kernel runs; its release.
    Hello(String),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The file that the command left to be taken out.
    File(Vec<u8>),
    /// One command ended.
    Exit(i32),
    /// All commands ended.
    Done,
}

/// The next frame, or None when the VM is gone.
pub fn read(from: &mut impl Read) -> Result<Option<Frame>> {
    let mut head = [0; 5];
    match from.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done.context("read from the VM")?,
    }
    let [kind, length @ ..] = head;
    let length = u64::from(u32::from_le_bytes(length));
    let mut bytes = Vec::new();
    from.take(length)
        .read_to_end(&mut bytes)
        .context("read from the VM")?;
    if bytes.len() as u64 != length {
        return Ok(None);
    }
    frame(kind, bytes).map(Some)
}

fn frame(kind: u8, bytes: Vec<u8>) -> Result<Frame> {
    Ok(match kind {
        b'h' => Frame::Hello(String::from_utf8_lossy(&bytes).into_owned()),
        b'o' => Frame::Stdout(bytes),
        b'e' => Frame::Stderr(bytes),
        b'f' => Frame::File(bytes),
        b'x' => Frame::Exit(i32::from_le_bytes(
            bytes.try_into().ok().context("exit code")?,
        )),
        b'd' => Frame::Done,
        other => bail!("the VM sent a frame of kind {other}, which is not one"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_init_writes() {
        let mut wire = &b"o\x03\0\0\0a\nb"[..];
        assert_eq!(
            read(&mut wire).ok().flatten(),
            Some(Frame::Stdout(b"a\nb".to_vec()))
        );
        let mut wire = &b"x\x04\0\0\0\x03\0\0\0d\0\0\0\0"[..];
        assert_eq!(read(&mut wire).ok().flatten(), Some(Frame::Exit(3)));
        assert_eq!(read(&mut wire).ok().flatten(), Some(Frame::Done));
        assert_eq!(read(&mut wire).ok().flatten(), None);
    }

    #[test]
    fn a_cut_frame_is_the_end() {
        assert_eq!(read(&mut &b"o\x09\0\0\0abc"[..]).ok().flatten(), None);
    }
}

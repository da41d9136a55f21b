//! The lab's scenarios in a VM.
use anyhow::Result;

use super::{frames::Frame, kernels::Kernel, pack, qemu};
use crate::{
    build::Static,
    sh::tell,
    test::{scenarios, tally::Tally},
};

/// What one command did.
#[derive(Default, Debug)]
struct Ran {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    code: Option<i32>,
}

/// Every scenario in as few boots as possible: one, unless the kernel dies on the way.
pub fn scenarios(
    guest: &Static,
    kernel: &Kernel,
    names: &[String],
    tally: &mut Tally,
) -> Result<()> {
    let mut left = names;
    while !left.is_empty() {
        let commands: Vec<_> = left.iter().map(|name| scenarios::args(name)).collect();
        let initramfs = pack(guest, kernel, Some(scenarios::LIMIT), &commands)?;
        let mut count = 0;
        let mut ran = Ran::default();
        let limit = scenarios::LIMIT.saturating_mul(u32::try_from(left.len())?);
        let ended = qemu::boot(kernel, &initramfs, Some(limit), &mut |frame| match frame {
            Frame::Stdout(bytes) => ran.stdout.extend(bytes),
            Frame::Stderr(bytes) => ran.stderr.extend(bytes),
            Frame::Exit(code) => {
                ran.code = Some(code);
                record(kernel, &left[count], std::mem::take(&mut ran), tally);
                count += 1;
            }
            Frame::Hello(_) | Frame::Done => {}
        });
        left = &left[count..];
        if let (Err(error), Some((name, rest))) = (ended, left.split_first()) {
            tell(String::from_utf8_lossy(&ran.stderr).trim_end());
            tally.fail(&title(kernel, name), &format!("{error:#}"));
            left = rest;
        }
    }
    Ok(())
}

fn record(kernel: &Kernel, name: &str, ran: Ran, tally: &mut Tally) {
    scenarios::record(
        tally,
        &title(kernel, name),
        ran.code,
        &ran.stdout,
        &ran.stderr,
    );
}

fn title(kernel: &Kernel, name: &str) -> String {
    format!("vm {} {name}", kernel.name)
}

//! The lab's scenarios in a VM.
use std::time::Duration;

use anyhow::Result;

use super::{OUT, frames::Frame, kernels::Kernel, pack, qemu};
use crate::{
    build::Guest,
    jobs,
    sh::tell,
    test::{scenarios, tally::Tally},
};

/// What one command did.
#[derive(Default, Debug)]
struct Ran {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    file: Vec<u8>,
    code: Option<i32>,
}

/// One takes half of it under emulation, and one may take as long as there is patience for.
const USUAL: Duration = Duration::from_secs(80);

/// Emulation is one thread a VM, and this machine has few.
const JOBS: usize = 2;

/// Those scenarios under those kernels, side by side; a VM that cannot be had fails.
pub fn scenarios(guest: &Guest, runs: &[(Kernel, &[String])], tally: &mut Tally) {
    let work = |(kernel, names): &(Kernel, &[String])| {
        let mut own = Tally::default();
        if let Err(error) = each(guest, kernel, (names, &[]), &mut own, &mut |_, _| Ok(())) {
            own.fail(&format!("the VM of {}", kernel.name), &format!("{error:#}"));
        }
        own
    };
    jobs::side_by_side(&shares(runs), JOBS, work, |_, own| tally.merge(own));
}

/// Each run in as many parts as go side by side, each with files of its own.
fn shares<'a>(runs: &[(Kernel, &'a [String])]) -> Vec<(Kernel, &'a [String])> {
    let mut shares = Vec::new();
    for (kernel, names) in runs {
        for some in names.chunks(names.len().div_ceil(JOBS).max(1)) {
            shares.push((kernel.clone().beside(shares.len()), some));
        }
    }
    shares
}

/// Every scenario in as few boots as possible (one, unless the kernel dies on the way), with the
/// recordings of those that passed handed to `keep`.
pub fn recordings(
    guest: &Guest,
    kernel: &Kernel,
    names: &[String],
    tally: &mut Tally,
    keep: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
) -> Result<()> {
    each(guest, kernel, (names, &["--record", OUT]), tally, keep)
}

fn each(
    guest: &Guest,
    kernel: &Kernel,
    (names, more): (&[String], &[&str]),
    tally: &mut Tally,
    keep: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
) -> Result<()> {
    let args = |name: &String| {
        let more = more.iter().chain(patience(name));
        let more = more.map(|it| (*it).to_owned());
        let args: Vec<String> = scenarios::args(name).into_iter().chain(more).collect();
        super::of_netdiag(&args)
    };
    let mut left = names;
    while !left.is_empty() {
        let commands: Vec<_> = left.iter().map(args).collect();
        let initramfs = pack(guest, kernel, Some(scenarios::LIMIT), &commands)?;
        let mut passed = Vec::new();
        let mut count = 0;
        let mut ran = Ran::default();
        let limit = scenarios::LIMIT + USUAL.saturating_mul(u32::try_from(left.len())?);
        let ended = qemu::boot(kernel, &initramfs, Some(limit), &mut |frame| match frame {
            Frame::Stdout(bytes) => ran.stdout.extend(bytes),
            Frame::Stderr(bytes) => ran.stderr.extend(bytes),
            Frame::File(bytes) => ran.file = bytes,
            Frame::Exit(code) => {
                ran.code = Some(code);
                let ran = std::mem::take(&mut ran);
                record(kernel, &left[count], &ran, tally);
                if code == 0 {
                    passed.push((&left[count], ran.file));
                }
                count += 1;
            }
            Frame::Hello(_) | Frame::Done => {}
        });
        for (name, file) in &passed {
            keep(name, file)?;
        }
        left = &left[count..];
        if let (Err(error), Some((name, rest))) = (ended, left.split_first()) {
            tell(String::from_utf8_lossy(&ran.stderr).trim_end());
            tally.fail(&title(kernel, name), &format!("{error:#}"));
            left = rest;
        }
    }
    Ok(())
}

/// Programs that list rules take seconds under emulation. A fault that is named ends the run, so
/// that this costs nothing; a healthy node is watched for as long as is told.
fn patience(form: &str) -> &'static [&'static str] {
    let nothing_to_find = ["healthy", "noise"].contains(&form) || form.contains("--healthy");
    if nothing_to_find {
        &[]
    } else {
        &["--duration", "40s"]
    }
}

fn record(kernel: &Kernel, name: &str, ran: &Ran, tally: &mut Tally) {
    let title = title(kernel, name);
    scenarios::record(tally, &title, ran.code, &ran.stdout, &ran.stderr);
}

fn title(kernel: &Kernel, name: &str) -> String {
    format!("vm {} {name}", kernel.name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::arch::Arch, *};

    #[test]
    fn every_scenario_is_in_one_share_with_files_of_its_own() {
        let kernel = Kernel {
            name: "6.1".to_owned(),
            arch: Arch::here(),
            image: "vmlinuz".into(),
            modules: Vec::new(),
            emulated_cpus: 1,
            smp: None,
            scratch: Path::new("vm/6.1").to_owned(),
        };
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let runs = [(kernel.clone(), &names[..3]), (kernel, &names[3..])];
        let shares = shares(&runs);
        let of_each: Vec<_> = shares.iter().map(|(_, names)| names.join(" ")).collect();
        assert_eq!(of_each, ["a b", "c", "d"]);
        let mut folders: Vec<_> = shares.iter().map(|(kernel, _)| &kernel.scratch).collect();
        folders.dedup();
        assert_eq!(folders.len(), 3);
    }
}

//! Boots a kernel in QEMU and hands on the frames that come out.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    accel::{self, Accel},
    frames::{self, Frame},
    kernels::Kernel,
};
use crate::{
    setup::apt,
    sh::{say, which},
};

/// A kernel under KVM is up in two seconds, or never.
const KVM_PATIENCE: Duration = Duration::from_secs(15);
const TCG_PATIENCE: Duration = Duration::from_secs(180);
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// Runs the VM to its end; `limit` is for everything after the boot.
pub fn boot(
    kernel: &Kernel,
    initramfs: &Path,
    limit: Option<Duration>,
    sink: &mut dyn FnMut(Frame),
) -> Result<()> {
    let machine = kernel.arch.machine();
    if which(machine.qemu).is_none() {
        apt::install(&[machine.package], "QEMU, which boots other kernels")?;
    }
    if kernel.arch.is_here() && accel::kvm_may_work() {
        match Vm::start(kernel, initramfs, Accel::Kvm) {
            Ok(vm) => return vm.drain(limit, sink),
            Err(error) => {
                say(&format!(
                    "KVM does not run this kernel ({error:#}); emulating instead"
                ));
                accel::remember_that_kvm_fails();
            }
        }
    }
    Vm::start(kernel, initramfs, Accel::Tcg)?.drain(limit, sink)
}

struct Vm {
    process: Child,
    frames: Receiver<Result<Frame>>,
    console: PathBuf,
}

impl Vm {
    /// Returns when the kernel inside has said that it runs.
    fn start(kernel: &Kernel, initramfs: &Path, accel: Accel) -> Result<Self> {
        let console = initramfs.with_file_name("console.log");
        let parts = kernel.arch.machine();
        let mut command = qemu(parts.qemu);
        command
            .args(machine(kernel, accel))
            .arg("-kernel")
            .arg(&kernel.image);
        command.arg("-initrd").arg(initramfs);
        command
            .arg("-serial")
            .arg(format!("file:{}", console.display()));
        // The frames; a terminal must not be put into raw mode for them.
        command.args(["-chardev", "stdio,id=frames,signal=off"]);
        command.args(parts.port);
        let log = fs::File::create(initramfs.with_file_name("qemu.log"))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut process = command
            .spawn()
            .with_context(|| format!("start {}", parts.qemu))?;
        let stdout = process.stdout.take().context("QEMU's stdout")?;
        let vm = Self {
            process,
            frames: reader(stdout),
            console,
        };
        let patience = if accel == Accel::Kvm {
            KVM_PATIENCE
        } else {
            TCG_PATIENCE
        };
        match vm.next(Instant::now() + patience)? {
            Some(Frame::Hello(release)) => say(&format!("kernel {release} runs ({accel:?})")),
            other => bail!("{}", vm.died(&format!("it said {other:?} first"))),
        }
        Ok(vm)
    }

    fn drain(self, limit: Option<Duration>, sink: &mut dyn FnMut(Frame)) -> Result<()> {
        let end = Instant::now() + limit.unwrap_or(FOREVER);
        loop {
            match self.next(end)? {
                Some(Frame::Done) => return Ok(()),
                Some(frame) => sink(frame),
                None => bail!("{}", self.died("it ended before its commands did")),
            }
        }
    }

    fn next(&self, end: Instant) -> Result<Option<Frame>> {
        match self
            .frames
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            Ok(frame) => frame.map(Some),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("{}", self.died("it took too long")),
        }
    }

    /// Why, with the last words of the kernel.
    fn died(&self, why: &str) -> String {
        let console = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&console).into_owned();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n");
        format!(
            "{why}; the console ({}) ends:\n{tail}",
            self.console.display()
        )
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// QEMU, which dies with us where setpriv(1) is there to see to it.
fn qemu(program: &str) -> Command {
    if which("setpriv").is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

fn machine(kernel: &Kernel, accel: Accel) -> Vec<String> {
    // With a thread a CPU, one of them may go on for ever with an instruction that another has
    // rewritten meanwhile: the kernel does that whenever a hook is the first of its kind (static keys).
    let (name, cpus) = match accel {
        Accel::Kvm => ("kvm", 2),
        Accel::Tcg => ("tcg,thread=single", kernel.emulated_cpus),
    };
    let parts = kernel.arch.machine();
    // A panic ends QEMU: it reboots at once, and that is not allowed. So does an oops, which would pass
    // unnoticed otherwise.
    // From level 5 on the console shows where a CPU stalls.
    // The last word tells the lab that this machine is its own (netdiag-user/crates/lab/src/needs.rs).
    let line = format!(
        "{} quiet loglevel=5 oops=panic panic=-1 rdinit=/init netdiag.own_machine",
        parts.line
    );
    let fixed = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-m",
        "2048",
    ];
    let fixed = fixed.iter().chain(parts.fixed);
    let mut args: Vec<_> = fixed.map(|it| (*it).to_owned()).collect();
    let cpu = kernel.arch.cpu(accel);
    for (key, value) in [("-accel", name), ("-cpu", cpu), ("-append", &line)] {
        args.extend([key.to_owned(), value.to_owned()]);
    }
    let cpus = kernel.smp.clone().unwrap_or(cpus.to_string());
    args.extend(["-smp".to_owned(), cpus]);
    args
}

fn reader(mut stdout: impl std::io::Read + Send + 'static) -> Receiver<Result<Frame>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        while let Some(frame) = frames::read(&mut stdout).transpose() {
            let is_last = frame.is_err();
            if sender.send(frame).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

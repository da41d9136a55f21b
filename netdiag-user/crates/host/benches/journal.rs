//! What it costs to hear a hundred changes a second: fifty routes and fifty rules of nf_tables, evenly, in a network
//! namespace of their own.
//!
//! ```console
//! # cargo bench -p netdiag-host --bench journal
//! ```
use std::{
    io::{self, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use netdiag_host::journal::Journal;
use nix::{
    sched::{CloneFlags, unshare},
    time::{ClockId, clock_gettime},
};

const SECONDS: u32 = 20;
/// Of each kind.
const A_SECOND: u32 = 50;
/// A reading asks for what changed.
const READING: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    // Whoever changes things is a child of this thread's.
    unshare(CloneFlags::CLONE_NEWNET)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let quiet = runtime.block_on(heard(|| Ok(())))?;
    let busy = runtime.block_on(heard(change))?;
    let mut out = io::stdout().lock();
    writeln!(out, "nothing changes: {quiet}")?;
    writeln!(out, "{} changes a second: {busy}", 2 * A_SECOND)
}

/// What this thread takes of a core while that goes on elsewhere, and what it has kept.
async fn heard(what: fn() -> io::Result<()>) -> io::Result<String> {
    let journal = Journal::open();
    let (began, since) = (on_cpu()?, Instant::now());
    let changing = thread::spawn(what);
    let mut kept = 0;
    while since.elapsed() < Duration::from_secs(SECONDS.into()) {
        tokio::time::sleep(READING).await;
        kept = journal.changes().len();
    }
    let took = on_cpu()? - began;
    let share = 100.0 * took.as_secs_f64() / since.elapsed().as_secs_f64();
    changing
        .join()
        .map_err(|_| io::Error::other("the changes panicked"))??;
    Ok(format!("{share:.3} % of a core, {kept} changes kept"))
}

/// Of this thread.
fn on_cpu() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn change() -> io::Result<()> {
    let mut ip = fed("ip", &["-batch", "-"])?;
    let mut nft = fed("nft", &["-i"])?;
    let (mut routes, mut rules) = (written(&mut ip)?, written(&mut nft)?);
    writeln!(routes, "link set lo up")?;
    writeln!(rules, "add table inet changes; add chain inet changes came")?;
    for n in 0..SECONDS * A_SECOND {
        let (to, verb) = (n / 2 % 256, ["add", "del"][n as usize % 2]);
        writeln!(routes, "route {verb} 198.51.100.{to}/32 dev lo")?;
        writeln!(
            rules,
            "add rule inet changes came tcp dport {} counter drop",
            n + 1
        )?;
        routes.flush()?;
        rules.flush()?;
        thread::sleep(Duration::from_secs(1) / A_SECOND);
    }
    drop((routes, rules));
    ip.wait()?;
    nft.wait()?;
    Ok(())
}

fn fed(program: &str, arguments: &[&str]) -> io::Result<Child> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    command.spawn()
}

fn written(child: &mut Child) -> io::Result<impl Write + use<>> {
    child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("no standard input"))
}

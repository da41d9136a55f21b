//! What each program of netdiag's is to each kernel, held against the table in
//! netdiag-ebpf/programs.tsv: `cargo xtask programs` says what has grown, `--write` writes it anew.
pub mod page;
mod sizes;
mod table;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    build::{Guest, Profile},
    r#gen, jobs, paths,
    setup::Way,
    sh::say,
    test::tally::Tally,
    vm::{self, kernels},
};
use table::Table;

/// A VM carries one CPU, and this machine has few.
const JOBS: usize = 2;

/// What to do where it must be so.
const ALLOW: &str = "if it must be so, `cargo xtask programs --write`";

const DOCTOR: [&str; 4] = ["doctor", "--programs", "-o", "json"];

#[derive(Args)]
pub struct Options {
    /// Write the figures as they are now, instead of comparing
    #[arg(long)]
    write: bool,
}

pub fn command(via: Option<Way>, options: &Options) -> Result<ExitCode> {
    let guest = vm::prepare(via, Profile::Dev)?;
    if options.write {
        return write(&guest).map(|()| ExitCode::SUCCESS);
    }
    let mut tally = Tally::default();
    all(&guest, &mut tally);
    Ok(tally.close())
}

/// One test a kernel: every program loads, and none has grown by more than the table allows.
pub fn all(guest: &Guest, tally: &mut Tally) {
    let table = match read() {
        Ok(table) => table,
        Err(error) => return tally.fail("programs", &format!("{error:#}")),
    };
    each(guest, |kernel, measured| {
        let title = format!("programs on {kernel}");
        match measured {
            Ok(now) => match table.of(kernel).grown(&now) {
                grown if grown.is_empty() => tally.pass(&title),
                grown => tally.fail(&title, &format!("{}; {ALLOW}", grown.join("; "))),
            },
            Err(error) => tally.fail(&title, &format!("{error:#}")),
        }
    });
    sizes::test(guest, tally);
}

/// A kernel that fails leaves the file as it was.
fn write(guest: &Guest) -> Result<()> {
    let mut table = Table::default();
    let mut failed = Vec::new();
    each(guest, |kernel, measured| match measured {
        Ok(now) => table.add(now),
        Err(error) => failed.push(format!("{kernel}: {error:#}")),
    });
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    fs::write(path(), table.to_string()).context("writing the table")?;
    say(&format!("{} is written", path().display()));
    r#gen::write()
}

pub fn read() -> Result<Table> {
    let path = path();
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Table::parse(&text).with_context(|| path.display().to_string())
}

fn path() -> PathBuf {
    paths::root().join("netdiag-ebpf/programs.tsv")
}

/// Boots every kernel and has its figures.
fn each(guest: &Guest, mut finish: impl FnMut(&str, Result<Table>)) {
    let names = kernels::names();
    let work = |name: &&str| measure(guest, name);
    jobs::side_by_side(&names, JOBS, work, |name, measured| finish(name, measured));
}

fn measure(guest: &Guest, kernel: &str) -> Result<Table> {
    // Maps grow with the CPUs.
    let machine = kernels::fetch(kernel)?.with_cpus("1");
    let said = vm::ask(guest, &machine, &DOCTOR)?;
    let told = serde_json::from_slice(&said.stdout).with_context(|| said.why())?;
    table::of_doctor(kernel, &told)
}

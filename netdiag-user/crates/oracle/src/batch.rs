//! Lines of programs, and sysctls, in the namespace that this thread is in.
use std::{
    io::{ErrorKind, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Runs ip(8) with these lines in this thread's namespace.
pub fn batch(family: &str, lines: &[String], all_must: bool) -> Result<()> {
    batch_of("ip", &[family], lines, all_must)
}

pub fn batch_of(program: &str, options: &[&str], lines: &[String], all_must: bool) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let options = [options, &["-force", "-batch", "-"]].concat();
    let output = fed(program, &options, &lines.join("\n"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !all_must || output.status.success(),
        "{program} refused a line: {said}"
    );
    Ok(())
}

/// Runs a program that reads nothing.
pub fn run(program: &str, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(program).args(arguments).output();
    output.with_context(|| format!("running {program}"))
}

/// Runs a program that is given these lines to read.
pub fn fed(program: &str, arguments: &[&str], lines: &str) -> Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {program}"))?;
    let given = child.stdin.take().map_or(Ok(()), |mut input| {
        input.write_all(lines.as_bytes())?;
        input.write_all(b"\n")
    });
    match given {
        // One that had enough before the end says so by its status.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(child.wait_with_output()?),
    }
}

pub fn write(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    std::fs::write(&path, value).with_context(|| format!("writing {}", path.display()))
}

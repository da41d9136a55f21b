//! The parts of the README that come from code, and the check that they are not stale.
use std::fs;

use anyhow::{Context, Result};

use crate::{bench, paths, test::scenarios, vm::kernels};

/// Writes the generated parts, and the chart that one of them shows.
pub fn write() -> Result<()> {
    let path = paths::root().join("README.md");
    let text = fs::read_to_string(&path).context("reading README.md")?;
    fs::write(&path, render(&text)?).context("writing README.md")?;
    match bench::generated()?.1 {
        Some(chart) => fs::write(bench::chart_file(), chart).context("writing the chart"),
        None => Ok(()),
    }
}

/// Fails when a generated part is not what the code says.
pub fn check() -> Result<()> {
    let text = fs::read_to_string(paths::root().join("README.md")).context("reading README.md")?;
    anyhow::ensure!(
        render(&text)? == text,
        "README.md is stale: run `cargo xtask gen` and commit it"
    );
    let chart = fs::read_to_string(bench::chart_file()).ok();
    anyhow::ensure!(
        bench::generated()?.1 == chart,
        "the chart of the cost is stale: run `cargo xtask gen` and commit it"
    );
    Ok(())
}

fn render(text: &str) -> Result<String> {
    let text = replace(text, "causes", &causes()?)?;
    let text = replace(&text, "kernels", &kernels())?;
    replace(&text, "cost", &bench::generated()?.0)
}

fn replace(text: &str, part: &str, table: &str) -> Result<String> {
    let begin = format!("<!-- {part}: begin (cargo xtask gen) -->\n");
    let end = format!("<!-- {part}: end -->");
    let (before, rest) = text
        .split_once(&begin)
        .with_context(|| format!("README.md has no {part}"))?;
    let (_, after) = rest
        .split_once(&end)
        .with_context(|| format!("README.md's {part} has no end"))?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

/// Public name and title of each cause, from the cause's own file.
fn causes() -> Result<String> {
    let mut rows = Vec::new();
    let dir = paths::root().join("netdiag-user/diagnosis/src/causes");
    for entry in fs::read_dir(&dir).context("reading the causes")? {
        let path = entry?.path();
        // A folder holds what causes share.
        if path.is_dir() {
            continue;
        }
        let source = fs::read_to_string(path).context("reading a cause")?;
        let value = |name: &str| {
            let line = source
                .lines()
                .find(|l| l.starts_with(&format!("pub const {name}: &str = ")))?;
            line.split('"').nth(1).map(str::to_owned)
        };
        if let (Some(id), Some(title)) = (value("ID"), value("TITLE")) {
            rows.push(format!("| `{id}` | {title} |\n"));
        }
    }
    rows.sort();
    Ok(format!(
        "| cause | what it means |\n|---|---|\n{}",
        rows.concat()
    ))
}

fn kernels() -> String {
    let row = |line: &kernels::Line| {
        let tested = if line.name == kernels::TESTED {
            let more = scenarios::ALWAYS.len();
            format!(
                "what the host's kernel lacks and {more} runs more by `cargo xtask test`, all by \
                 `cargo xtask vm`"
            )
        } else {
            "can be booted by `cargo xtask vm`, not part of the tests yet".to_owned()
        };
        format!("| {} | Debian {} | {tested} |\n", line.name, line.suite)
    };
    let rows: String = kernels::LINES.iter().map(row).collect();
    format!(
        "| Linux | from | tested |\n|---|---|---|\n\
         | the host's own | wherever the tests run | every scenario that it can host |\n{rows}"
    )
}

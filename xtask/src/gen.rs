//! The parts of documents that come from code, and the check that they are not stale.
use std::fs;

use anyhow::{Context, Result};

use crate::{bench, paths, pictures, po, programs, reasons, test::scenarios, vm::kernels};

/// A document, and what is generated in it by the name of the part.
struct Page {
    name: &'static str,
    parts: Vec<(&'static str, String)>,
}

fn pages() -> Result<[Page; 4]> {
    Ok([
        Page {
            name: "README.md",
            parts: vec![("causes", causes()?), ("kernels", kernels())],
        },
        Page {
            name: "netdiag-user/docs/walk.md",
            parts: vec![("stations", stations()?), ("reasons", reasons::table()?)],
        },
        Page {
            name: "netdiag-user/docs/performance.md",
            parts: vec![("cost", bench::generated()?.cost)],
        },
        Page {
            name: "netdiag-ebpf/COST.md",
            parts: vec![
                ("goals", bench::generated()?.goals),
                ("programs", programs::page::render()?),
            ],
        },
    ])
}

/// Writes the catalogues' sentences, the generated parts, the chart that one of them shows, and the
/// pictures.
pub fn write() -> Result<()> {
    po::write()?;
    for page in pages()? {
        let path = paths::root().join(page.name);
        fs::write(&path, page.render(&page.text()?)?).context(page.name)?;
    }
    if let Some(chart) = bench::generated()?.chart {
        fs::write(bench::chart_file(), chart).context("writing the chart")?;
    }
    pictures::write()
}

/// Fails when a generated part is not what the code says.
pub fn check() -> Result<()> {
    for page in pages()? {
        let text = page.text()?;
        anyhow::ensure!(
            page.render(&text)? == text,
            "{} is stale: run `cargo xtask gen` and commit it",
            page.name
        );
    }
    let chart = fs::read_to_string(bench::chart_file()).ok();
    anyhow::ensure!(
        bench::generated()?.chart == chart,
        "the chart of the cost is stale: run `cargo xtask gen` and commit it"
    );
    Ok(())
}

impl Page {
    fn text(&self) -> Result<String> {
        fs::read_to_string(paths::root().join(self.name)).context(self.name)
    }

    fn render(&self, text: &str) -> Result<String> {
        let mut text = text.to_owned();
        for (part, table) in &self.parts {
            text = replace(&text, part, table).with_context(|| self.name.to_owned())?;
        }
        Ok(text)
    }
}

fn replace(text: &str, part: &str, table: &str) -> Result<String> {
    let begin = format!("<!-- {part}: begin (cargo xtask gen) -->\n");
    let end = format!("<!-- {part}: end -->");
    let (before, rest) = text
        .split_once(&begin)
        .with_context(|| format!("there is no part {part}"))?;
    let (_, after) = rest
        .split_once(&end)
        .with_context(|| format!("the part {part} has no end"))?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

/// Public name and title of each cause, from the cause's own file.
fn causes() -> Result<String> {
    let mut rows = Vec::new();
    let dir = paths::root().join("netdiag-user/crates/diagnosis/src/causes");
    for entry in fs::read_dir(&dir).context("reading the causes")? {
        let path = entry?.path();
        // A folder holds what causes share.
        if path.is_dir() {
            continue;
        }
        let source = fs::read_to_string(path).context("reading a cause")?;
        // A long one stands on a line of its own, a title within `mark!`.
        let value = |name: &str| {
            let (_, rest) = source.split_once(&format!("\npub const {name}: &str ="))?;
            let (value, _) = rest.split_once(';')?;
            value.split('"').nth(1).map(str::to_owned)
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

/// The stations of a packet's way, and the kernel's functions in which packets end there.
fn stations() -> Result<String> {
    let model = paths::root().join("netdiag-user/crates/model/src");
    let stations = fs::read_to_string(model.join("world/station.rs"));
    let stations = stations.context("reading the stations")?;
    let places = fs::read_to_string(model.join("reason/by_place.rs"));
    let places = places.context("reading the drop places")?;
    let (_, body) = stations
        .split_once("pub enum Station {")
        .context("no enum of stations")?;
    let mut rows = Vec::new();
    let mut about = Vec::new();
    for line in body.lines().map(str::trim).skip(1) {
        if line == "}" {
            break;
        }
        if let Some(text) = line.strip_prefix("/// ") {
            about.push(text);
            continue;
        }
        let name = line.trim_end_matches(',');
        let functions = functions(&places, name).join(", ");
        rows.push(format!("| {name} | {} | {functions} |\n", about.join(" ")));
        about.clear();
    }
    Ok(format!(
        "| station | what is there | functions that free packets there |\n|---|---|---|\n{}",
        rows.concat()
    ))
}

/// Those of the rows of the drop places that have the station.
fn functions(places: &str, station: &str) -> Vec<String> {
    let mut all = Vec::new();
    for row in places.split("    place(\n").skip(1) {
        let mut lists = row.split("&[").skip(1);
        let (Some(names), Some(stations)) = (lists.next(), lists.next()) else {
            continue;
        };
        let until = |list: &str| list.split(']').next().unwrap_or_default().to_owned();
        let stations = until(stations);
        if !stations.split(',').any(|it| it.trim() == station) {
            continue;
        }
        let names = until(names);
        let names = names.split('"').skip(1).step_by(2);
        // One that ends with an underscore stands for all that begin so.
        all.extend(names.map(|name| match name.ends_with('_') {
            true => format!("`{name}*`"),
            false => format!("`{name}`"),
        }));
    }
    all
}

fn kernels() -> String {
    let row = |line: &kernels::Line| {
        let some = match line.name {
            kernels::TESTED => {
                let more = scenarios::ALWAYS.len();
                format!("loads every program, what the host's kernel lacks and {more} runs more")
            }
            kernels::WITHOUT_REASONS => {
                let more = scenarios::BY_PLACE.len();
                format!("loads every program and runs {more} scenarios")
            }
            _ => "loads every program".to_owned(),
        };
        let tested = format!("{some} in `cargo xtask test`, and runs all by `cargo xtask vm`");
        format!("| {} | Debian {} | {tested} |\n", line.name, line.suite)
    };
    let rows: String = kernels::LINES.iter().map(row).collect();
    format!(
        "| Linux | from | tested |\n|---|---|---|\n\
         | the host's own | wherever the tests run | every scenario that it can host |\n{rows}"
    )
}

//! The table: one line for a kernel, a form and a program, with figures that may not grow unseen.
use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Percent by which a figure may be above the table's.
const SLACK: u64 = 5;

const HEAD: &str = "kernel\tform\tprogram\tverified\ttranslated\tjitted\tmaps";

/// `verified` in instructions, the others in bytes.
const FIGURES: [&str; 4] = ["verified", "translated", "jitted", "maps"];

/// Kernel, form (`all`, `filter` with `--filter`, `helper` and `helper-filter` with `--read helper`) and
/// program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kernel: String,
    pub form: String,
    pub program: String,
}

pub type Row = [u64; FIGURES.len()];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(pub BTreeMap<Key, Row>);

impl Table {
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            bail!("it does not begin with {HEAD:?}");
        }
        let rows = lines.map(|line| row(line).with_context(|| format!("line {line:?}")));
        rows.collect::<Result<_>>().map(Self)
    }

    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The part of one kernel.
    pub fn of(&self, kernel: &str) -> Self {
        let rows = self.0.iter().filter(|(key, _)| key.kernel == kernel);
        Self(rows.map(|(key, row)| (key.clone(), *row)).collect())
    }

    /// What `now` has more of than this allows, or has not in common with it.
    pub fn grown(&self, now: &Self) -> Vec<String> {
        let mut grown = Vec::new();
        for (key, row) in &now.0 {
            let Some(before) = self.0.get(key) else {
                grown.push(format!("{key} is not in the table"));
                continue;
            };
            for ((figure, before), now) in FIGURES.iter().zip(before).zip(row) {
                if now * 100 > before * (100 + SLACK) {
                    let percent = (now - before) * 100 / (*before).max(1);
                    grown.push(format!("{key}: {figure} {before} → {now} (+{percent} %)"));
                }
            }
        }
        let gone = self.0.keys().filter(|key| !now.0.contains_key(key));
        grown.extend(gone.map(|key| format!("{key} is in the table alone")));
        grown
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.program, self.form)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        for (key, row) in &self.0 {
            let figures = row.map(|figure| figure.to_string()).join("\t");
            writeln!(
                f,
                "{}\t{}\t{}\t{figures}",
                key.kernel, key.form, key.program
            )?;
        }
        Ok(())
    }
}

fn row(line: &str) -> Result<(Key, Row)> {
    let mut cells = line.split('\t');
    let mut cell = || cells.next().context("too few cells").map(str::to_owned);
    let key = Key {
        kernel: cell()?,
        form: cell()?,
        program: cell()?,
    };
    let figures = cells.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let row = Row::try_from(figures).ok().context("not four figures")?;
    Ok((key, row))
}

/// What `netdiag doctor --programs -o json` said; a program that is refused is an error.
pub fn of_doctor(kernel: &str, told: &Value) -> Result<Table> {
    let mut table = Table::default();
    for form in told["forms"].as_array().context("no forms")? {
        let is = |what: &str| form[what].as_bool().context("no form");
        let name = match (is("filter")?, is("helper")?) {
            (false, false) => "all",
            (true, false) => "filter",
            (false, true) => "helper",
            (true, true) => "helper-filter",
        };
        for program in form["programs"].as_array().context("no programs")? {
            let key = Key {
                kernel: kernel.to_owned(),
                form: name.to_owned(),
                program: program["program"].as_str().context("no name")?.to_owned(),
            };
            if let Some(why) = program["refused"].as_str() {
                bail!("{key} is refused: {why}");
            }
            let figure = |name: &str| {
                let figure = program[name].as_u64().filter(|figure| *figure > 0);
                figure.with_context(|| format!("{key} has no {name}"))
            };
            let row = [
                figure("verified_insns")?,
                figure("translated_bytes")?,
                figure("jitted_bytes")?,
                figure("map_bytes")?,
            ];
            table.0.insert(key, row);
        }
    }
    if table.0.is_empty() {
        bail!("it loads no program");
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(verified: u64) -> Value {
        serde_json::json!({ "forms": [{ "filter": false, "helper": false, "programs": [{
            "program": "kfree_skb", "verified_insns": verified, "translated_bytes": 200,
            "jitted_bytes": 100, "map_bytes": 4096,
        }]}]})
    }

    fn table(verified: u64) -> Table {
        of_doctor("6.1", &told(verified)).expect("a table")
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let table = table(1000);
        assert_eq!(Table::parse(&table.to_string()).expect("read"), table);
        assert!(Table::parse("kernel\n").is_err());
        let cut = table.to_string().replace("\t4096", "");
        assert!(Table::parse(&cut).is_err());
    }

    #[test]
    fn what_grows_by_more_than_five_percent_is_told() {
        let before = table(1000);
        for same in [1, 999, 1000, 1050] {
            assert!(before.grown(&table(same)).is_empty(), "{same}");
        }
        let grown = before.grown(&table(1051));
        assert_eq!(grown, ["kfree_skb (all): verified 1000 → 1051 (+5 %)"]);
    }

    #[test]
    fn programs_that_come_and_go_are_told() {
        let none = Table::default();
        let came = none.grown(&table(1));
        assert_eq!(came, ["kfree_skb (all) is not in the table"]);
        let gone = table(1).grown(&none);
        assert_eq!(gone, ["kfree_skb (all) is in the table alone"]);
    }

    #[test]
    fn what_is_refused_or_unknown_is_an_error() {
        let mut refused = told(1);
        refused["forms"][0]["programs"][0]["refused"] = "R1 is bad".into();
        let error = of_doctor("6.1", &refused).expect_err("refused");
        assert_eq!(error.to_string(), "kfree_skb (all) is refused: R1 is bad");
        assert!(of_doctor("6.1", &told(0)).is_err());
        assert!(of_doctor("6.1", &serde_json::json!({ "forms": [] })).is_err());
    }
}

//! The table as netdiag-ebpf/COST.md shows it.
use anyhow::{Context, Result};

use super::{
    read,
    table::{Key, Row, Table},
};
use crate::vm::kernels;

/// Instructions that a verifier walks at most (BPF_COMPLEXITY_LIMIT_INSNS).
const LIMIT: u64 = 1_000_000;

/// For each program what the oldest kernel's verifier walks, how far below its limit that is, and
/// each kernel's lengths.
pub fn render() -> Result<String> {
    of(&read()?)
}

fn of(table: &Table) -> Result<String> {
    let names = kernels::names();
    let mut text = "| program | instructions verified".to_owned();
    let oldest = names[0];
    text += &format!(
        ", {} | {oldest}'s margin to {LIMIT} | translated, jitted B |\n",
        names.join(" / ")
    );
    text += "|---|---|---|---|\n";
    let of_oldest = table.0.keys().filter(|key| key.kernel == oldest);
    for key in of_oldest {
        let rows = rows(table, key, &names)?;
        let (verified, margin) = (column(&rows, 0), LIMIT.saturating_sub(rows[0][0]));
        let percent = margin * 100 / LIMIT;
        let lengths = format!("{}, {}", span(&rows, 1), span(&rows, 2));
        text += &format!("| {key} | {verified} | {margin} ({percent} %) | {lengths} |\n");
    }
    Ok(text)
}

fn rows(table: &Table, key: &Key, names: &[&str]) -> Result<Vec<Row>> {
    let of = |name: &&str| {
        let key = Key {
            kernel: (*name).to_owned(),
            ..key.clone()
        };
        let row = table.0.get(&key).copied();
        row.with_context(|| format!("{key} of {name} is not in the table"))
    };
    names.iter().map(of).collect()
}

fn column(rows: &[Row], figure: usize) -> String {
    let all: Vec<String> = rows.iter().map(|row| row[figure].to_string()).collect();
    all.join(" / ")
}

/// From the least to the most.
fn span(rows: &[Row], figure: usize) -> String {
    let all = || rows.iter().map(|row| row[figure]);
    let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    format!("{least}–{most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_the_oldest_kernels() {
        let mut table = Table::default();
        for (n, kernel) in kernels::names().into_iter().enumerate() {
            let key = Key {
                kernel: kernel.to_owned(),
                form: "all".to_owned(),
                program: "kfree_skb".to_owned(),
            };
            let n = n as u64;
            table.0.insert(key, [60_000 - n, 200 + n, 100 + n, 4096]);
        }
        let page = of(&table).expect("a page");
        let row = "| kfree_skb (all) | 60000 / 59999 / 59998 / 59997 | 940000 (94 %) | 200–203, 100–103 |";
        assert!(page.ends_with(&format!("{row}\n")), "{page}");
        table.0.pop_last();
        assert!(of(&table).is_err());
    }
}

//! Kernel addresses to `symbol+0x1c3`, from /proc/kallsyms.
use std::path::Path;

use crate::sys::file;

/// Most bytes of the kernel's list: 200,000 functions have some ten million.
const LARGEST: usize = 128 << 20;

/// Text symbols by address. Empty where kptr_restrict hides the addresses.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    table: Vec<(u64, String)>,
}

impl Symbols {
    pub fn load(root: &Path) -> Self {
        let mut table = Vec::new();
        let each = |text: &str| table.extend(line(text));
        if let Err(e) = file::lines(&root.join("proc/kallsyms"), LARGEST, each) {
            log::debug!("/proc/kallsyms: {e}");
        }
        Self::of(table)
    }

    pub fn parse(text: &str) -> Self {
        Self::of(text.lines().filter_map(line).collect())
    }

    fn of(mut table: Vec<(u64, String)>) -> Self {
        table.sort_unstable_by_key(|(address, _)| *address);
        Self { table }
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The function that holds `address`, the bare address where none is known.
    pub fn name(&self, address: u64) -> String {
        let after = self.table.partition_point(|(start, _)| *start <= address);
        match after.checked_sub(1).and_then(|i| self.table.get(i)) {
            Some((start, name)) => format!("{name}+{:#x}", address - start),
            None => format!("{address:#x}"),
        }
    }
}

fn line(line: &str) -> Option<(u64, String)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next()?;
    let name = words.next()?;
    (address != 0 && matches!(kind, "t" | "T" | "w" | "W")).then(|| (address, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let symbols = Symbols::parse("10 T a\n20 t b\n30 d c\n");
        assert_eq!(symbols.name(0x25), "b+0x5");
        assert_eq!(symbols.name(0x20), "b+0x0");
        assert_eq!(symbols.name(0x5), "0x5");
    }
}

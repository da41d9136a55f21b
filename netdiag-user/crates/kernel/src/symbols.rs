//! Kernel addresses to `symbol+0x1c3`, from /proc/kallsyms. A kernel has a hundred thousand symbols
//! and drops packets at a few dozen places: the list is read when a place is new, in 40 ms, and the
//! answers alone are kept. A module that was loaded meanwhile has its names, too.
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::sys::file;

/// Most bytes of the kernel's list: 200,000 functions have some ten million.
const LARGEST: usize = 128 << 20;
/// Most places that are named; the kernel's source has some three thousand that drop packets.
const MOST: usize = 8192;

/// Names of places in the running kernel, as far as somebody asked for them.
pub struct Symbols {
    list: PathBuf,
    known: Mutex<HashMap<u64, String>>,
}

impl Symbols {
    pub fn new(root: &Path) -> Self {
        Self {
            list: list(root),
            known: Mutex::default(),
        }
    }

    /// Finds out the names of those that are new, all of them in one pass.
    pub fn learn(&self, addresses: impl Iterator<Item = u64>) {
        let mut known = self.known();
        let room = MOST.saturating_sub(known.len());
        let new = addresses.filter(|address| !known.contains_key(address));
        let mut new: Vec<u64> = new.collect();
        new.sort_unstable();
        new.dedup();
        new.truncate(room);
        if new.is_empty() {
            return;
        }
        let mut before = Before::new(new);
        if let Err(e) = file::lines(&self.list, LARGEST, |text| before.see(text)) {
            log::debug!("/proc/kallsyms: {e}");
        }
        known.extend(before.names());
    }

    /// The function that holds `address`, the bare address where none is known.
    pub fn name(&self, address: u64) -> String {
        self.learn(std::iter::once(address));
        let known = self.known().get(&address).cloned();
        known.unwrap_or_else(|| bare(address))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the list has no address (kptr_restrict), or is not there.
pub fn hidden(root: &Path) -> bool {
    let mut shown = false;
    let read = file::lines(&list(root), LARGEST, |text| shown |= line(text).is_some());
    read.is_err() || !shown
}

fn list(root: &Path) -> PathBuf {
    root.join("proc/kallsyms")
}

/// The symbols right before some addresses, from a list in any order.
struct Before {
    /// Sorted.
    addresses: Vec<u64>,
    /// The highest symbol up to each address and above the address before it.
    nearest: Vec<(u64, String)>,
}

impl Before {
    fn new(addresses: Vec<u64>) -> Self {
        let nearest = vec![(0, String::new()); addresses.len()];
        Self { addresses, nearest }
    }

    fn see(&mut self, text: &str) {
        let Some((start, name)) = line(text) else {
            return;
        };
        let at = self.addresses.partition_point(|address| *address < start);
        if let Some(nearest) = self.nearest.get_mut(at).filter(|n| n.0 < start) {
            nearest.0 = start;
            // In place: most symbols are nearest for a moment.
            nearest.1.clear();
            nearest.1.push_str(name);
        }
    }

    /// What each address is called.
    fn names(self) -> Vec<(u64, String)> {
        let mut last: Option<(u64, String)> = None;
        let named = |(address, nearest): (u64, (u64, String))| {
            if nearest.0 != 0 {
                last = Some(nearest);
            }
            let name = match &last {
                Some((start, name)) => format!("{name}+{:#x}", address - start),
                None => bare(address),
            };
            (address, name)
        };
        self.addresses
            .into_iter()
            .zip(self.nearest)
            .map(named)
            .collect()
    }
}

fn bare(address: u64) -> String {
    format!("{address:#x}")
}

/// A text symbol with its address; none where kptr_restrict hides it.
fn line(line: &str) -> Option<(u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next()?;
    let name = words.next()?;
    (address != 0 && matches!(kind, "t" | "T" | "w" | "W")).then_some((address, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(list: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join("proc")).expect("made");
        std::fs::write(super::list(root.path()), list).expect("written");
        root
    }

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let root = root("10 T a\n20 t b\n30 d c\n8 W z\n");
        let symbols = Symbols::new(root.path());
        symbols.learn([0x25, 0x20, 0x5, 0x2f, 0x25].into_iter());
        assert_eq!(symbols.name(0x25), "b+0x5");
        assert_eq!(symbols.name(0x2f), "b+0xf");
        assert_eq!(symbols.name(0x20), "b+0x0");
        assert_eq!(symbols.name(0x5), "0x5");
        assert_eq!(symbols.name(0x9), "z+0x1", "asked for later");
        assert!(!hidden(root.path()));
    }

    #[test]
    fn what_was_found_out_is_not_read_again() {
        let root = root("10 T a\n");
        let symbols = Symbols::new(root.path());
        assert_eq!(symbols.name(0x11), "a+0x1");
        assert_eq!(symbols.name(0x5), "0x5");
        std::fs::write(list(root.path()), "4 T b\n10 T c\n").expect("written");
        assert_eq!(symbols.name(0x11), "a+0x1");
        assert_eq!(symbols.name(0x5), "0x5");
        assert_eq!(symbols.name(0x12), "c+0x2");
    }

    #[test]
    fn no_more_places_are_kept_than_there_is_room_for() {
        let root = root("10 T a\n");
        let symbols = Symbols::new(root.path());
        symbols.learn(0x10..0x10 + MOST as u64);
        let beyond = 0x10 + MOST as u64;
        assert_eq!(symbols.name(beyond), bare(beyond));
        assert_eq!(symbols.known().len(), MOST);
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let root = root("0 T a\n0 t b\n");
        assert!(hidden(root.path()));
        assert_eq!(Symbols::new(root.path()).name(0x10), "0x10");
        assert!(hidden(Path::new("/nonexistent")));
    }
}

//! Gives memory back that was needed for a while only: loading takes five times what watching does,
//! and one crowded reading as much again.
#![expect(
    unsafe_code,
    reason = "the C library's allocator is told how to by calls without safe wrappers"
)]
use std::{collections::BTreeMap, path::Path};

use super::file;

/// From this size on a block is a mapping of its own, which goes when it is freed. By itself the
/// allocator raises that to whatever was freed last, and then keeps the holes between what stays.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: i32 = 256 << 10;
/// Heaps that threads share; by itself each new thread brings its own, which stays.
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;

/// Most bytes of what the kernel says of this process's mappings.
const MAPPINGS: usize = 4 << 20;

/// Once, before any thread is started.
pub fn begin() {
    #[cfg(target_env = "gnu")]
    // SAFETY: settings of the allocator, which takes any numbers.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_TRIM_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it looks at free memory alone.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives back what was freed in between, and the programs' pages: whoever runs there again has them
/// from the page cache.
pub fn settle() {
    trim();
    let mut mappings = Mappings::default();
    let read = file::lines(Path::new("/proc/self/smaps"), MAPPINGS, |l| mappings.see(l));
    if let Err(e) = read {
        log::debug!("/proc/self/smaps: {e}");
        return;
    }
    for (start, length) in mappings.unchanged() {
        // SAFETY: a private mapping of a file, nobody can write to it and nobody has: what is
        // dropped comes back from the file as it was.
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// What smaps(5) says of mappings.
#[derive(Default)]
struct Mappings {
    last: Option<(usize, usize)>,
    /// Private ones of files without a right to write, by their start, with their length.
    readable: BTreeMap<usize, usize>,
}

impl Mappings {
    fn see(&mut self, line: &str) {
        if let Some(value) = line.strip_prefix("Anonymous:") {
            // Pages of its own: what the linker wrote before it took the right away, for one.
            if value.trim() == "0 kB"
                && let Some((start, length)) = self.last
            {
                self.readable.insert(start, length);
            }
        } else if let Some(found) = head(line) {
            self.last = found;
        }
    }

    fn unchanged(self) -> impl Iterator<Item = (usize, usize)> {
        self.readable.into_iter()
    }
}

/// The first line of a mapping, with its place if it is a file's that nobody may write to.
fn head(line: &str) -> Option<Option<(usize, usize)>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    let rights = words.next()?;
    let of_a_file = words.nth(3).is_some_and(|name| name.starts_with('/'));
    let fits = of_a_file && matches!(rights, "r--p" | "r-xp");
    Some(fits.then_some((start, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unchanged(text: &str) -> Vec<(usize, usize)> {
        let mut mappings = Mappings::default();
        text.lines().for_each(|line| mappings.see(line));
        mappings.unchanged().collect()
    }

    #[test]
    fn only_what_the_file_still_has_is_dropped() {
        let text = "\
1000-3000 r-xp 00001000 fe:00 7 /usr/bin/netdiag
Rss: 8 kB
Anonymous: 0 kB
3000-4000 r--p 00003000 fe:00 7 /usr/bin/netdiag
Anonymous: 4 kB
4000-5000 rw-p 00004000 fe:00 7 /usr/bin/netdiag
Anonymous: 0 kB
5000-6000 r--s 00000000 00:0f 9 /dev/shared
Anonymous: 0 kB
6000-7000 r-xp 00000000 00:00 0 [vdso]
Anonymous: 0 kB
7000-8000 r--p 00000000 00:00 0
Anonymous: 0 kB
8000-9000 r--p 00000000 00:0e 3 anon_inode:bpf-map
Anonymous: 0 kB
";
        assert_eq!(unchanged(text), [(0x1000, 0x2000)]);
    }

    #[test]
    fn a_process_goes_on_without_its_pages() {
        let own = || {
            let mut mappings = Mappings::default();
            let smaps = Path::new("/proc/self/smaps");
            file::lines(smaps, MAPPINGS, |line| mappings.see(line)).expect("read");
            mappings.unchanged().next()
        };
        let before = own();
        assert!(before.is_some(), "a test is a file, too");
        settle();
        assert_eq!(own(), before);
    }
}

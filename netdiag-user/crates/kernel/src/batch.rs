//! BPF_MAP_LOOKUP_BATCH, which aya has not: one system call for hundreds of entries, and no
//! entry twice while others come and go (kernel/bpf/hashtab.c walks whole buckets).
#![expect(unsafe_code, reason = "a system call with raw buffers")]
use std::{io, os::fd::BorrowedFd};

use aya::Pod;

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Entries asked for at once. A bucket longer than this would fail with ENOSPC; then it doubles.
const CHUNK: usize = 512;
const LARGEST_CHUNK: usize = 1 << 20;

#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// The entries of a hash map whose keys are wanted; each is asked for once.
pub fn entries<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    mut wanted: impl FnMut(&K) -> bool,
) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    let mut chunk = CHUNK;
    let mut cursor: Option<u64> = None;
    loop {
        let mut keys: Vec<K> = Vec::with_capacity(chunk);
        let mut values: Vec<V> = Vec::with_capacity(chunk);
        let mut next = 0u64;
        let (count, result) = lookup(map, cursor, &mut next, &mut keys, &mut values);
        match result {
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && chunk < LARGEST_CHUNK => {
                chunk *= 2;
                continue;
            }
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => return Err(e),
            ref done => {
                // SAFETY: the kernel wrote `count` keys and values, at most the capacity, and
                // every bit pattern of a Pod is a value.
                unsafe {
                    keys.set_len(count);
                    values.set_len(count);
                }
                let some = keys.into_iter().zip(values);
                all.extend(some.filter(|(key, _)| wanted(key)));
                if done.is_err() {
                    // Doubled as it grew: of a full table megabytes would stay empty.
                    all.shrink_to_fit();
                    return Ok(all);
                }
            }
        }
        cursor = Some(next);
    }
}

fn lookup<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    cursor: Option<u64>,
    next: &mut u64,
    keys: &mut Vec<K>,
    values: &mut Vec<V>,
) -> (usize, io::Result<()>) {
    use std::os::fd::AsRawFd;
    let mut attributes = Attributes {
        in_batch: cursor.as_ref().map_or(0, |c| std::ptr::from_ref(c) as u64),
        out_batch: std::ptr::from_mut(next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(keys.capacity().min(values.capacity())).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd() as u32,
        ..Attributes::default()
    };
    // SAFETY: the buffers have room for `count` entries of the map's own key and value sizes
    // (the types are the ones that the map was declared with), and outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            std::ptr::from_mut(&mut attributes),
            size_of::<Attributes>(),
        )
    };
    let result = if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    };
    (attributes.count as usize, result)
}

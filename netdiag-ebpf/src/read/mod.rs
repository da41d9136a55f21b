//! Kernel structs read by the offsets of the running kernel's BTF. Reads may fail (a pointer
//! that is none): every one says so.
pub mod netns;
pub mod skb;
pub mod sock;

use aya_ebpf::helpers::bpf_probe_read_kernel;

/// The value of type `T` at `base + offset` in kernel memory.
#[inline(always)]
pub fn at<T>(base: u64, offset: u32) -> Option<T> {
    let address = base.wrapping_add(u64::from(offset));
    // SAFETY: the helper checks the address itself and fails on what cannot be read.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// A pointer that is not null.
#[inline(always)]
pub fn pointer(base: u64, offset: u32) -> Option<u64> {
    at::<u64>(base, offset).filter(|p| *p != 0)
}

//! Kernel structs read by the offsets of the running kernel's BTF. Reads may fail (a pointer
//! that is none): every one says so.
pub mod netns;
pub mod skb;
pub mod sock;
pub mod task;

use aya_ebpf::helpers::bpf_probe_read_kernel;

use crate::maps::offset;

/// The value of type `T` at `base + offset` in kernel memory.
#[inline(always)]
pub fn at<T>(base: u64, offset: u32) -> Option<T> {
    let address = base.wrapping_add(u64::from(offset));
    // SAFETY: the helper checks the address itself and fails on what cannot be read.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// A member of a struct whose type the verifier knows: a tracepoint's argument, or what a member
/// of one points to. One instruction, where this kernel is known to survive it on a stale pointer;
/// else the helper, which no kernel dies of. What is no kernel address reads as 0 either way. The
/// verifier takes away the way that is not gone.
#[inline(always)]
pub fn field<T: Copy + Default>(base: u64, offset: u32) -> T {
    if offset!(plain_loads) != 1 {
        return at(base, offset).unwrap_or_default();
    }
    // SAFETY: the verifier checks that the struct has such a member, and the kernel handles the
    // fault when the pointer is stale: the user side has asked which kernel it is.
    unsafe { (base.wrapping_add(u64::from(offset)) as *const T).read() }
}

/// A member that points somewhere and is not null.
#[inline(always)]
pub fn pointer(base: u64, offset: u32) -> Option<u64> {
    Some(field::<u64>(base, offset)).filter(|p| *p != 0)
}

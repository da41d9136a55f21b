//! The system's allocator, with an end in one sentence where there is no more: std's own word for it
//! is a backtrace, for which there is no memory either.
#![expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
use std::alloc::{GlobalAlloc, Layout, System};

/// What is said; nothing may be allocated for it.
const SENTENCE: &[u8] =
    b"netdiag: out of memory: it allows itself 1 GiB at most, 80 % of its cgroup's memory.max, or what \
    `ulimit -d` says; `netdiag cleanup` takes away what it may have left\n";

/// Ends the process when there is no memory. What it had attached goes with it, or by the next run.
pub struct Bounded;

// SAFETY: everything is the system allocator's; what it gives is passed on as it is, and never null.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the trait's contract.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(old, layout, size) })
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

fn given(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        end();
    }
    memory
}

#[cold]
fn end() -> ! {
    // SAFETY: the buffer is a constant's, and neither call allocates or comes back to us.
    unsafe {
        libc::write(
            libc::STDERR_FILENO,
            SENTENCE.as_ptr().cast(),
            SENTENCE.len(),
        );
        libc::_exit(super::exit::ENVIRONMENT)
    }
}

//! What a processor has counted goes to the tables when the reader asks.
//!
//! No tracepoint has this program: the user side runs it on a processor of its choice
//! (BPF_PROG_TEST_RUN with BPF_F_TEST_RUN_ON_CPU, Linux 5.10), by an interrupt there.
use aya_ebpf::{EbpfContext as _, macros::raw_tracepoint, programs::RawTracePointContext};

use crate::front;

/// 0 when all was added, 1 when a run of ours was interrupted in the middle of it, and must be asked
/// again; less when a table had no room. The first argument is 1 to let go of the lines.
#[raw_tracepoint]
pub fn flush(ctx: RawTracePointContext) -> i32 {
    // SAFETY: the context of a raw tracepoint is its arguments.
    let forget = unsafe { *ctx.as_ptr().cast::<u64>() };
    front::flush(forget == 1)
}

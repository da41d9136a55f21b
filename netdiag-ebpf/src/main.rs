//! netdiag's programs in the kernel: what is seen at the node's hops, and where packets die.
//!
//! No policy here: programs count and hand over, the user side decides what it means.
#![no_std]
#![no_main]
// Inline assembly for BPF is unstable; it is there for one atomic add.
#![feature(asm_experimental_arch)]

mod clock;
mod emit;
mod filter;
mod front;
mod hooks;
mod maps;
mod parse;
mod read;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

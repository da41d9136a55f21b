//! Programs that do nothing, for the hooks of those that do: what the hooks alone cost.
//! `cargo xtask bench` measures against them; nothing else loads them.
use aya_ebpf::{
    bindings::TC_ACT_UNSPEC,
    macros::{btf_tracepoint, classifier},
    programs::{BtfTracePointContext, TcContext},
};

#[classifier]
pub fn empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

#[btf_tracepoint(function = "kfree_skb")]
pub fn empty_kfree_skb(_ctx: BtfTracePointContext) -> i32 {
    0
}

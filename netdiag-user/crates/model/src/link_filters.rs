//! Filters of tc and programs of eBPF that are shown the packets of one link, and may drop them.
use netdiag_lang::t;
use serde::{Deserialize, Serialize};

use super::shell::CommandLine;
use crate::shell;

/// netdiag's own programs on links: they let every packet go on, and are never among these.
pub const OWN: [&str; 7] = [
    "hop_ingress",
    "hop_egress",
    "uplink_ingress",
    "uplink_egress",
    "l3_ingress",
    "l3_egress",
    "empty",
];

/// Parts of the names of functions that run XDP and drop what it says.
/// Into which the compiler puts sch_handle_ingress.
const INGRESS_FUNCTION: &str = "__netif_receive_skb_core";
const XDP_FUNCTIONS: [&str; 3] = ["do_xdp_generic", "receive_generic_xdp", "veth_xdp_rcv"];

/// Which packets of a link are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LinkHook {
    /// What comes in by it, at tc's ingress.
    Ingress,
    /// What leaves by it, at tc's egress.
    Egress,
    /// What comes in by it, before tc.
    Xdp,
}

impl LinkHook {
    /// The hook at which a packet died, by the kernel's reason (include/net/dropreason-core.h) and
    /// the function that dropped it: several kernels give none for XDP (net/core/dev.c,
    /// do_xdp_generic; drivers/net/veth.c, veth_xdp_rcv_skb), and before 5.18 none gives any.
    pub fn of_drop(reason: &str, function: &str) -> Option<Self> {
        match reason {
            "TC_INGRESS" => Some(Self::Ingress),
            "TC_EGRESS" => Some(Self::Egress),
            "XDP" => Some(Self::Xdp),
            "NOT_SPECIFIED" if function.contains(INGRESS_FUNCTION) => Some(Self::Ingress),
            "NOT_SPECIFIED" => {
                let own = XDP_FUNCTIONS.iter().any(|xdp| function.contains(xdp));
                own.then_some(Self::Xdp)
            }
            _ => None,
        }
    }

    /// As tc(8) has it; XDP is not tc's.
    pub fn side(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Xdp => "xdp",
        }
    }

    /// The command that lists what hangs there.
    pub fn list(self, link: &str) -> CommandLine {
        match self {
            Self::Ingress => shell!("tc -s filter show dev {} ingress", link),
            Self::Egress => shell!("tc -s filter show dev {} egress", link),
            Self::Xdp => shell!("ip -d link show dev {}", link),
        }
    }
}

/// Whose programs implement network policies: what they drop is meant to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dataplane {
    Cilium,
    Calico,
    AwsNetworkPolicy,
}

impl Dataplane {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cilium => "Cilium",
            Self::Calico => "Calico",
            Self::AwsNetworkPolicy => "the AWS network policy agent",
        }
    }
}

/// A program of eBPF.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkProgram {
    pub id: u32,
    /// Empty where it was given none.
    pub name: String,
    /// The user that loaded it.
    pub user: u32,
    /// Processes that hold it, `agent[812]`; none where it is only attached.
    pub holders: Vec<String>,
    /// Of the node's network, where the link is the node's own.
    pub dataplane: Option<Dataplane>,
}

impl LinkProgram {
    /// Its name, as far as it has one, and its number.
    pub fn label(&self) -> String {
        match self.name.as_str() {
            "" => format!("id {}", self.id),
            name => format!("{name} (id {})", self.id),
        }
    }
}

/// How XDP runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum XdpMode {
    Driver,
    Generic,
    Hardware,
}

impl XdpMode {
    /// As ip-link(8) has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Driver => "xdpdrv",
            Self::Generic => "xdpgeneric",
            Self::Hardware => "xdpoffload",
        }
    }
}

/// A filter as tc(8) names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcFilter {
    /// `bpf`, `flower`, `u32`.
    pub kind: String,
    /// An Ethertype; ETH_P_ALL (3) for all.
    pub protocol: u16,
    pub preference: u16,
    pub handle: u32,
    pub chain: u32,
    /// The block of filters that several links share.
    pub block: Option<u32>,
}

impl TcFilter {
    fn protocol(&self) -> String {
        match self.protocol {
            3 => "all".into(),
            0x0800 => "ip".into(),
            0x0806 => "arp".into(),
            0x86dd => "ipv6".into(),
            0x8100 => "802.1Q".into(),
            other => format!("{other:#x}"),
        }
    }

    /// u32 has handles in three parts (struct tc_u32_sel, print_u32 of tc/f_u32.c).
    fn handle(&self) -> String {
        if self.kind != "u32" {
            return format!("{:#x}", self.handle);
        }
        let (table, bucket, node) = (
            self.handle >> 20,
            self.handle >> 12 & 0xff,
            self.handle & 0xfff,
        );
        let part = |n: u32| {
            if n > 0 {
                format!("{n:x}")
            } else {
                String::new()
            }
        };
        format!("{table:x}:{}:{}", part(bucket), part(node))
    }

    /// What names it on its link, in tc's words.
    pub fn words(&self) -> String {
        let (preference, handle, kind) = (self.preference, self.handle(), &self.kind);
        match self.chain {
            0 => format!("pref {preference} handle {handle} {kind}"),
            chain => format!("pref {preference} chain {chain} handle {handle} {kind}"),
        }
    }

    /// Takes this one away, and nothing beside it.
    fn delete(&self, link: &str, side: &'static str) -> CommandLine {
        let (protocol, handle, kind) = (self.protocol(), self.handle(), &self.kind);
        let (preference, chain) = (self.preference, self.chain);
        match (self.block, side) {
            (Some(block), _) => shell!(
                "tc filter del block {} protocol {} pref {} chain {} handle {} {}",
                block,
                protocol,
                preference,
                chain,
                handle,
                kind
            ),
            (None, "egress") => shell!(
                "tc filter del dev {} egress protocol {} pref {} chain {} handle {} {}",
                link,
                protocol,
                preference,
                chain,
                handle,
                kind
            ),
            (None, _) => shell!(
                "tc filter del dev {} ingress protocol {} pref {} chain {} handle {} {}",
                link,
                protocol,
                preference,
                chain,
                handle,
                kind
            ),
        }
    }
}

/// How it hangs there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attachment {
    Tc(TcFilter),
    /// With the id of the bpf link that holds it there, where one does.
    Tcx {
        link: Option<u32>,
    },
    Xdp {
        mode: XdpMode,
        link: Option<u32>,
    },
}

/// One that may drop packets of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFilter {
    /// The link's index in its namespace.
    pub link: u32,
    pub hook: LinkHook,
    pub at: Attachment,
    pub program: Option<LinkProgram>,
    /// Packets that its actions dropped since it was made; nothing where nobody counts them, as for
    /// programs.
    pub dropped: Option<u64>,
    /// Of these, while it was watched.
    pub moved: u64,
}

impl LinkFilter {
    /// `tc filter pref 10 handle 0x1 bpf at ingress of veth1`.
    pub fn describe(&self, link: &str) -> String {
        let side = self.hook.side();
        let program = self.program.as_ref().map(LinkProgram::label);
        let program = program.unwrap_or_default();
        match &self.at {
            Attachment::Tc(filter) if program.is_empty() => {
                t!("tc filter {} at {side} of {link}", filter.words())
            }
            Attachment::Tc(filter) => {
                t!("tc filter {} {program} at {side} of {link}", filter.words())
            }
            Attachment::Tcx { .. } => t!("BPF program {program} at tcx {side} of {link}"),
            Attachment::Xdp { mode, .. } => {
                t!("XDP program {program} of {link} ({})", mode.word())
            }
        }
    }

    /// The command that shows it.
    pub fn list(&self, link: &str) -> CommandLine {
        match &self.at {
            Attachment::Tc(TcFilter {
                block: Some(block), ..
            }) => {
                shell!("tc -s filter show block {}", block)
            }
            Attachment::Tcx { .. } => shell!("bpftool net show dev {}", link),
            _ => self.hook.list(link),
        }
    }

    /// The command that takes away this one alone; none where only its owner can.
    pub fn delete(&self, link: &str) -> Option<CommandLine> {
        match &self.at {
            Attachment::Tc(filter) => Some(filter.delete(link, self.hook.side())),
            Attachment::Tcx { link: held }
            | Attachment::Xdp {
                link: held @ Some(_),
                ..
            } => held.map(|id| shell!("bpftool link detach id {}", id)),
            Attachment::Xdp { mode, link: None } => Some(match mode {
                XdpMode::Driver => shell!("ip link set dev {} xdpdrv off", link),
                XdpMode::Generic => shell!("ip link set dev {} xdpgeneric off", link),
                XdpMode::Hardware => shell!("ip link set dev {} xdpoffload off", link),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tc(kind: &str, handle: u32) -> TcFilter {
        TcFilter {
            kind: kind.into(),
            protocol: 0x0800,
            preference: 49152,
            handle,
            ..TcFilter::default()
        }
    }

    fn at(at: Attachment) -> LinkFilter {
        LinkFilter {
            link: 4,
            hook: LinkHook::Ingress,
            at,
            program: None,
            dropped: None,
            moved: 0,
        }
    }

    #[test]
    fn a_filter_is_named_and_deleted_as_tc_names_it() {
        let words = |filter: TcFilter| filter.words();
        assert_eq!(
            words(tc("u32", 0x8000_0800)),
            "pref 49152 handle 800::800 u32"
        );
        assert_eq!(words(tc("flower", 1)), "pref 49152 handle 0x1 flower");
        let delete = |filter| at(Attachment::Tc(filter)).delete("veth1");
        let own = delete(tc("u32", 0x8000_0800)).expect("a command");
        assert_eq!(
            own,
            "tc filter del dev veth1 ingress protocol ip pref 49152 chain 0 handle 800::800 u32"
        );
        let shared = TcFilter {
            block: Some(22),
            chain: 3,
            ..tc("flower", 1)
        };
        assert_eq!(
            delete(shared).expect("a command"),
            "tc filter del block 22 protocol ip pref 49152 chain 3 handle 0x1 flower"
        );
    }

    #[test]
    fn where_a_packet_died_tells_the_hook() {
        let of = LinkHook::of_drop;
        assert_eq!(of("TC_EGRESS", "__dev_queue_xmit"), Some(LinkHook::Egress));
        assert_eq!(of("XDP", "netif_receive_generic_xdp"), Some(LinkHook::Xdp));
        for function in [
            "do_xdp_generic",
            "veth_xdp_rcv_skb",
            "veth_xdp_rcv_skb.constprop.0",
        ] {
            assert_eq!(
                of("NOT_SPECIFIED", function),
                Some(LinkHook::Xdp),
                "{function}"
            );
        }
        let ingress = "__netif_receive_skb_core.constprop.0";
        assert_eq!(of("NOT_SPECIFIED", ingress), Some(LinkHook::Ingress));
        assert_eq!(of("NOT_SPECIFIED", "br_forward"), None);
        assert_eq!(of("QDISC_DROP", "__dev_queue_xmit"), None);
    }

    #[test]
    fn a_program_goes_the_way_it_came() {
        let delete = |it| at(it).delete("veth1");
        assert_eq!(
            delete(Attachment::Tcx { link: None }),
            None,
            "its owner's alone"
        );
        let held = delete(Attachment::Tcx { link: Some(7) }).expect("a command");
        assert_eq!(held, "bpftool link detach id 7");
        let mode = XdpMode::Generic;
        let plain = delete(Attachment::Xdp { mode, link: None }).expect("a command");
        assert_eq!(plain, "ip link set dev veth1 xdpgeneric off");
        let held = delete(Attachment::Xdp {
            mode,
            link: Some(9),
        })
        .expect("a command");
        assert_eq!(held, "bpftool link detach id 9", "ip(8) is refused then");
    }
}

//! Requests and answers of route netlink about filters (include/uapi/linux/{rtnetlink,pkt_cls,
//! if_link}.h, net/sched/{cls_api,act_api}.c).
use crate::{
    gather::netlink::{DUMP, HEADER, attribute, attributes, u16_at, u32_at},
    model::link_filters::{Attachment, LinkHook, TcFilter, XdpMode},
};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;

/// Bytes of `struct tcmsg` and `struct ifinfomsg`.
const TCMSG: usize = 20;
const IFINFOMSG: usize = 16;
/// The parents of a clsact qdisc, and of its filters of either side; an ingress qdisc has the same.
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// In place of an index: the filter is of a block that links share.
const OF_BLOCK: u32 = u32::MAX;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// The program's own verdict counts.
const DIRECT: u32 = 1;
const TCA_ACT_STATS: u16 = 4;
const TCA_STATS_QUEUE: u16 = 3;
/// `drops` in `struct gnet_stats_queue`.
const DROPS: usize = 8;
const IFLA_XDP: u16 = 43;
const IFLA_EXT_MASK: u16 = 29;
/// RTEXT_FILTER_SKIP_STATS.
const SKIP_STATS: u32 = 8;

/// Where each kind of filter has its actions.
const ACTIONS: [(&str, u16); 9] = [
    ("basic", 3),
    ("bpf", 1),
    ("cgroup", 1),
    ("flow", 9),
    ("flower", 3),
    ("fw", 4),
    ("matchall", 2),
    ("route", 6),
    ("u32", 7),
];

/// What is asked.
pub struct Request {
    kind: u16,
    body: Vec<u8>,
}

impl Request {
    pub fn qdiscs() -> Self {
        Self::of_tc(RTM_GETQDISC, 0, 0)
    }

    pub fn filters(link: u32, hook: LinkHook) -> Self {
        let parent = if hook == LinkHook::Egress {
            EGRESS
        } else {
            INGRESS
        };
        Self::of_tc(RTM_GETTFILTER, link, parent)
    }

    /// All links, without what they counted.
    pub fn links() -> Self {
        let mut body = vec![0; IFINFOMSG];
        for part in [8, IFLA_EXT_MASK] {
            body.extend(part.to_ne_bytes());
        }
        body.extend(SKIP_STATS.to_ne_bytes());
        Self {
            kind: RTM_GETLINK,
            body,
        }
    }

    fn of_tc(kind: u16, link: u32, parent: u32) -> Self {
        let mut body = vec![0; 4];
        for field in [link, 0, parent, 0] {
            body.extend(field.to_ne_bytes());
        }
        Self { kind, body }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = ((HEADER + self.body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(DUMP.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(&self.body);
        bytes
    }
}

/// What filters of packets hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qdisc {
    Clsact,
    Ingress,
}

impl Qdisc {
    pub fn hooks(self) -> &'static [LinkHook] {
        match self {
            Self::Clsact => &[LinkHook::Ingress, LinkHook::Egress],
            // Asked for the other side, it tells the same filters again (ingress_tcf_block).
            Self::Ingress => &[LinkHook::Ingress],
        }
    }
}

/// With the index of its link.
pub fn qdisc(message: &[u8]) -> Option<(u32, Qdisc)> {
    let body = body(message, RTM_NEWQDISC)?;
    let own = u32_at(body, 12)? == CLSACT;
    let qdisc = match attribute(body.get(TCMSG..)?, TCA_KIND)? {
        b"clsact\0" if own => Qdisc::Clsact,
        b"ingress\0" if own => Qdisc::Ingress,
        _ => return None,
    };
    Some((u32_at(body, 4)?, qdisc))
}

/// A filter or program as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub link: u32,
    pub hook: LinkHook,
    pub at: Attachment,
    /// The id of its program.
    pub program: Option<u32>,
    pub dropped: Option<u64>,
    pub moved: u64,
}

impl Found {
    pub fn program(link: u32, hook: LinkHook, at: Attachment, id: u32) -> Self {
        Self {
            link,
            hook,
            at,
            program: Some(id),
            dropped: None,
            moved: 0,
        }
    }

    /// What names it from one listing to the next.
    pub fn key(&self) -> (u32, LinkHook, String, Option<u32>) {
        let words = match &self.at {
            Attachment::Tc(filter) => filter.words(),
            _ => String::new(),
        };
        (self.link, self.hook, words, self.program)
    }
}

/// A filter of that link's that can drop packets: by its program's verdict, or by an action.
pub fn filter(message: &[u8], link: u32, hook: LinkHook) -> Option<Found> {
    let body = body(message, RTM_NEWTFILTER)?;
    let rest = body.get(TCMSG..)?;
    let kind = attribute(rest, TCA_KIND)?.strip_suffix(&[0])?;
    let kind = String::from_utf8_lossy(kind).into_owned();
    let options = attribute(rest, TCA_OPTIONS)?;
    let info = u32_at(body, 16)?;
    let index = u32_at(body, 4)?;
    let direct = kind == "bpf"
        && attribute(options, TCA_BPF_FLAGS)
            .and_then(|flags| u32_at(flags, 0))
            .is_some_and(|flags| flags & DIRECT != 0);
    let dropped = if direct {
        None
    } else {
        Some(dropped(&kind, options)?)
    };
    let program = (kind == "bpf")
        .then(|| attribute(options, TCA_BPF_ID))
        .flatten();
    let filter = TcFilter {
        protocol: u16::from_be((info & 0xffff) as u16),
        preference: (info >> 16) as u16,
        handle: u32_at(body, 8)?,
        chain: attribute(rest, TCA_CHAIN)
            .and_then(|chain| u32_at(chain, 0))
            .unwrap_or(0),
        // tcm_block_index stands where the parent does.
        block: (index == OF_BLOCK).then(|| u32_at(body, 12)).flatten(),
        kind,
    };
    Some(Found {
        link,
        hook,
        at: Attachment::Tc(filter),
        program: program.and_then(|id| u32_at(id, 0)),
        dropped,
        moved: 0,
    })
}

/// What all its actions dropped; nothing where it has none.
fn dropped(kind: &str, options: &[u8]) -> Option<u64> {
    let (_, at) = ACTIONS.iter().find(|(of, _)| *of == kind)?;
    let actions = attribute(options, *at)?;
    let drops = attributes(actions).map(|(_, action)| {
        let stats = attribute(action, TCA_ACT_STATS)?;
        u32_at(attribute(stats, TCA_STATS_QUEUE)?, DROPS)
    });
    Some(
        drops
            .flatten()
            .fold(0, |all, drops| all.saturating_add(drops.into())),
    )
}

/// A link's index, and the programs of XDP on it.
pub fn link(message: &[u8]) -> Option<(u32, Vec<(XdpMode, u32)>)> {
    const MODES: [(u16, XdpMode); 3] = [
        (5, XdpMode::Driver),
        (6, XdpMode::Generic),
        (7, XdpMode::Hardware),
    ];
    let body = body(message, RTM_NEWLINK)?;
    let xdp = attribute(body.get(IFINFOMSG..)?, IFLA_XDP).unwrap_or_default();
    let program = |(at, mode): (u16, XdpMode)| {
        let id = u32_at(attribute(xdp, at)?, 0)?;
        (id > 0).then_some((mode, id))
    };
    let programs = MODES.into_iter().filter_map(program);
    Some((u32_at(body, 4)?, programs.collect()))
}

fn body(message: &[u8], kind: u16) -> Option<&[u8]> {
    let own = u16_at(message, 4)? == kind;
    message.get(HEADER..).filter(|_| own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::netlink::nla;

    /// A message of that type about a filter or qdisc of link 7.
    fn message(kind: u16, link: u32, parent: u32, info: u32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER + 4, 0);
        for field in [link, 1, parent, info] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(rest);
        bytes
    }

    /// With one action that dropped so many.
    fn flower(drops: u32) -> Vec<u8> {
        let mut queue = vec![0; 20];
        queue[DROPS..DROPS + 4].copy_from_slice(&drops.to_ne_bytes());
        let stats = nla(TCA_ACT_STATS, &nla(TCA_STATS_QUEUE, &queue));
        let action = nla(1, &[nla(1, b"gact\0"), stats].concat());
        let options = nla(TCA_OPTIONS, &nla(3, &action));
        [
            nla(TCA_KIND, b"flower\0"),
            nla(TCA_CHAIN, &3_u32.to_ne_bytes()),
            options,
        ]
        .concat()
    }

    #[test]
    fn an_actions_drops_are_counted() {
        let info = 10 << 16 | u32::from(0x0800_u16.to_be());
        let of_link = message(RTM_NEWTFILTER, 7, INGRESS, info, &flower(42));
        let found = filter(&of_link, 7, LinkHook::Ingress).expect("a filter");
        assert_eq!((found.dropped, found.program), (Some(42), None));
        let Attachment::Tc(own) = found.at else {
            panic!("of tc")
        };
        assert_eq!(
            (own.protocol, own.preference, own.chain, own.block),
            (0x0800, 10, 3, None)
        );
        let of_block = message(RTM_NEWTFILTER, OF_BLOCK, 22, info, &flower(0));
        let found = filter(&of_block, 7, LinkHook::Ingress).expect("a filter");
        assert!(matches!(
            found.at,
            Attachment::Tc(TcFilter {
                block: Some(22),
                ..
            })
        ));
        let other = message(RTM_NEWQDISC, 7, INGRESS, info, &flower(0));
        assert_eq!(filter(&other, 7, LinkHook::Ingress), None);
        for length in 0..of_link.len() {
            let cut = filter(&of_link[..length], 7, LinkHook::Ingress);
            assert!(cut.is_none_or(|f| f.dropped.is_some_and(|drops| drops == 0 || drops == 42)));
        }
    }

    #[test]
    fn an_ingress_qdisc_has_one_side() {
        let of = |kind: &[u8], link| {
            let message = message(RTM_NEWQDISC, link, CLSACT, 0, &nla(TCA_KIND, kind));
            qdisc(&message).map(|(link, of)| (link, of.hooks().len()))
        };
        assert_eq!(of(b"ingress\0", 7), Some((7, 1)));
        assert_eq!(of(b"clsact\0", 8), Some((8, 2)));
        assert_eq!(of(b"fq_codel\0", 7), None);
    }

    #[test]
    fn programs_of_xdp_are_told_by_their_mode() {
        let of = |xdp: &[u8]| {
            let mut bytes = vec![0; HEADER + IFINFOMSG];
            bytes[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
            bytes[HEADER + 4] = 7;
            bytes.extend(nla(IFLA_XDP, xdp));
            let (index, programs) = link(&bytes).expect("a link");
            assert_eq!(index, 7);
            programs
        };
        let id = |at, id: u32| nla(at, &id.to_ne_bytes());
        assert_eq!(of(&id(6, 99)), [(XdpMode::Generic, 99)]);
        let both = [id(5, 98), id(6, 99)].concat();
        assert_eq!(of(&both).len(), 2);
        assert_eq!(of(&nla(2, &[0])), [], "none is attached");
    }
}

//! clsact qdiscs and their filters by netlink (net/sched/{sch_api,cls_api,cls_bpf}.c): what is
//! there, adding ours, and deleting what is ours.
use std::collections::HashMap;

use super::{
    attach::HANDLE_MARK,
    load,
    rtnl::{Failure, Message, Request, Rtnl, attribute, word},
};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const RTM_NEWCHAIN: u16 = 100;
const RTM_DELCHAIN: u16 = 101;
const RTM_GETCHAIN: u16 = 102;

/// Attributes of `struct tcmsg` (include/uapi/linux/rtnetlink.h).
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_INGRESS_BLOCK: u16 = 13;
const TCA_EGRESS_BLOCK: u16 = 14;
/// Of a bpf filter (include/uapi/linux/pkt_cls.h).
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// Bytes of `struct tcmsg`.
const TCMSG: usize = 20;
/// The one handle and parent that a clsact qdisc has.
const CLSACT: u32 = 0xffff_0000;
const CLSACT_PARENT: u32 = 0xffff_fff1;
const BPF: &[u8] = b"bpf\0";
const KIND: &[u8] = b"clsact\0";

/// Parent of an ingress or egress filter of a clsact qdisc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ingress,
    Egress,
}

impl Side {
    fn parent(self) -> u32 {
        match self {
            Self::Ingress => 0xffff_fff2,
            Self::Egress => 0xffff_fff3,
        }
    }
}

pub const SIDES: [Side; 2] = [Side::Ingress, Side::Egress];

/// One of our filters by what names it; it is for packets of every protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    pub side: Side,
    pub priority: u16,
    pub handle: u32,
}

/// A clsact qdisc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clsact {
    /// Its filters are those of other qdiscs too.
    pub shared: bool,
}

fn request(kind: u16, ifindex: u32, handle: u32, parent: u32, info: u32) -> Request {
    let mut body = vec![0; 4];
    for field in [ifindex, handle, parent, info] {
        body.extend(field.to_ne_bytes());
    }
    Request::new(kind, body)
}

fn of_filter(kind: u16, ifindex: u32, filter: Filter) -> Request {
    let every = (libc::ETH_P_ALL as u16).to_be();
    let info = u32::from(filter.priority) << 16 | u32::from(every);
    let request = request(kind, ifindex, filter.handle, filter.side.parent(), info);
    request.attribute(TCA_KIND, BPF)
}

fn of_clsact(kind: u16, ifindex: u32) -> Request {
    request(kind, ifindex, CLSACT, CLSACT_PARENT, 0).attribute(TCA_KIND, KIND)
}

/// The links of this namespace that have a clsact qdisc.
pub fn clsacts(rtnl: &mut Rtnl) -> Result<HashMap<u32, Clsact>, Failure> {
    let all = rtnl.dump(&request(RTM_GETQDISC, 0, 0, 0, 0))?;
    let clsact = |m: &Message| {
        let attributes = m.body.get(TCMSG..)?;
        let is = m.kind == RTM_NEWQDISC && attribute(attributes, TCA_KIND) == Some(KIND);
        let block = |kind| attribute(attributes, kind).and_then(|b| word(b, 0));
        let blocks = [TCA_INGRESS_BLOCK, TCA_EGRESS_BLOCK].map(block);
        let shared = blocks.into_iter().flatten().any(|block| block != 0);
        is.then_some((word(&m.body, 4)?, Clsact { shared }))
    };
    Ok(all.iter().filter_map(clsact).collect())
}

/// Whether nothing at all hangs on either side of the link's clsact qdisc: no filter of any kind,
/// priority or chain, and no chain that somebody made. A link that is not there any more has
/// nothing either.
pub fn is_bare(rtnl: &mut Rtnl, ifindex: u32) -> Result<bool, Failure> {
    for side in SIDES {
        for kind in [RTM_GETTFILTER, RTM_GETCHAIN] {
            let list = rtnl.dump(&request(kind, ifindex, 0, side.parent(), 0))?;
            if !list.is_empty() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether a filter on that side of the link runs a program of netdiag's, whichever netdiag's.
pub fn has_ours(rtnl: &mut Rtnl, ifindex: u32, side: Side) -> Result<bool, Failure> {
    let list = rtnl.dump(&request(RTM_GETTFILTER, ifindex, 0, side.parent(), 0))?;
    Ok(list.iter().any(|message| named(message) == Some(true)))
}

/// Whether a BPF filter on that side of the link is another's.
pub fn has_others(rtnl: &mut Rtnl, ifindex: u32, side: Side) -> Result<bool, Failure> {
    let list = rtnl.dump(&request(RTM_GETTFILTER, ifindex, 0, side.parent(), 0))?;
    Ok(list.iter().any(|message| named(message) == Some(false)))
}

/// Whether it is a filter of some netdiag's, where it runs a program.
fn named(message: &Message) -> Option<bool> {
    let attributes = message.body.get(TCMSG..)?;
    let options = attribute(attributes, TCA_OPTIONS)?;
    let name = attribute(options, TCA_BPF_NAME)?.strip_suffix(&[0])?;
    Some(load::on_links().any(|ours| name == ours.as_bytes()))
}

/// Nothing is there by that name: neither the link, the qdisc, the priority nor the filter, or the
/// priority is one of another kind of filter (tc_get_tfilter).
const NONE: [i32; 3] = [libc::ENODEV, libc::ENOENT, libc::EINVAL];

/// Whether one filter of ours is still there.
pub fn is_there(
    rtnl: &mut Rtnl,
    ifindex: u32,
    filter: Filter,
    programs: &[u32],
) -> Result<bool, Failure> {
    match rtnl.get(&of_filter(RTM_GETTFILTER, ifindex, filter)) {
        Err(failure) if failure.is(&NONE) => Ok(false),
        found => Ok(found?.iter().any(|m| is_ours(m, filter, programs))),
    }
}

/// Deletes one filter if it is ours: a bpf filter of that very handle and priority whose program
/// is one of these, or has the name of one of netdiag's where no numbers are known. Returns
/// whether it was there.
pub fn delete_ours(
    rtnl: &mut Rtnl,
    ifindex: u32,
    filter: Filter,
    programs: &[u32],
) -> Result<bool, Failure> {
    if !is_there(rtnl, ifindex, filter, programs)? {
        return Ok(false);
    }
    match rtnl.act(&of_filter(RTM_DELTFILTER, ifindex, filter)) {
        Err(failure) if failure.is(&NONE) => Ok(false),
        done => done.map(|()| true),
    }
}

fn is_ours(message: &Message, filter: Filter, programs: &[u32]) -> bool {
    let body = &message.body;
    let named = word(body, 8) == Some(filter.handle)
        && word(body, 16).map(|info| info >> 16) == Some(u32::from(filter.priority));
    let attributes = body.get(TCMSG..).unwrap_or_default();
    if message.kind != RTM_NEWTFILTER || !named || attribute(attributes, TCA_KIND) != Some(BPF) {
        return false;
    }
    let options = attribute(attributes, TCA_OPTIONS).unwrap_or_default();
    let id = attribute(options, TCA_BPF_ID).and_then(|id| word(id, 0));
    match id {
        Some(id) if !programs.is_empty() => programs.contains(&id),
        _ => {
            let name = attribute(options, TCA_BPF_NAME).and_then(|n| n.strip_suffix(&[0]));
            load::on_links().any(|ours| name == Some(ours.as_bytes()))
        }
    }
}

/// Adds a clsact qdisc where there is none; `EEXIST` where there is one.
pub fn add_clsact(rtnl: &mut Rtnl, ifindex: u32) -> Result<(), Failure> {
    rtnl.make(&of_clsact(RTM_NEWQDISC, ifindex))
}

/// Adds a filter that runs a program, open as `fd`.
pub fn add_filter(
    rtnl: &mut Rtnl,
    ifindex: u32,
    filter: Filter,
    fd: i32,
    name: &str,
) -> Result<(), Failure> {
    let mut zero_ended = name.as_bytes().to_vec();
    zero_ended.push(0);
    let options = Request::new(0, Vec::new())
        .attribute(TCA_BPF_FD, &fd.to_ne_bytes())
        .attribute(TCA_BPF_NAME, &zero_ended)
        .attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes());
    let request = of_filter(RTM_NEWTFILTER, ifindex, filter);
    rtnl.make(&request.attribute(TCA_OPTIONS, options.body()))
}

/// Deletes a link's clsact qdisc, and with it whatever filters it still has: the kernel knows no
/// "if it is empty". Returns whether it was there.
pub fn delete_clsact(rtnl: &mut Rtnl, ifindex: u32) -> Result<bool, Failure> {
    match rtnl.act(&of_clsact(RTM_DELQDISC, ifindex)) {
        // Another netdiag that ends at the same time may have been quicker.
        Err(failure) if failure.is(&NONE) => Ok(false),
        done => done.map(|()| true),
    }
}

/// The link on whose clsact qdisc this message of RTNLGRP_TC tells somebody else's doing.
pub fn doing_of_others(message: &Message, ports: &[u32]) -> Option<u32> {
    let ifindex = word(&message.body, 4)?;
    let parent = word(&message.body, 12)?;
    let attributes = message.body.get(TCMSG..).unwrap_or_default();
    let theirs = match message.kind {
        RTM_NEWQDISC | RTM_DELQDISC => parent == CLSACT_PARENT && !ports.contains(&message.port),
        RTM_NEWTFILTER | RTM_DELTFILTER => {
            let marked = word(&message.body, 8)? >> 16 == u32::from(HANDLE_MARK);
            let bpf = attribute(attributes, TCA_KIND) == Some(BPF);
            parent >> 16 == CLSACT >> 16 && !(marked && bpf)
        }
        // The kernel tells of chain 0 whenever a first filter comes, ours too.
        RTM_NEWCHAIN | RTM_DELCHAIN => {
            let chain = attribute(attributes, TCA_CHAIN).and_then(|c| word(c, 0));
            parent >> 16 == CLSACT >> 16 && chain.is_some_and(|c| c != 0)
        }
        _ => false,
    };
    theirs.then_some(ifindex)
}

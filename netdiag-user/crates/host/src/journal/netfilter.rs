//! What nf_tables tells of a transaction (net/netfilter/nf_tables_api.c, `nf_tables_commit`): each change, and at its end
//! the new generation, with the process that made it.
mod rule;

use std::collections::VecDeque;

use crate::{
    gather::{
        netlink::{HEADER, attribute, u16_at, u32_at},
        nfnetlink::{self, GENERIC},
    },
    model::{
        journal::{Change, Doer, How, Thing, Translates},
        netfilter::{Chain, Family},
    },
};

/// NFNL_SUBSYS_NFTABLES.
const SUBSYSTEM: u16 = 10;
/// Of one transaction; what came first makes way.
const MOST: usize = 1024;
/// NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME.
const PID: u16 = 2;
const PROGRAM: u16 = 3;
/// NFTA_RULE_EXPRESSIONS; a rule that is deleted is told whole.
const EXPRESSIONS: u16 = 4;

/// The changes of the transaction that is being told.
#[derive(Default)]
pub struct Batch {
    waiting: VecDeque<(Thing, How, Option<Translates>)>,
}

impl Batch {
    pub fn read(&mut self, datagram: &[u8], now: u64, note: &mut dyn FnMut(Change)) {
        let mut rest = datagram;
        while let (Some(length), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
            let length = length as usize;
            let Some(body) = rest.get(HEADER + GENERIC..length) else {
                return;
            };
            let family = rest.get(HEADER).copied().and_then(nfnetlink::family);
            if kind >> 8 == SUBSYSTEM {
                self.message((kind & 0xff, family), body, now, note);
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    fn message(
        &mut self,
        (kind, family): (u16, Option<Family>),
        body: &[u8],
        now: u64,
        note: &mut dyn FnMut(Change),
    ) {
        // NFT_MSG_NEWGEN
        if kind == 15 {
            let by = doer(body);
            for (of, how, translates) in self.waiting.drain(..) {
                note(Change {
                    at: now,
                    of,
                    how,
                    by: by.clone(),
                    translates,
                });
            }
            return;
        }
        if let Some((of, how)) = family.and_then(|family| change(kind, family, body)) {
            let translates =
                attribute(body, EXPRESSIONS).filter(|_| matches!(of, Thing::Rule { .. }));
            let change = (of, how, translates.and_then(rule::translates));
            if self.waiting.len() == MOST {
                self.waiting.pop_front();
            }
            self.waiting.push_back(change);
        }
    }
}

fn doer(body: &[u8]) -> Option<Doer> {
    let pid = attribute(body, PID)?.try_into().map(u32::from_be_bytes);
    Some(Doer {
        name: text(attribute(body, PROGRAM)?)?,
        pid: pid.ok()?,
    })
}

/// NFT_MSG_…, and what the first attributes of each are (include/uapi/linux/netfilter/nf_tables.h).
fn change(kind: u16, family: Family, body: &[u8]) -> Option<(Thing, How)> {
    let name = |kind| text(attribute(body, kind)?);
    let table = name(1)?;
    let (of, how) = match kind {
        0 => (Thing::Table { family, table }, How::Appeared),
        2 => (Thing::Table { family, table }, How::Vanished),
        3 | 5 => {
            let how = if kind == 3 {
                How::Appeared
            } else {
                How::Vanished
            };
            let chain = Chain {
                family,
                table,
                chain: name(3)?,
            };
            (Thing::Chain { chain }, how)
        }
        6 | 8 => {
            let handle = attribute(body, 3)?.try_into().ok()?;
            let how = if kind == 6 {
                How::Appeared
            } else {
                How::Vanished
            };
            let chain = Chain {
                family,
                table,
                chain: name(2)?,
            };
            let handle = u64::from_be_bytes(handle);
            (Thing::Rule { chain, handle }, how)
        }
        9 | 11 => {
            let how = if kind == 9 {
                How::Appeared
            } else {
                How::Vanished
            };
            let set = name(2)?;
            (Thing::Set { family, table, set }, how)
        }
        // What is in it.
        12 | 14 => {
            let set = name(2)?;
            (Thing::Set { family, table, set }, How::Replaced)
        }
        _ => return None,
    };
    Some((of, how))
}

fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::netlink::nla;

    fn message(kind: u16, family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = attributes.concat();
        let mut bytes = ((HEADER + GENERIC + body.len()) as u32)
            .to_ne_bytes()
            .to_vec();
        bytes.extend((SUBSYSTEM << 8 | kind).to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend([family, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    fn read(datagrams: &[Vec<u8>]) -> Vec<Change> {
        let (mut batch, mut all) = (Batch::default(), Vec::new());
        for (n, datagram) in datagrams.iter().enumerate() {
            batch.read(datagram, n as u64, &mut |change| all.push(change));
        }
        all
    }

    #[test]
    fn whoever_made_the_generation_did_it() {
        let rule = [
            nla(1, b"filter\0"),
            nla(2, b"forward\0"),
            nla(3, &7u64.to_be_bytes()),
        ];
        let generation = [
            nla(1, &9u32.to_be_bytes()),
            nla(2, &4711u32.to_be_bytes()),
            nla(3, b"firewalld\0"),
        ];
        let first = [message(6, 1, &rule), message(3, 1, &[nla(1, b"filter\0")])].concat();
        let told = read(&[first.clone(), message(15, 0, &generation)]);
        let chain = Chain {
            family: Family::Inet,
            table: "filter".into(),
            chain: "forward".into(),
        };
        let of = Thing::Rule { chain, handle: 7 };
        let by = Doer {
            name: "firewalld".into(),
            pid: 4711,
        };
        let change = Change {
            at: 1,
            of,
            how: How::Appeared,
            by: Some(by),
            translates: None,
        };
        assert_eq!(told, [change], "a chain without its name is none");
        assert!(read(&[first]).is_empty(), "not until it is made");
        for cut in 0..60 {
            let whole = message(6, 1, &rule);
            read(&[whole[..cut.min(whole.len())].to_vec()]);
        }
    }
}

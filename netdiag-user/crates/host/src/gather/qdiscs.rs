//! The queues of this namespace's links (RTM_GETQDISC).
use anyhow::Result;
use netdiag_lang::{english, mark};
use rtnetlink::{
    packet_core::{Nla, NlasIterator},
    packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption, TcStats2},
};

use super::Found;
use crate::{
    listing::{self, Left, Message, OTHERS},
    model::{
        gather::{Qdisc, TokenBucket},
        verdict::NotChecked,
    },
};

/// Attributes of a tbf (include/uapi/linux/pkt_sched.h).
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
/// One tick of the packet schedulers' clock (PSCHED_SHIFT of 6).
const TICK_NS: u64 = 64;

pub fn qdiscs() -> Result<Found<Vec<Qdisc>>> {
    list(OTHERS)
}

fn list(most: usize) -> Result<Found<Vec<Qdisc>>> {
    let ask = Message::GetQueueDiscipline(TcMessage::default());
    let take = |message, all: &mut Vec<Qdisc>| {
        if let Message::NewQueueDiscipline(message) = message {
            all.extend(qdisc(&message));
        }
    };
    let listed = listing::list_each([ask], most, "queues", take)?;
    Ok((listed.all, left(listed.left, most)))
}

fn left(left: Left, most: usize) -> Vec<NotChecked> {
    let more = left.more.then(|| {
        let what = english!("queues of the links beyond the first {most}");
        NotChecked::new(what, mark!("a listing is read no further"))
    });
    let changed = left.changed.then(|| {
        let what = mark!("whether these are all queues of the links");
        NotChecked::new(what, mark!("they changed while they were listed, twice"))
    });
    more.into_iter().chain(changed).collect()
}

fn qdisc(message: &TcMessage) -> Option<Qdisc> {
    let mut qdisc = Qdisc {
        ifindex: u32::try_from(message.header.index).ok()?,
        root: message.header.parent == TcHandle::ROOT,
        ..Qdisc::default()
    };
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => qdisc.kind.clone_from(kind),
            TcAttribute::Options(all) if qdisc.kind == "tbf" => {
                qdisc.bucket = all.iter().find_map(bucket);
            }
            TcAttribute::Stats2(all) => all.iter().for_each(|s| count(&mut qdisc, s)),
            _ => {}
        }
    }
    Some(qdisc)
}

fn count(qdisc: &mut Qdisc, stats: &TcStats2) {
    match stats {
        TcStats2::Basic(basic) => qdisc.sent = u64::from(basic.packets),
        TcStats2::Queue(queue) => {
            qdisc.drops = u64::from(queue.drops);
            qdisc.waiting = u64::from(queue.qlen);
        }
        _ => {}
    }
}

/// `struct tc_tbf_qopt`: two rates of 12 bytes, the last four of which are the rate; the limit; the
/// burst in ticks. Rates beyond 32 bits have an attribute of their own.
fn bucket(option: &TcOption) -> Option<TokenBucket> {
    let TcOption::Other(nest) = option else {
        return None;
    };
    let mut bytes = vec![0; nest.value_len()];
    nest.emit_value(&mut bytes);
    let (mut parameters, mut rate64) = (None, None);
    for attribute in NlasIterator::new(&bytes).flatten() {
        match attribute.kind() {
            TCA_TBF_PARMS => parameters = Some(attribute.value().to_vec()),
            TCA_TBF_RATE64 => rate64 = attribute.value().try_into().ok().map(u64::from_ne_bytes),
            _ => {}
        }
    }
    let parameters = parameters?;
    let word = |at: usize| {
        let bytes = parameters.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_ne_bytes(bytes)))
    };
    let rate = rate64.unwrap_or(word(8)?);
    Some(TokenBucket {
        rate,
        burst: (rate * word(28)? * TICK_NS).div_ceil(1_000_000_000),
        limit: word(24)?,
        peak: word(20)? > 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_are_left_out_are_told() {
        let (all, told) = list(OTHERS).expect("queues");
        assert!(!all.is_empty() && told.is_empty(), "loopback has one");
        let (none, told) = list(0).expect("queues");
        assert!(none.is_empty());
        assert_eq!(told[0].what, "queues of the links beyond the first 0");
        let changed = Left {
            changed: true,
            ..Left::default()
        };
        assert!(left(changed, 1)[0].why.starts_with("they changed"));
    }
}

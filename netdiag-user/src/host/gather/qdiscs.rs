//! The queues of this namespace's links (RTM_GETQDISC).
use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::{
    packet_core::{Nla, NlasIterator},
    packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption, TcStats2},
};

use crate::model::gather::{Qdisc, TokenBucket};

/// Attributes of a tbf (include/uapi/linux/pkt_sched.h).
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
/// One tick of the packet schedulers' clock (PSCHED_SHIFT of 6).
const TICK_NS: u64 = 64;

/// Asks on a thread of its own, with a runtime that lives no longer.
pub fn qdiscs() -> Result<Vec<Qdisc>> {
    let thread = std::thread::Builder::new().name("qdiscs".into());
    let spawned = thread.spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(list())
    })?;
    let joined = spawned.join();
    joined.map_err(|_| anyhow::anyhow!("the gathering thread panicked"))?
}

async fn list() -> Result<Vec<Qdisc>> {
    let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
    tokio::spawn(connection);
    let all = handle.qdisc().get().execute().try_collect::<Vec<_>>();
    let all = all.await.context("listing queues by netlink")?;
    Ok(all.iter().filter_map(qdisc).collect())
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

//! The queues of this namespace's links (RTM_GETQDISC).
use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::tc::{TcAttribute, TcMessage, TcStats2};

use crate::model::gather::Qdisc;

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
        ..Qdisc::default()
    };
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => qdisc.kind.clone_from(kind),
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

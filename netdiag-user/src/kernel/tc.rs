//! clsact qdiscs and filters by netlink: what is there, and deleting what is ours.
use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::tc::{TcAttribute, TcHandle, TcMessage},
};

/// Parent of an ingress or egress filter of a clsact qdisc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ingress,
    Egress,
}

impl Side {
    fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle {
            major: 0xffff,
            minor,
        }
    }
}

pub const SIDES: [Side; 2] = [Side::Ingress, Side::Egress];

/// A filter by what deletes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    pub side: Side,
    pub priority: u16,
    pub protocol: u16,
    pub handle: u32,
}

/// Filters on both sides of a link's clsact qdisc; none where it has no such qdisc.
pub async fn filters(handle: &Handle, ifindex: u32) -> Result<Vec<Filter>> {
    let index = i32::try_from(ifindex).context("ifindex out of range")?;
    let mut found = Vec::new();
    for side in SIDES {
        let request = handle.traffic_filter(index).get();
        let request = match side {
            Side::Ingress => request.ingress(),
            Side::Egress => request.egress(),
        };
        let messages: Vec<TcMessage> = match request.execute().try_collect().await {
            Ok(messages) => messages,
            // No clsact qdisc there, or no such link any more.
            Err(_) => continue,
        };
        found.extend(messages.iter().filter_map(|m| filter(m, side)));
    }
    Ok(found)
}

/// The dump also lists each priority's head, with handle 0: that is no filter.
fn filter(message: &TcMessage, side: Side) -> Option<Filter> {
    let handle = u32::from(message.header.handle);
    (handle != 0).then_some(Filter {
        side,
        priority: (message.header.info >> 16) as u16,
        protocol: (message.header.info & 0xffff) as u16,
        handle,
    })
}

/// Deletes one filter and nothing beside it.
pub async fn delete_filter(handle: &Handle, ifindex: u32, filter: Filter) -> Result<()> {
    let mut message =
        TcMessage::with_index(i32::try_from(ifindex).context("ifindex out of range")?);
    message.header.parent = filter.side.parent();
    message.header.handle = filter.handle.into();
    message.header.info = (u32::from(filter.priority) << 16) | u32::from(filter.protocol);
    message.attributes.push(TcAttribute::Kind("bpf".into()));
    use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
    use rtnetlink::packet_route::RouteNetlinkMessage;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelTrafficFilter(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut answers = handle.clone().request(request).context("asking netlink")?;
    use futures_util::StreamExt;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && let Some(code) = error.code
        {
            anyhow::bail!("{}", std::io::Error::from_raw_os_error(-code.get()));
        }
    }
    Ok(())
}

/// Whether the link has a clsact qdisc.
pub async fn has_clsact(handle: &Handle, ifindex: u32) -> Result<bool> {
    let messages: Vec<TcMessage> = handle
        .qdisc()
        .get()
        .execute()
        .try_collect()
        .await
        .context("listing qdiscs by netlink")?;
    let here = |m: &&TcMessage| m.header.index == i32::try_from(ifindex).unwrap_or(0);
    Ok(messages.iter().filter(here).any(|m| {
        m.attributes
            .iter()
            .any(|a| matches!(a, TcAttribute::Kind(kind) if kind == "clsact"))
    }))
}

/// Deletes a link's clsact qdisc, and with it whatever filters it still has.
pub async fn delete_clsact(handle: &Handle, ifindex: u32) -> Result<()> {
    let index = i32::try_from(ifindex).context("ifindex out of range")?;
    let mut request = handle.qdisc().del(index);
    let header = &mut request.message_mut().header;
    header.parent = TcHandle::INGRESS;
    header.handle = TcHandle {
        major: 0xffff,
        minor: 0,
    };
    request.execute().await.context("deleting the clsact qdisc")
}

//! Reading what the kernel says of a link, and of a request about one.
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};

pub fn name(link: &LinkMessage) -> &str {
    let name = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        });
    name.unwrap_or("?")
}

/// Whether the kernel lacks what was asked for, rather than refusing it.
pub fn is_unsupported(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.raw_code().abs() == libc::EOPNOTSUPP)
}

/// Whether the link is not there any more.
pub fn is_missing(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.raw_code().abs() == libc::ENODEV)
}

/// Whether the link is up as far as it is meant to be.
pub fn is_ready(link: &LinkMessage) -> bool {
    !link.header.flags.contains(LinkFlags::Up)
        || link.attributes.iter().any(|attribute| {
            matches!(
                attribute,
                LinkAttribute::OperState(State::Up | State::Unknown)
            )
        })
}

/// Whether the link is an end of a veth pair.
pub fn is_veth(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => info.contains(&LinkInfo::Kind(InfoKind::Veth)),
        _ => false,
    })
}

//! What rules look at of a packet.
use netdiag_model::world::ruleset::{Base, Ct, Load, Meta};

/// What of a packet is of interest.
#[derive(Clone, Copy)]
pub enum Field {
    Destination,
    Source,
    Protocol,
    Port,
    Family,
    /// As the kernel numbers it in frames.
    EtherType,
    Mark,
    /// Every connection's first packet has it.
    OfConnection,
    Other,
}

/// Where IPv6's source begins IPv4 has its time to live and more.
pub fn field(load: &Load, ipv6: Option<bool>) -> Field {
    match load {
        Load::Payload {
            base: Base::Network,
            offset,
            length,
        } => match (offset, length) {
            (16, 1..=4) if ipv6 != Some(true) => Field::Destination,
            (12, 1..=4) if ipv6 != Some(true) => Field::Source,
            (24, 1..=16) if ipv6 != Some(false) => Field::Destination,
            (8, 1..=16) if ipv6 == Some(true) => Field::Source,
            (8, 16) if ipv6.is_none() => Field::Source,
            (9 | 6, 1) => Field::Protocol,
            _ => Field::Other,
        },
        Load::Payload {
            base: Base::Transport,
            offset: 2,
            length: 2,
        } => Field::Port,
        Load::Meta(Meta::L4Protocol) => Field::Protocol,
        Load::Meta(Meta::Family) => Field::Family,
        Load::Meta(Meta::Protocol) => Field::EtherType,
        Load::Meta(Meta::Mark) => Field::Mark,
        Load::Ct {
            key: Ct::State | Ct::Status | Ct::Direction,
            ..
        } => Field::OfConnection,
        _ => Field::Other,
    }
}

/// Bytes of it, where that is known.
pub fn length(load: &Load) -> Option<usize> {
    Some(match load {
        Load::Payload { length, .. } => usize::from(*length),
        Load::Meta(Meta::L4Protocol | Meta::Family) => 1,
        Load::Meta(Meta::Protocol) => 2,
        Load::Meta(Meta::IifName | Meta::OifName) => 16,
        Load::Meta(Meta::Mark) | Load::Fib(_) => 4,
        _ => return None,
    })
}

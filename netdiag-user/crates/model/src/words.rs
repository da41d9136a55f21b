//! Words of outputs that are text in the types, and yet the only ones: for the outputs' schemas.
use netdiag_lang::mark;

use crate::{limits::LimitFrom, roles::Role};

/// Of a packet at a link, as tc counts: into the node's stack, or out by that link.
pub const DIRECTIONS: [&str; 2] = ["ingress", "egress"];
/// What a limit of packets' size comes from.
pub const LIMITS: [&str; 3] = [
    LimitFrom::Route.name(),
    LimitFrom::Device.name(),
    LimitFrom::Overhead.name(),
];
/// What a link is for.
pub const ROLES: [&str; 4] = [
    Role::Pod.name(),
    Role::Bridge.name(),
    Role::Tunnel.name(),
    Role::Uplink.name(),
];
/// Who told of a retransmit.
pub const SEEN: [&str; 2] = [mark!("socket"), mark!("wire")];
/// What is wrong with a question's answers.
pub const PROBLEMS: [&str; 4] = [mark!("unanswered"), "servfail", "refused", mark!("error")];
/// What became of a link.
pub const CHANGES: [&str; 3] = [mark!("added"), mark!("removed"), mark!("changed")];
/// The form of a time, RFC 3339.
pub const TIME: &str = "date-time";

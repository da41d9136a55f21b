//! The ring's packets with what is known about each, for a capture file.
use netdiag_common::event::{DROP, Event, OVERSIZE, SOCKET_RETRANSMIT};

use super::{
    facts::{Facts, direction},
    scene::Scene,
};
use crate::model::{
    headers,
    node::{LinkKind, Node},
    observation::Observation,
    pod::label,
    roles::{Role, role},
};

/// Ethernet's header, and the word of it that says what follows.
const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// One or two VLAN tags may stand before it (IEEE 802.1Q).
const VLAN: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];

/// An Ethernet frame with an IP packet, cut where the ring cuts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Nanoseconds since 1970.
    pub time: u64,
    pub interface: String,
    pub role: Option<Role>,
    /// `None` where it was on no way in or out.
    pub egress: Option<bool>,
    pub bytes: Vec<u8>,
    /// What it was by its own header.
    pub length: u32,
    pub comment: String,
}

/// Takes from each packet of a reading what nobody asked for: all behind its headers, or behind so
/// many bytes. What is taken here is in no recording and in no capture.
pub fn trim(node: &Node, observation: &mut Observation, most: Option<u16>) {
    if observation.events.is_empty() {
        return;
    }
    let tunnels = node.links.iter().filter(|l| l.kind == LinkKind::Vxlan);
    let ports: Vec<u16> = tunnels.filter_map(|l| l.tunnel.as_ref()?.port).collect();
    for event in &mut observation.events {
        let captured = usize::from(event.captured).min(event.packet.len());
        let kept = match most {
            Some(most) => captured.min(usize::from(most)),
            None => headers_of(node, event, &event.packet[..captured], &ports),
        };
        event.packet[kept..].fill(0);
        event.captured = u16::try_from(kept).unwrap_or(0);
    }
}

fn headers_of(node: &Node, event: &Event, bytes: &[u8], vxlan: &[u16]) -> usize {
    let (frame, packet) = (headers::of_frame, headers::of_packet);
    if !is_hop(event) {
        return packet(bytes, vxlan);
    }
    match node.link(event.ifindex).map(|link| link.ethernet) {
        Some(true) => frame(bytes, vxlan),
        Some(false) => packet(bytes, vxlan),
        // Gone by now: it may have been either.
        None => frame(bytes, vxlan).min(packet(bytes, vxlan)),
    }
}

/// A hop has the frame as it passes; where it died the headers before IP are gone.
fn is_hop(event: &Event) -> bool {
    event.kind != DROP && event.kind != SOCKET_RETRANSMIT
}

/// Those of a reading that hold an IP packet.
pub fn samples(scene: &Scene, observation: &Observation) -> Vec<Sample> {
    // Of the facts, only who owns an address is wanted here.
    let rows = scene.rows(&Observation::default());
    let facts = scene.facts(&rows);
    let events = observation.events.iter();
    events.filter_map(|e| sample(scene, &facts, e)).collect()
}

fn sample(scene: &Scene, facts: &Facts<'_>, event: &Event) -> Option<Sample> {
    let hop = is_hop(event);
    let link = scene.node.link(event.ifindex);
    let own = hop || event.netns == scene.node.netns;
    let link = link.filter(|_| own);
    let captured = event.packet.get(..usize::from(event.captured))?;
    let frame = match link {
        Some(link) if hop && link.ethernet => captured.to_vec(),
        _ => framed(captured)?,
    };
    let ip = within_frame(&frame)?;
    let before = u32::try_from(frame.len() - ip.len()).ok()?;
    let interface = match link {
        Some(link) => link.name.clone(),
        None => elsewhere(facts, event),
    };
    let time = scene.clock.time(event.time).as_nanosecond();
    Some(Sample {
        time: u64::try_from(time).unwrap_or(0),
        role: link.and_then(|l| role(&scene.node, l)),
        egress: hop.then_some(event.direction == netdiag_common::hop::EGRESS),
        length: before + length(ip)?,
        bytes: frame,
        comment: comment(scene, facts, event, &interface),
        interface,
    })
}

/// Behind an Ethernet header without addresses.
fn framed(ip: &[u8]) -> Option<Vec<u8>> {
    let kind = match ip.first()? >> 4 {
        4 => IPV4,
        6 => IPV6,
        _ => return None,
    };
    Some([&[0; ETHERNET - 2][..], &kind, ip].concat())
}

fn within_frame(frame: &[u8]) -> Option<&[u8]> {
    let mut at = ETHERNET;
    while VLAN.iter().any(|tag| frame.get(at - 2..at) == Some(tag)) {
        at += 4;
    }
    let kind = frame.get(at - 2..at)?;
    (kind == IPV4 || kind == IPV6).then(|| frame.get(at..))?
}

/// Total length of the packet by its header; nothing where it is no IP.
fn length(packet: &[u8]) -> Option<u32> {
    let word = |at: usize| {
        Some(u32::from(u16::from_be_bytes([
            *packet.get(at)?,
            *packet.get(at + 1)?,
        ])))
    };
    let said = match packet.first()? >> 4 {
        4 => word(2)?,
        6 => word(4)? + 40,
        _ => return None,
    };
    // A superpacket can be too long to say it.
    Some(said.max(u32::try_from(packet.len()).ok()?))
}

/// A link of another namespace than the node's.
fn elsewhere(facts: &Facts<'_>, event: &Event) -> String {
    let place = match facts.pods.by_netns_at(event.netns, event.time) {
        Some(pod) => pod.title(),
        None => format!("netns {}", event.netns),
    };
    match event.ifindex {
        0 => place,
        index => format!("{place} ifindex {index}"),
    }
}

fn comment(scene: &Scene, facts: &Facts<'_>, event: &Event, interface: &str) -> String {
    let what = match event.kind {
        DROP => {
            let place = scene.names.symbol(event.location);
            let reason = scene.names.reasons().name_at(event.reason, &place);
            format!("drop: {reason} in {place}")
        }
        OVERSIZE => format!("oversize: {} bytes, {} fit", event.length, event.limit),
        _ => format!("retransmit: sequence {}", event.sequence),
    };
    let way = match event.kind {
        DROP => String::new(),
        _ => format!(" {}", direction(event.direction)),
    };
    let role = scene
        .node
        .link(event.ifindex)
        .filter(|l| l.name == interface);
    let role = role.and_then(|l| role_name(scene, l.index));
    let role = role.map_or_else(String::new, |role| format!(" ({role})"));
    let pods = facts.pods_of_at(&event.flow, Some(event.time));
    let pods: Vec<_> = pods.iter().map(label).collect();
    let pods = match pods.as_slice() {
        [] => String::new(),
        pods => format!("; pod {}", pods.join(" → ")),
    };
    format!("{what}; at {interface}{role}{way}{pods}")
}

fn role_name(scene: &Scene, index: u32) -> Option<&'static str> {
    Some(role(&scene.node, scene.node.link(index)?)?.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_begins_behind_its_tags() {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0, 0, 7, 0x08, 0, 0x45, 0]);
        assert_eq!(within_frame(&frame), Some(&[0x45, 0][..]));
        assert_eq!(within_frame(&frame[..16]), None);
        frame.splice(12.., [0x08, 0x06, 1]);
        assert_eq!(within_frame(&frame), None, "ARP");
    }

    #[test]
    fn a_length_is_the_headers_own() {
        assert_eq!(length(&[0x45, 0, 0x05, 0xdc]), Some(1500));
        assert_eq!(length(&[0x60, 0, 0, 0, 0x05, 0xb4]), Some(1500));
        assert_eq!(length(&[0x45, 0, 0, 0]), Some(4));
        assert_eq!(length(&[0x00, 1, 8, 0]), None);
        assert_eq!(length(&[]), None);
    }
}

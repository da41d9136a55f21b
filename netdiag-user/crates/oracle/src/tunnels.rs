//! VXLAN in worlds: between some of the namespaces, and what became of it since.
use fastrand::Rng;

use crate::{
    command::Command,
    generate::{in_table, table},
    names::{SPACES, TUNNEL, mac},
    plan::{Net, Plan, address, behind, own},
    wire::VXLAN,
};

/// The last byte of a tunnel's link-layer address.
const TUNNEL_END: usize = 0xfe;

/// A tunnel between all of them: told whom to find where, as by flannel, or learning.
pub fn made(rng: &mut Rng, net: usize, tunnel: &Net) -> Vec<Command> {
    let (mut lines, told) = (Vec::new(), rng.bool());
    // As large as what carries it: the more so where others lead into it.
    let wide = if tunnel.members.len() < SPACES { 2 } else { 4 };
    let mtu = if rng.u8(0..wide) == 0 { 1500 } else { 1450 };
    for space in tunnel.members.iter().copied() {
        // Now and then one is of another network, or its packets live less long.
        let id = if rng.u8(0..12) == 0 { 8 } else { 7 };
        let how = match rng.u8(0..6) {
            0 => " ttl 2",
            1 => " ttl inherit",
            2 => " tos inherit",
            _ => "",
        };
        let (lladdr, local) = (mac(space, TUNNEL_END), own(space));
        let learning = if told { " nolearning" } else { "" };
        for words in [
            format!(
                "link add {TUNNEL} address {lladdr} type vxlan id {id} dstport {VXLAN} local {local}{learning}{how}"
            ),
            format!("link set {TUNNEL} up mtu {mtu}"),
            format!("addr add {}/24 dev {TUNNEL}", address(net, space)),
            format!("addr add {}/32 dev lo", behind(space)),
        ] {
            lines.push(Command::ip(space, words));
        }
        for other in tunnel.others(space) {
            let (peer, remote) = (address(net, other), own(other));
            let to = mac(other, TUNNEL_END);
            lines.push(Command::ip(
                space,
                format!("route add {}/32 via {peer}", behind(other)),
            ));
            let of = match told {
                true => to.as_str(),
                false => "00:00:00:00:00:00",
            };
            if told {
                let words = format!("neigh add {peer} lladdr {to} dev {TUNNEL} nud permanent");
                lines.push(Command::ip(space, words));
            }
            let words = format!("fdb append {of} dev {TUNNEL} dst {remote}");
            lines.push(Command::bridge(space, words));
        }
    }
    lines
}

/// Who has no end of the tunnel reaches what is behind it by a neighbour that has one.
pub fn led_into(plan: &Plan, tunnel: &Net) -> Vec<Command> {
    let mut lines = Vec::new();
    for space in (0..SPACES).filter(|space| !tunnel.members.contains(space)) {
        let mut near = plan
            .wires(space)
            .filter(|(_, next)| tunnel.members.contains(next));
        let Some((net, next)) = near.next() else {
            continue;
        };
        for far in tunnel.others(next) {
            let words = format!("route add {}/32 via {}", behind(far), address(net, next));
            lines.push(Command::ip(space, words));
        }
    }
    lines
}

/// What became of a tunnel since.
pub fn change(rng: &mut Rng, plan: &Plan, lines: &mut Vec<Command>) {
    let Some((_, tunnel)) = plan.tunnel() else {
        return;
    };
    let member = |rng: &mut Rng| rng.choice(tunnel.members.iter()).copied().unwrap_or(0);
    let (space, of, to) = (member(rng), member(rng), rng.usize(0..SPACES));
    let of = match rng.u8(0..3) {
        0 => "00:00:00:00:00:00".to_owned(),
        _ => mac(of, TUNNEL_END),
    };
    let line = match rng.u8(0..8) {
        0 => Command::ip(space, format!("link set {TUNNEL} down")),
        1 => Command::ip(space, format!("link set {TUNNEL} mtu 1500")),
        2 => Command::bridge(space, format!("fdb del {of} dev {TUNNEL}")),
        3 => Command::bridge(
            space,
            format!("fdb append {of} dev {TUNNEL} dst {}", own(to)),
        ),
        4 => Command::bridge(
            space,
            format!("fdb replace {of} dev {TUNNEL} dst {} static", own(to)),
        ),
        5 => Command::ip(space, format!("addr del {}/32 dev lo", own(space))),
        // One mark, and the ways of what has it.
        _ => {
            let table = table(rng);
            let words = format!("rule add pref 50 fwmark 0x{} lookup {table}", rng.u8(1..4));
            lines.push(Command::ip(space, words));
            in_table(rng, plan, space, &format!(" table {table}"), lines);
            return;
        }
    };
    lines.push(line);
}

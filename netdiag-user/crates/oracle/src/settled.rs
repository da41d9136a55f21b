//! Whether the kernel has taken note of all that a world was built of.
use netdiag_model::world::{
    Stack, World,
    address::Flags,
    device::{Bond, BondMode, BondPort, Device, Kind},
    neighbour::State,
};

/// Whether bonds have seen how their ports are; some never look.
pub fn bonds_looked(world: &World) -> bool {
    let devices = world
        .stacks
        .values()
        .filter_map(|stack| stack.devices.some());
    let mut all = devices.flat_map(|all| all.values());
    all.all(|device| {
        let link = device.flags.up && device.lower_up;
        device.bond_port.is_none_or(|port| port.link_up == link)
    })
}

/// Whether every bond that speaks LACP has chosen a port, if one of its ports has a link; at first all are backups.
pub fn bonds_chose(world: &World) -> bool {
    let stacks = world.stacks.values();
    let mut all = stacks.filter_map(|stack| stack.devices.some());
    all.all(|devices| {
        let speak = devices.values().filter(|device| {
            let lacp = |own: &Bond| own.mode == BondMode::Ieee8023ad;
            device.flags.up && matches!(&device.kind, Kind::Bond(own) if lacp(own))
        });
        let ports = |bond: &Device| -> Vec<BondPort> {
            let of = devices
                .values()
                .filter(|one| one.master == Some(bond.index));
            let linked = of.filter(|one| one.lower_up);
            linked.filter_map(|one| one.bond_port).collect()
        };
        speak
            .map(ports)
            .all(|ports| ports.is_empty() || ports.iter().any(|port| !port.backup))
    })
}

pub fn is_settled(world: &World) -> bool {
    let devices = |stack: &Stack| {
        let devices = stack.devices.some();
        devices.is_none_or(|all| all.values().all(|device| device.running == device.lower_up))
    };
    let asked_for = |stack: &Stack| {
        let mut all = stack.addresses.some().into_iter().flatten();
        all.any(|address| address.flags.has(Flags::TENTATIVE))
    };
    let asks = |stack: &Stack| {
        let mut all = stack.neighbours.some().into_iter().flatten();
        all.any(|neighbour| neighbour.state == State::Incomplete)
    };
    let mut stacks = world.stacks.values();
    stacks.all(|stack| devices(stack) && !asked_for(stack) && !asks(stack))
}

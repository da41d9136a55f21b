//! Bonds and their ports (IFLA_BOND_*, IFLA_BOND_SLAVE_*).
use rtnetlink::packet_route::link::{
    BondAdInfo, BondAllPortActive, BondMode as Mode, BondPortState, InfoBond, InfoBondPort,
    MiiStatus,
};

use crate::model::world::device::{Bond, BondMode, BondPort};

/// Nothing of a mode that later kernels may have.
pub fn bond(all: &[InfoBond]) -> Option<Bond> {
    let mut bond = Bond::default();
    for one in all {
        match one {
            InfoBond::Mode(one) => bond.mode = mode(*one)?,
            InfoBond::ActivePort(index) => bond.active = Some(*index).filter(|index| *index != 0),
            InfoBond::AllPortsActive(all) => {
                bond.all_active = *all == BondAllPortActive::Delivered;
            }
            InfoBond::AdInfo(infos) => bond.aggregator = infos.iter().find_map(aggregator),
            _ => {}
        }
    }
    Some(bond)
}

fn mode(mode: Mode) -> Option<BondMode> {
    Some(match mode {
        Mode::BalanceRr => BondMode::BalanceRr,
        Mode::ActiveBackup => BondMode::ActiveBackup,
        Mode::BalanceXor => BondMode::BalanceXor,
        Mode::Broadcast => BondMode::Broadcast,
        Mode::Ieee8023Ad => BondMode::Ieee8023ad,
        Mode::BalanceTlb => BondMode::BalanceTlb,
        Mode::BalanceAlb => BondMode::BalanceAlb,
        _ => return None,
    })
}

fn aggregator(info: &BondAdInfo) -> Option<u16> {
    match info {
        BondAdInfo::Aggregator(id) => Some(*id),
        _ => None,
    }
}

pub fn port(all: &[InfoBondPort]) -> BondPort {
    let mut port = BondPort {
        backup: false,
        link_up: true,
        aggregator: None,
    };
    for one in all {
        match one {
            InfoBondPort::BondPortState(state) => port.backup = *state == BondPortState::Backup,
            InfoBondPort::MiiStatus(status) => port.link_up = *status == MiiStatus::Up,
            InfoBondPort::AdAggregatorId(id) => port.aggregator = Some(*id),
            _ => {}
        }
    }
    port
}

//! What can be asked for.
use super::samples::name;
use crate::{
    model::{gather::Want, source_nat::Leaving},
    testing::ip,
};

pub fn wants() -> Vec<Want> {
    every! { Want:
        Want::Listeners(_) => Want::Listeners(1),
        Want::Connections(_) => Want::Connections(1),
        Want::Commands(_) => Want::Commands(name()),
        Want::MemoryCgroup(_) => Want::MemoryCgroup(1),
        Want::Ipam => Want::Ipam,
        Want::Services => Want::Services,
        Want::Qdiscs => Want::Qdiscs,
        Want::Rules(_) => Want::Rules(1),
        Want::Receivers { .. } => Want::Receivers { netns: 1, port: 80 },
        Want::Resolvers => Want::Resolvers,
        Want::Security(_) => Want::Security(1),
        Want::LinkFilters(_) => Want::LinkFilters(1),
        Want::Etcd => Want::Etcd,
        Want::PodNetworks => Want::PodNetworks,
        Want::Tracked(_) => Want::Tracked(ip("10.20.30.40")),
        Want::Interception(_) => Want::Interception(1),
        Want::Runtime => Want::Runtime,
        Want::Impostors => Want::Impostors,
        Want::Stack(_) => Want::Stack(1),
        Want::SourceNat(_) => Want::SourceNat(Leaving {
            source: ip("10.20.30.40"),
            destination: ip("2001:db8:acce::7"),
            link: name(),
        }),
    }
}

//! Parts of a namespace's state that are asked for again and again, in the order in which the kernel goes through them.
use netdiag_model::{
    node::LOCAL,
    world::{Stack, address::Address, route::Route, rule::Rule},
};

/// RTPROT_KERNEL
const BY_KERNEL: u8 = 2;

pub(crate) struct Listed<'w> {
    /// Of IPv4, and of IPv6.
    rules: [Vec<&'w Rule>; 2],
    /// Device by device, and on each as it lists them.
    addresses: Vec<&'w Address>,
    /// Somebody's own route of IPv4 is in the table of local addresses.
    pub custom_local: bool,
}

impl<'w> Listed<'w> {
    pub fn new(stack: &'w Stack) -> Self {
        let rules = |ipv6| {
            let all = stack.rules.some().into_iter().flatten();
            all.filter(|rule| rule.ipv6 == ipv6).collect()
        };
        let addresses = stack.addresses.some().into_iter().flatten();
        let mut addresses: Vec<&Address> = addresses.collect();
        addresses.sort_by_key(|address| address.device);
        let mut routes = stack.routes.some().into_iter().flatten();
        let somebodys = |route: &Route| {
            let local = route.table == LOCAL && route.to.address.is_ipv4();
            local && route.protocol != BY_KERNEL
        };
        Self {
            rules: [rules(false), rules(true)],
            addresses,
            custom_local: routes.any(somebodys),
        }
    }

    pub fn rules(&self, ipv6: bool) -> &[&'w Rule] {
        &self.rules[usize::from(ipv6)]
    }

    /// Of one family.
    pub fn addresses(&self, ipv6: bool) -> impl Iterator<Item = &'w Address> {
        of_family(&self.addresses, ipv6)
    }

    pub fn addresses_of(&self, device: u32, ipv6: bool) -> impl Iterator<Item = &'w Address> {
        let from = self.addresses.partition_point(|one| one.device < device);
        let to = self.addresses.partition_point(|one| one.device <= device);
        of_family(&self.addresses[from..to], ipv6)
    }
}

fn of_family<'w>(all: &[&'w Address], ipv6: bool) -> impl Iterator<Item = &'w Address> {
    let all = all.iter().copied();
    all.filter(move |one| one.own.address.is_ipv6() == ipv6)
}

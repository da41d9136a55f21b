//! Whether a source may have come in there (net/ipv4/fib_frontend.c, `fib_validate_source`): where
//! the route to it leads. IPv6 has nothing like it but rules of the firewall's.
use netdiag_model::world::{
    conf::Of4,
    device::Device,
    route::{Kind, Route},
};

use super::{
    decision::No,
    rules::{Key, LOOPBACK, Looked},
};
use crate::{
    packet::Packet,
    prepared::Space,
    way::{How, Station, Subject, Unknown},
};

const STRICT: u8 = 1;

impl<'w> Space<'w> {
    /// Why its source is not believed, if it is not; `out` is the device that it will leave by, 0
    /// for what ends here.
    pub fn reverse(
        &self,
        packet: &Packet,
        device: &'w Device,
        out: u32,
    ) -> Result<Option<No<'w>>, Unknown> {
        let Some(conf) = self.conf4(device)? else {
            return Ok(None);
        };
        let filter = conf.rp_filter();
        let redirects = device.index == out && conf.send_redirects();
        if filter == 0 && !redirects && self.needs_no_route(conf)? {
            return Ok(match self.has(packet.source) && !conf.accept_local() {
                true => Some(martian(None)),
                false => None,
            });
        }
        self.by_route(packet, device, conf, out)
    }

    /// With the kernel's own routes and rules alone, looking through its addresses will do.
    fn needs_no_route(&self, conf: Of4<'_>) -> Result<bool, Unknown> {
        Ok(conf.accept_local() || (self.settings()?.one_trie && !self.has_custom_local()?))
    }

    /// Somebody's own route in the table of local addresses.
    fn has_custom_local(&self) -> Result<bool, Unknown> {
        let routes = self.stack.routes.whole();
        routes.map_err(|why| Unknown::NotRead("routes", why.clone()))?;
        Ok(self.listed.custom_local)
    }

    fn by_route(
        &self,
        packet: &Packet,
        device: &'w Device,
        conf: Of4<'_>,
        out: u32,
    ) -> Result<Option<No<'w>>, Unknown> {
        let filter = conf.rp_filter();
        let key = self.back(packet, conf, out)?;
        let found = match self.lookup(&key)? {
            Looked::Found(found) => found,
            _ => return Ok(self.last_resort(filter, device)),
        };
        let here = found.route.kind == Kind::Local;
        if found.route.kind != Kind::Unicast && !(here && conf.accept_local()) {
            return Ok(Some(martian(Some(found.route))));
        }
        // All of its next hops count, not the ones that are alive alone.
        let leads = found
            .route
            .hops
            .iter()
            .any(|hop| hop.device == device.index);
        if leads || (here && device.flags.loopback) {
            return Ok(None);
        }
        if self.has_no_address(device)? {
            return Ok(self.last_resort(filter, device));
        }
        if filter == STRICT {
            return Ok(Some(filtered(device, Some(Subject::Route(found.route)))));
        }
        Ok(None)
    }

    fn last_resort(&self, filter: u8, device: &'w Device) -> Option<No<'w>> {
        (filter != 0).then(|| filtered(device, None))
    }

    /// The way back is asked for without the mark, unless `src_valid_mark` says so.
    fn back(&self, packet: &Packet, conf: Of4<'_>, out: u32) -> Result<Key, Unknown> {
        let looks = self.looks_for_ports(false)?;
        let (sport, dport) = packet.routed_ports();
        let seen = |value: u16| if looks { value } else { 0 };
        Ok(Key {
            destination: packet.source,
            source: packet.destination,
            tos: packet.routed_tos(),
            mark: if conf.src_valid_mark() {
                packet.mark
            } else {
                0
            },
            iif: if out == 0 { LOOPBACK } else { out },
            oif: 0,
            uid: 0,
            protocol: if looks { packet.protocol } else { 0 },
            sport: seen(dport),
            dport: seen(sport),
            ignore_linkstate: false,
            loose: false,
            failing: None,
        })
    }

    fn has_no_address(&self, device: &Device) -> Result<bool, Unknown> {
        self.addresses()?;
        let mut own = self.listed.addresses_of(device.index, false);
        Ok(own.next().is_none())
    }
}

/// By the route that says whose it is, where one was looked up.
fn martian(by: Option<&Route>) -> No<'_> {
    No {
        station: Station::ReversePath,
        how: How::MartianSource,
        by: by.map(Subject::Route),
    }
}

fn filtered<'w>(device: &'w Device, by: Option<Subject<'w>>) -> No<'w> {
    let setting = Subject::Setting("ipv4.conf.DEVICE.rp_filter", Some(device));
    No {
        station: Station::ReversePath,
        how: How::ReversePath,
        by: by.or(Some(setting)),
    }
}

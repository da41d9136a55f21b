//! Links, addresses, routes and neighbours of one namespace, over a netlink socket that was
//! opened inside it.
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, CacheInfo};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::link::{is_missing, is_ready, is_veth, name};
use super::netns::Netns;

pub type Mac = [u8; 6];

/// Beyond what the kernel gives to the few devices of a namespace by itself.
const FIRST_INDEX: u32 = 20;

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    pub net: &'a Net,
    pub name: &'a str,
    pub mac: Option<Mac>,
}

/// A route; what is not given is left out.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    pub to: (IpAddr, u8),
    pub via: Option<IpAddr>,
    pub device: &'a str,
    /// The gateway is taken to be on the link although no address says so.
    pub onlink: bool,
}

impl<'a> Route<'a> {
    pub fn new(to: (IpAddr, u8), via: Option<IpAddr>, device: &'a str) -> Self {
        Self {
            to,
            via,
            device,
            onlink: false,
        }
    }

    pub fn onlink(self) -> Self {
        Self {
            onlink: true,
            ..self
        }
    }
}

/// How a route says no (RTN_UNREACHABLE, RTN_PROHIBIT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Unreachable,
    Prohibit,
}

#[derive(Clone, Debug)]
pub struct Net {
    pub netns: Netns,
    pub handle: Handle,
}

impl Net {
    /// Opens a netlink socket in the namespace. Needs a tokio runtime.
    pub fn open(netns: &Netns) -> Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle) = netns.run(|| {
            let _inside = runtime.enter();
            let (connection, handle, _) =
                rtnetlink::new_connection().context("cannot open a netlink socket")?;
            Ok((connection, handle))
        })?;
        runtime.spawn(connection);
        Ok(Self {
            netns: netns.clone(),
            handle,
        })
    }

    pub async fn links(&self) -> Result<Vec<LinkMessage>> {
        let links = self.handle.link().get().execute().try_collect().await;
        links.with_context(|| format!("cannot list the links of {}", self.netns.name))
    }

    pub async fn index(&self, device: &str) -> Result<u32> {
        let mut found = self
            .handle
            .link()
            .get()
            .match_name(device.to_owned())
            .execute();
        let found = found
            .try_next()
            .await
            .with_context(|| self.at("no link", device))?;
        Ok(found
            .with_context(|| self.at("no link", device))?
            .header
            .index)
    }

    pub async fn add(&self, device: &str, link: LinkMessage) -> Result<()> {
        let added = self.handle.link().add(link).execute().await;
        added.with_context(|| self.at("cannot add link", device))
    }

    /// Makes a veth pair with its ends where they belong, so that no name is taken on the way.
    pub async fn veth(one: End<'_>, other: End<'_>, mtu: u32) -> Result<()> {
        let there = other
            .net
            .netns
            .file()
            .context("cannot open the namespace")?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&there);
        let mut peer = LinkUnspec::new_with_name(other.name)
            .mtu(mtu)
            .setns_by_fd(fd);
        // Ends of the same index look to the kernel like a device without a lower one, and it
        // takes up to a second to tell such a device that its carrier is there.
        let index = FIRST_INDEX + one.net.links().await?.len() as u32;
        let mut link = LinkVeth::new(one.name, other.name).mtu(mtu).index(index);
        if let Some(mac) = other.mac {
            peer = peer.address(mac.to_vec());
        }
        if let Some(mac) = one.mac {
            link = link.address(mac.to_vec());
        }
        let link = link.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
        one.net.add(one.name, link.build()).await
    }

    /// Changes a link, for example `|link| link.mtu(1400).up()`.
    pub async fn set(
        &self,
        device: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<()> {
        let index = self.index(device).await?;
        let link = change(LinkUnspec::new_with_index(index)).build();
        let done = self.handle.link().set(link).execute().await;
        done.with_context(|| self.at("cannot change link", device))
    }

    pub async fn up(&self, device: &str) -> Result<()> {
        self.set(device, LinkMessageBuilder::up).await
    }

    pub async fn attach(&self, device: &str, bridge: &str) -> Result<()> {
        let bridge = self.index(bridge).await?;
        self.set(device, |link| link.controller(bridge).up()).await
    }

    /// Adds an address; with a lifetime it is one that DHCP gave, without it is there for good.
    pub async fn address(
        &self,
        device: &str,
        (ip, length): (IpAddr, u8),
        lifetime: Option<Duration>,
    ) -> Result<()> {
        let index = self.index(device).await?;
        let mut request = self.handle.address().add(index, ip, length);
        let attributes = &mut request.message_mut().attributes;
        if ip.is_ipv6() {
            attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        if let Some(lifetime) = lifetime {
            let mut info = CacheInfo::default();
            info.ifa_preferred = lifetime.as_secs() as u32;
            info.ifa_valid = info.ifa_preferred;
            attributes.push(AddressAttribute::CacheInfo(info));
        }
        let added = request.execute().await;
        added.with_context(|| self.at(&format!("cannot add {ip}/{length} to"), device))
    }

    pub async fn route(&self, route: Route<'_>) -> Result<()> {
        let (to, length) = route.to;
        let what = format!("cannot add a route to {to}/{length} by");
        let mut builder = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to, length)
            .with_context(|| self.at(&what, route.device))?
            .output_interface(self.index(route.device).await?);
        builder = match route.via {
            Some(via) => builder
                .gateway(via)
                .with_context(|| self.at(&what, route.device))?,
            None => builder.scope(RouteScope::Link),
        };
        if route.onlink {
            builder = builder.onlink();
        }
        let added = self
            .handle
            .route()
            .add(builder.build())
            .replace()
            .execute()
            .await;
        added.with_context(|| self.at(&what, route.device))
    }

    /// Takes a route of the main table away.
    pub async fn unroute(&self, (to, length): (IpAddr, u8)) -> Result<()> {
        let what = || format!("cannot take away the route to {to}/{length}");
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to, length)
            .with_context(what)?;
        let gone = self.handle.route().del(route.build()).execute().await;
        gone.with_context(|| format!("{} in {}", what(), self.netns.name))
    }

    /// Adds a route that says no.
    pub async fn refuse(&self, (to, length): (IpAddr, u8), refusal: Refusal) -> Result<()> {
        let what = || format!("cannot refuse {to}/{length}");
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to, length)
            .with_context(what)?
            .kind(match refusal {
                Refusal::Unreachable => RouteType::Unreachable,
                Refusal::Prohibit => RouteType::Prohibit,
            });
        let added = self.handle.route().add(route.build()).execute().await;
        added.with_context(|| format!("{} in {}", what(), self.netns.name))
    }

    /// A permanent entry of the neighbour table.
    pub async fn neighbour(&self, device: &str, ip: IpAddr, mac: Mac) -> Result<()> {
        let index = self.index(device).await?;
        let request = self
            .handle
            .neighbours()
            .add(index, ip)
            .link_layer_address(&mac);
        let added = request.replace().execute().await;
        added.with_context(|| self.at(&format!("cannot add neighbour {ip} to"), device))
    }

    /// A permanent entry of a VXLAN device's forwarding table: frames to `mac` go to `host`.
    pub async fn forwarding(&self, device: &str, mac: Mac, host: IpAddr) -> Result<()> {
        let index = self.index(device).await?;
        let mut request = self.handle.neighbours().add_bridge(index, &mac);
        let message = request.message_mut();
        message.header.flags = NeighbourFlags::Own;
        message
            .attributes
            .push(NeighbourAttribute::Destination(match host {
                IpAddr::V4(host) => NeighbourAddress::Inet(host),
                IpAddr::V6(host) => NeighbourAddress::Inet6(host),
            }));
        let added = request.replace().execute().await;
        added.with_context(|| self.at(&format!("cannot add the entry for {host} to"), device))
    }

    /// Takes an entry of the neighbour table away.
    pub async fn no_neighbour(&self, device: &str, ip: IpAddr) -> Result<()> {
        let index = self.index(device).await?;
        let mut entry = self.handle.neighbours().add(index, ip);
        let gone = self.handle.neighbours().del(entry.message_mut().clone());
        let gone = gone.execute().await;
        gone.with_context(|| self.at(&format!("cannot take neighbour {ip} from"), device))
    }

    /// Takes an entry of a VXLAN device's forwarding table away.
    pub async fn no_forwarding(&self, device: &str, mac: Mac) -> Result<()> {
        let index = self.index(device).await?;
        let mut entry = self.handle.neighbours().add_bridge(index, &mac);
        entry.message_mut().header.flags = NeighbourFlags::Own;
        let gone = self.handle.neighbours().del(entry.message_mut().clone());
        let gone = gone.execute().await;
        gone.with_context(|| self.at("cannot take a forwarding entry from", device))
    }

    /// Waits until every link that is switched on has its carrier.
    pub async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let links = self.links().await?;
            let Some(waiting) = links.iter().find(|link| !is_ready(link)) else {
                return Ok(());
            };
            if Instant::now() > deadline {
                bail!(
                    "{}: link {} does not come up",
                    self.netns.name,
                    name(waiting)
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Removes a link, and with a veth its other end.
    pub async fn remove(&self, device: &str) -> Result<()> {
        let index = self.index(device).await?;
        let gone = self.handle.link().del(index).execute().await;
        gone.with_context(|| self.at("cannot remove", device))
    }

    /// Removes the links that hold others in other namespaces. Done before the namespaces go:
    /// the kernel frees those later, and until then traffic would go on in them.
    pub async fn remove_veths(&self) -> Result<()> {
        for link in self.links().await? {
            if is_veth(&link) {
                let gone = self.handle.link().del(link.header.index).execute().await;
                if let Err(error) = gone
                    && !is_missing(&error)
                {
                    return Err(error).with_context(|| self.at("cannot remove", name(&link)));
                }
            }
        }
        Ok(())
    }

    fn at(&self, what: &str, device: &str) -> String {
        format!("{what} {device} in {}", self.netns.name)
    }
}

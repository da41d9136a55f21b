//! A packet as netfilter's expressions ask for it and change it: its headers' bytes, as far as they are known.
use std::net::IpAddr;

use netdiag_model::world::{
    device::{Device, Kind},
    ruleset::{Base, Ct, Fib, Ipset, Load, Meta, Store},
};
use netdiag_ruleset::{Byte, Loaded, Packet as Asked, Stored};

use crate::{
    chances::Chances,
    connection::{Ports, Side, Tracked, Tracking},
    packet::{Decided, Packet, Served, UDP},
    prepared::{Prepared, Space, Wrong},
    route::back::Back,
};

/// ETH_P_IP, ETH_P_IPV6; NFPROTO_IPV4, NFPROTO_IPV6; ARPHRD_ETHER, ARPHRD_LOOPBACK.
const PROTOCOLS: (u16, u16) = (0x0800, 0x86dd);
const FAMILIES: (u8, u8) = (2, 10);
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;
/// IFNAMSIZ.
const NAME: usize = 16;
/// Bytes of IP's headers.
const FOUR: u32 = 20;
const SIX: u32 = 40;
/// Where TCP has its flags.
const FLAGS: usize = 13;
/// IP_DF.
const DF: u8 = 0x40;

/// What is written on a packet or its connection that turns nobody anywhere here: NFT_META_PRIORITY and NFTRACE;
/// NFT_CT_LABELS and EVENTMASK. Who loads them is not told what was written.
const UNSEEN: ([u32; 2], [u32; 2]) = ([2, 12], [13, 18]);

pub(crate) struct Hooked<'a, 'w> {
    pub packet: &'a mut Packet,
    pub walks: &'a Prepared<'w>,
    pub space: &'a Space<'w>,
    pub input: Option<&'w Device>,
    pub output: Option<&'w Device>,
    /// It is a later one of several fragments.
    pub fragment: bool,
    pub chances: &'a Chances,
}

impl Asked for Hooked<'_, '_> {
    fn load(&self, what: &Load) -> Loaded {
        match what {
            Load::Meta(meta) => self.meta(*meta),
            Load::Payload {
                base,
                offset,
                length,
            } => self.payload(*base, *offset, usize::from(*length)),
            Load::Ct { key, reply } => self.tracked(*key, *reply),
            Load::Fib(fib) => self.looked_up(*fib),
            _ => Loaded::Unknown,
        }
    }

    fn store(&mut self, what: &Store, bytes: &[Byte]) -> Stored {
        let word = bytes.iter().take(4).map(|byte| byte.get());
        let word: Option<Vec<u8>> = word.collect();
        match (what, word.as_deref()) {
            (Store::Meta(Meta::Mark), Some(&[a, b, c, d])) => {
                self.packet.mark = u32::from_ne_bytes([a, b, c, d]);
                Stored::Done
            }
            (Store::Ct(Ct::Mark), Some(&[a, b, c, d])) => {
                if let Tracked::Is { of, .. } = &mut self.packet.tracked {
                    of.mark = u32::from_ne_bytes([a, b, c, d]);
                }
                Stored::Done
            }
            (Store::Meta(Meta::Other(key)), _) if UNSEEN.0.contains(key) => Stored::Done,
            (Store::Ct(Ct::Other(key)), _) if UNSEEN.1.contains(key) => Stored::Done,
            _ => Stored::Unknown,
        }
    }

    fn choice(&mut self, ways: usize) -> Option<usize> {
        match self.walks.is(Wrong::FirstOfSeveral) {
            true => Some(0),
            false => self.chances.next(ways),
        }
    }

    fn asked(&self, asked: &netdiag_ruleset::Asked<'_>) {
        if let Some(tally) = self.walks.tally {
            tally.count(asked);
        }
    }

    fn routed(&self, destination: bool) -> Option<u16> {
        let packet = &*self.packet;
        let address = if destination {
            packet.destination
        } else {
            packet.source
        };
        self.space.kinds6(address).ok()
    }

    fn comes_back(&self, flags: u8) -> Option<bool> {
        /// XT_RPFILTER_…
        const LOOSE: u8 = 1;
        const VALID_MARK: u8 = 2;
        const ACCEPT_LOCAL: u8 = 4;
        let input = self.enters()?;
        if input.flags.loopback {
            return Some(true);
        }
        let with_mark = flags & VALID_MARK != 0;
        Some(
            match self.space.way_back(self.packet, input, with_mark).ok()? {
                Back::Nowhere => false,
                Back::Here(_) if flags & ACCEPT_LOCAL == 0 => false,
                Back::Here(_) if self.packet.is_ipv6() => true,
                Back::Here(devices) | Back::By(devices) => {
                    devices.contains(&input.index) || flags & LOOSE != 0
                }
            },
        )
    }

    fn ipsets(&self) -> &[Ipset] {
        let ruleset = self.space.stack.ruleset.some();
        ruleset.map_or(&[], |ruleset| &ruleset.ipsets)
    }

    fn untrack(&mut self) -> Stored {
        if self.packet.tracked == Tracked::No {
            self.packet.tracked = Tracked::Untracked;
        }
        Stored::Done
    }
}

impl<'w> Hooked<'_, 'w> {
    fn meta(&self, meta: Meta) -> Loaded {
        let packet = &*self.packet;
        let of = |(four, six): (u16, u16)| if packet.is_ipv6() { six } else { four };
        match meta {
            Meta::Length => match packet.is_in_parts() {
                true => Loaded::Unknown,
                false => Loaded::word(packet.size),
            },
            Meta::Protocol => Loaded::known(&of(PROTOCOLS).to_be_bytes()),
            Meta::Mark => Loaded::word(packet.mark),
            Meta::Iif => Loaded::word(self.input.map_or(0, |device| device.index)),
            Meta::Oif => Loaded::word(self.output.map_or(0, |device| device.index)),
            Meta::IifName => name(self.input),
            Meta::OifName => name(self.output),
            Meta::IifType => kind(self.input),
            Meta::OifType => kind(self.output),
            Meta::IifGroup => group(self.input),
            Meta::OifGroup => group(self.output),
            Meta::Family => {
                let (four, six) = FAMILIES;
                Loaded::known(&[if packet.is_ipv6() { six } else { four }])
            }
            Meta::L4Protocol => Loaded::known(&[packet.protocol]),
            // What is led on, and what tunnels and the kernel send, has no socket.
            Meta::Uid | Meta::Gid if packet.decided == Decided::Forwarded => Loaded::None,
            Meta::Uid | Meta::Gid if packet.decided == Decided::No => Loaded::None,
            Meta::Uid | Meta::Gid if packet.served == Served::Led && packet.iif.is_some() => {
                Loaded::None
            }
            _ => Loaded::Unknown,
        }
    }

    /// What this namespace's routes say (`nft_fib4_eval`, `nft_fib4_eval_type` and those of IPv6).
    fn looked_up(&self, fib: Fib) -> Loaded {
        /// NFTA_FIB_F_SADDR, NFTA_FIB_F_DADDR; NFT_FIB_RESULT_ADDRTYPE, NFT_FIB_RESULT_OIF.
        const SOURCE: u32 = 1;
        const DESTINATION: u32 = 2;
        const KIND: u32 = 3;
        const DEVICE: u32 = 1;
        let packet = &*self.packet;
        let of_source = fib.flags == SOURCE;
        let found = match (fib.result, fib.flags) {
            (KIND, SOURCE | DESTINATION) => {
                let address = if of_source {
                    packet.source
                } else {
                    packet.destination
                };
                match address {
                    IpAddr::V4(v4) => self.space.address_type(v4).ok().flatten(),
                    IpAddr::V6(_) => self.space.kind6(packet, of_source).ok(),
                }
            }
            (DEVICE, flags) => return self.device_back(flags).unwrap_or(Loaded::Unknown),
            _ => None,
        };
        found.map_or(Loaded::Unknown, Loaded::word)
    }

    /// By which device the way to its source leads, before anybody has routed it; or whether there is one.
    fn device_back(&self, flags: u32) -> Option<Loaded> {
        /// NFTA_FIB_F_…
        const SOURCE: u32 = 1;
        const MARK: u32 = 4;
        const INPUT: u32 = 8;
        const PRESENT: u32 = 32;
        let same = flags & !(MARK | PRESENT) == SOURCE | INPUT;
        let input = self.enters().filter(|_| same)?;
        let back = match input.flags.loopback {
            true => true,
            false => self.leads_back(input, flags & MARK != 0)?,
        };
        Some(match (flags & PRESENT, back) {
            (0, true) => Loaded::word(input.index),
            (0, false) => Loaded::word(0),
            (_, back) => Loaded::known(&[u8::from(back)]),
        })
    }

    /// What it comes in by, where no way was chosen yet.
    fn enters(&self) -> Option<&'w Device> {
        let early = self.output.is_none() && self.packet.decided == Decided::No;
        self.input.filter(|_| early)
    }

    /// Whether the way to its source leads by where it came in, and not to this namespace itself.
    fn leads_back(&self, input: &Device, with_mark: bool) -> Option<bool> {
        let back = self.space.way_back(self.packet, input, with_mark).ok()?;
        Some(match back {
            Back::Nowhere | Back::Here(_) => false,
            Back::By(devices) => devices.contains(&input.index),
        })
    }

    /// (`nft_ct_get_eval`)
    fn tracked(&self, key: Ct, of_reply: Option<bool>) -> Loaded {
        /// NF_CT_STATE_…_BIT.
        const INVALID: u32 = 1;
        const ESTABLISHED: u32 = 1 << 1;
        const RELATED: u32 = 1 << 2;
        const NEW: u32 = 1 << 3;
        const UNTRACKED: u32 = 1 << 6;
        let Tracked::Is { state, reply, of } = self.packet.tracked else {
            let new = self.walks.is(Wrong::UntrackedIsNew);
            return match (key, self.packet.tracked) {
                (Ct::State, _) if new => Loaded::word(NEW),
                (Ct::State, Tracked::Untracked) => Loaded::word(UNTRACKED),
                (Ct::State, _) => Loaded::word(INVALID),
                _ => Loaded::None,
            };
        };
        /// IPS_SRC_NAT, IPS_DST_NAT; of the rest nothing is said.
        const NATTED: (u32, u32) = (1 << 4, 1 << 5);
        let tuple = of.towards(of_reply == Some(true) && !self.walks.is(Wrong::AnswersAsAsked));
        match key {
            Ct::State => Loaded::word(match state {
                Tracking::New => NEW,
                Tracking::Established => ESTABLISHED,
                Tracking::Related => RELATED,
            }),
            Ct::Direction => Loaded::known(&[u8::from(reply)]),
            Ct::Mark => Loaded::word(of.mark),
            Ct::Status => {
                let bit = |side, bit| if of.translates(side, false) { bit } else { 0 };
                let bits = bit(Side::Source, NATTED.0) | bit(Side::Destination, NATTED.1);
                let known = (NATTED.0 | NATTED.1).to_ne_bytes();
                let both = bits.to_ne_bytes().into_iter().zip(known);
                Loaded::Is(
                    both.map(|(bits, known)| Byte::partly(bits, known))
                        .collect(),
                )
            }
            Ct::Protocol => Loaded::known(&[tuple.protocol]),
            Ct::Source => address(tuple.source),
            Ct::Destination => address(tuple.destination),
            Ct::SourcePort => ports(tuple.sport),
            Ct::DestinationPort => ports(tuple.dport),
            _ => Loaded::Unknown,
        }
    }

    fn payload(&self, base: Base, offset: u32, length: usize) -> Loaded {
        let headers = self.headers();
        let Ok(offset) = usize::try_from(offset) else {
            return Loaded::None;
        };
        let transport = if self.packet.is_ipv6() { SIX } else { FOUR } as usize;
        let from = match base {
            Base::Network => offset,
            Base::Transport => transport + offset,
            Base::Link | Base::Inner => return Loaded::Unknown,
        };
        // Where fragments are still fragments, but the first of them has no ports.
        if self.fragment && base == Base::Transport {
            return Loaded::None;
        }
        // Behind its end nothing can be loaded.
        if from + length > self.packet.size as usize {
            return Loaded::None;
        }
        let all = headers.into_iter().chain(std::iter::repeat(Byte::UNKNOWN));
        Loaded::Is(all.skip(from).take(length).collect())
    }

    /// Those of IP and of what it carries; what no walk knows is not known.
    fn headers(&self) -> Vec<Byte> {
        let packet = &*self.packet;
        // All that is ever said of both.
        let mut bytes = Vec::with_capacity(64);
        match (packet.source, packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let df = packet.df || packet.segment.is_some();
                bytes.extend(known([0x45, packet.tos]));
                bytes.extend(self.length(0));
                bytes.extend([Byte::UNKNOWN; 2]);
                bytes.extend(known([if df { DF } else { 0 }, 0]));
                bytes.extend(known([packet.ttl, packet.protocol]));
                bytes.extend([Byte::UNKNOWN; 2]);
                bytes.extend(known(source.octets()));
                bytes.extend(known(destination.octets()));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                // The class, and a flow label that nobody can compute.
                bytes.push(Byte::known(0x60 | packet.tos >> 4));
                bytes.push(Byte::partly(packet.tos << 4, 0xf0));
                bytes.extend([Byte::UNKNOWN; 2]);
                bytes.extend(self.length(SIX));
                bytes.extend(known([packet.protocol, packet.ttl]));
                bytes.extend(known(source.octets()));
                bytes.extend(known(destination.octets()));
            }
            _ => return bytes,
        }
        self.transport(&mut bytes);
        bytes
    }

    /// Behind so many bytes of headers.
    fn length(&self, headers: u32) -> [Byte; 2] {
        match self.packet.is_in_parts() {
            true => [Byte::UNKNOWN; 2],
            false => length(self.packet.size.saturating_sub(headers)).map(Byte::known),
        }
    }

    fn transport(&self, bytes: &mut Vec<Byte>) {
        let packet = &*self.packet;
        let second = known(packet.dport.to_be_bytes());
        match packet.protocol {
            // The kind of an error and its code stand there.
            _ if packet.is_icmp() => bytes.extend(second),
            UDP => {
                let headers = if packet.is_ipv6() { SIX } else { FOUR };
                bytes.extend(port(packet.tuple().sport));
                bytes.extend(second);
                bytes.extend(self.length(headers));
            }
            _ if packet.carries.is_some() => {}
            _ => {
                let begin = bytes.len();
                bytes.extend(port(packet.tuple().sport));
                bytes.extend(second);
                if let Some(flags) = packet.tcp_flags {
                    bytes.resize(begin + FLAGS, Byte::UNKNOWN);
                    bytes.push(Byte::known(flags));
                }
            }
        }
    }
}

fn address(address: IpAddr) -> Loaded {
    match address {
        IpAddr::V4(v4) => Loaded::known(&v4.octets()),
        IpAddr::V6(v6) => Loaded::known(&v6.octets()),
    }
}

fn ports(ports: Ports) -> Loaded {
    Loaded::Is(port(ports).to_vec())
}

/// One of several is not known.
fn port(ports: Ports) -> [Byte; 2] {
    let port = ports.only().map(u16::to_be_bytes);
    port.map_or([Byte::UNKNOWN; 2], |bytes| bytes.map(Byte::known))
}

fn known<const N: usize>(bytes: [u8; N]) -> [Byte; N] {
    bytes.map(Byte::known)
}

/// Of a superpacket it may be none.
fn length(bytes: u32) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(0).to_be_bytes()
}

/// Without a device it is empty, which is a name, too.
fn name(device: Option<&Device>) -> Loaded {
    let mut bytes = device.map_or_else(Vec::new, |device| device.name.clone().into_bytes());
    bytes.resize(NAME, 0);
    Loaded::known(&bytes)
}

fn kind(device: Option<&Device>) -> Loaded {
    let Some(device) = device else {
        return Loaded::None;
    };
    match (&device.kind, device.flags.loopback, device.ethernet) {
        (_, true, _) => Loaded::known(&LOOPBACK.to_ne_bytes()),
        (Kind::Other(_), ..) | (.., false) => Loaded::Unknown,
        _ => Loaded::known(&ETHERNET.to_ne_bytes()),
    }
}

fn group(device: Option<&Device>) -> Loaded {
    device.map_or(Loaded::None, |device| Loaded::word(device.group))
}

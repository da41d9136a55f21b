//! What rules ask of a packet, as expressions of nf_tables: nft(8) and iptables(8) make the same ones.
use std::net::IpAddr;

use netdiag_model::{
    address::Prefix,
    netfilter::Family,
    world::ruleset::{
        Base, Bytes, Compare, Ct, Data, Expression, Load, Meta, Nat, NatKind, Reg, Verdict,
    },
};

const REG: Reg = Reg(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

/// A rule in the making, of a table of that family.
pub struct Asks {
    family: Family,
    expressions: Vec<Expression>,
    /// It asks for IPv4's packets alone, or for IPv6's.
    ipv6: Option<bool>,
}

impl Asks {
    pub fn new(family: Family) -> Self {
        Self {
            family,
            expressions: Vec::new(),
            ipv6: None,
        }
    }

    pub fn done(self) -> Vec<Expression> {
        self.expressions
    }

    fn load(&mut self, load: Load) {
        self.expressions.push(Expression::Load(load, REG));
    }

    fn compare(&mut self, equal: bool, with: &[u8]) {
        self.expressions.push(Expression::Compare {
            how: if equal {
                Compare::Equal
            } else {
                Compare::Unequal
            },
            reg: REG,
            with: with.into(),
        });
    }

    fn payload(&mut self, base: Base, offset: u32, length: u8) {
        self.load(Load::Payload {
            base,
            offset,
            length,
        });
    }

    /// Packets of one version alone, where the table's family is not that already.
    pub fn version(&mut self, ipv6: bool) {
        if self.ipv6 == Some(ipv6) {
            return;
        }
        self.ipv6 = Some(ipv6);
        match self.family {
            // NFPROTO_IPV4, NFPROTO_IPV6
            Family::Inet => {
                self.load(Load::Meta(Meta::Family));
                self.compare(true, &[if ipv6 { 10 } else { 2 }]);
            }
            Family::Bridge | Family::Netdev => {
                let ethertype: u16 = if ipv6 { 0x86dd } else { 0x0800 };
                self.load(Load::Meta(Meta::Protocol));
                self.compare(true, &ethertype.to_be_bytes());
            }
            Family::Ip | Family::Ip6 | Family::Arp => {}
        }
    }

    pub fn address(&mut self, side: Side, prefix: Prefix, equal: bool) {
        let (offset, length) = match (prefix.address, side) {
            (IpAddr::V4(_), Side::Source) => (12, 4),
            (IpAddr::V4(_), Side::Destination) => (16, 4),
            (IpAddr::V6(_), Side::Source) => (8, 16),
            (IpAddr::V6(_), Side::Destination) => (24, 16),
        };
        self.version(prefix.address.is_ipv6());
        let bytes = match prefix.address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        // Both programs load whole bytes of it alone.
        if prefix.length > 0 && prefix.length.is_multiple_of(8) {
            let length = prefix.length / 8;
            self.payload(Base::Network, offset, length);
            return self.compare(equal, &bytes[..usize::from(length)]);
        }
        self.payload(Base::Network, offset, length);
        self.masks(mask(bytes.len(), prefix.length));
        self.compare(equal, &bytes);
    }

    fn masks(&mut self, mask: Vec<u8>) {
        let xor = vec![0; mask.len()];
        self.expressions.push(Expression::Masks {
            from: REG,
            to: REG,
            mask: mask.into(),
            xor: xor.into(),
        });
    }

    pub fn protocol(&mut self, protocol: u8, equal: bool) {
        self.load(Load::Meta(Meta::L4Protocol));
        self.compare(equal, &[protocol]);
    }

    pub fn port(&mut self, side: Side, (first, last): (u16, u16), equal: bool) {
        let offset = if side == Side::Source { 0 } else { 2 };
        self.payload(Base::Transport, offset, 2);
        self.between((&first.to_be_bytes(), &last.to_be_bytes()), equal);
    }

    /// ICMP's type, of either version.
    pub fn kind(&mut self, (first, last): (u8, u8), equal: bool) {
        self.payload(Base::Transport, 0, 1);
        self.between((&[first], &[last]), equal);
    }

    pub fn code(&mut self, code: u8) {
        self.payload(Base::Transport, 1, 1);
        self.compare(true, &[code]);
    }

    fn between(&mut self, (first, last): (&[u8], &[u8]), inside: bool) {
        if first == last {
            return self.compare(inside, first);
        }
        if !inside {
            return self.expressions.push(Expression::Range {
                outside: true,
                reg: REG,
                from: first.into(),
                to: last.into(),
            });
        }
        for (how, with) in [
            (Compare::GreaterOrEqual, first),
            (Compare::LessOrEqual, last),
        ] {
            self.expressions.push(Expression::Compare {
                how,
                reg: REG,
                with: with.into(),
            });
        }
    }

    pub fn device(&mut self, meta: Meta, name: &str, equal: bool) {
        const IFNAMSIZ: usize = 16;
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(IFNAMSIZ, 0);
        self.load(Load::Meta(meta));
        self.compare(equal, &bytes);
    }

    pub fn mark(&mut self, (value, mask): (u32, u32), equal: bool) {
        self.load(Load::Meta(Meta::Mark));
        if mask != u32::MAX {
            self.masks(mask.to_ne_bytes().to_vec());
        }
        self.compare(equal, &value.to_ne_bytes());
    }

    /// One of these states of a connection.
    pub fn state(&mut self, states: u32) {
        self.load(Load::Ct {
            key: Ct::State,
            reply: None,
        });
        self.masks(states.to_ne_bytes().to_vec());
        self.compare(false, &0_u32.to_ne_bytes());
    }

    /// As conntrack's flags of a connection have it (`IPS_…`).
    pub fn status(&mut self, status: u32) {
        self.load(Load::Ct {
            key: Ct::Status,
            reply: None,
        });
        self.masks(status.to_ne_bytes().to_vec());
        self.compare(false, &0_u32.to_ne_bytes());
    }

    pub fn counter(&mut self) {
        self.expressions.push(Expression::Counter { packets: 0 });
    }

    pub fn verdict(&mut self, verdict: Verdict) {
        let data = Data::Verdict(verdict);
        self.expressions.push(Expression::Sets(data, REG));
    }

    pub fn masquerades(&mut self) {
        self.expressions.push(Expression::Nat(Nat {
            kind: NatKind::Masquerade,
            family: Family::Inet,
            addresses: None,
            ports: None,
            flags: 0,
        }));
    }

    pub fn translates(&mut self, side: Side, address: IpAddr) {
        let bytes: Bytes = match address {
            IpAddr::V4(v4) => v4.octets().as_slice().into(),
            IpAddr::V6(v6) => v6.octets().as_slice().into(),
        };
        self.version(address.is_ipv6());
        self.expressions
            .push(Expression::Sets(Data::Value(bytes), REG));
        self.expressions.push(Expression::Nat(Nat {
            kind: match side {
                Side::Source => NatKind::Source,
                Side::Destination => NatKind::Destination,
            },
            family: Family::of_ip(address.is_ipv6()),
            addresses: Some((REG, REG)),
            ports: None,
            // NF_NAT_RANGE_MAP_IPS
            flags: 1,
        }));
    }
}

fn mask(length: usize, bits: u8) -> Vec<u8> {
    let byte = |at: usize| {
        let left = usize::from(bits).saturating_sub(at * 8).min(8);
        !(0xff_u8.checked_shr(left as u32).unwrap_or(0))
    };
    (0..length).map(byte).collect()
}

/// `IP_CT_…` as bits (include/uapi/linux/netfilter/nf_conntrack_common.h).
pub fn state(word: &str) -> Option<u32> {
    Some(match word {
        "invalid" => 1,
        "established" => 2,
        "related" => 4,
        "new" => 8,
        "untracked" => 64,
        _ => return None,
    })
}

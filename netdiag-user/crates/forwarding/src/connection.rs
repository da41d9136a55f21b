//! Connections as the kernel tracks them (net/netfilter/nf_conntrack_core.c), and what they are translated to.
use std::net::IpAddr;

use crate::packet::echo;

/// By what a connection is known (`nf_conntrack_tuple`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub sport: Ports,
    pub dport: Ports,
}

/// One port, or one of several that the kernel chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    pub least: u16,
    pub most: u16,
    /// Which of the kernel's choices it is: what it chooses another time is another port.
    pub choice: usize,
}

impl Ports {
    pub const fn one(port: u16) -> Self {
        Self {
            least: port,
            most: port,
            choice: 0,
        }
    }

    /// That of a tunnel's packets, one for all that are spread alike (`udp_flow_src_port`).
    pub(crate) const fn of_flow(flow: usize) -> Self {
        Self {
            least: 1024,
            most: u16::MAX,
            choice: flow,
        }
    }

    /// The port, where it is one.
    pub fn only(self) -> Option<u16> {
        (self.least == self.most).then_some(self.least)
    }

    pub fn has(self, port: u16) -> bool {
        (self.least..=self.most).contains(&port)
    }

    /// Whether a packet's port may be this one; one that the kernel chose is none that is known already.
    fn holds(self, of: Self) -> bool {
        of.only().map_or(self == of, |port| self.has(port))
    }
}

impl Tuple {
    /// As the other end's packets have it.
    pub fn reply(self) -> Self {
        let answers = self.dport.only();
        let answers = answers.and_then(|kind| echo(self.protocol, kind));
        if let Some(kind) = answers {
            return Self {
                source: self.destination,
                destination: self.source,
                dport: Ports::one(kind),
                ..self
            };
        }
        Self {
            source: self.destination,
            destination: self.source,
            sport: self.dport,
            dport: self.sport,
            ..self
        }
    }

    /// Whether a packet that comes so may be known by this.
    pub fn holds(&self, packet: &Self) -> bool {
        let ends = |it: &Self| (it.source, it.destination, it.protocol);
        ends(self) == ends(packet)
            && self.sport.holds(packet.sport)
            && self.dport.holds(packet.dport)
    }
}

/// (`enum ip_conntrack_info`)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracked {
    /// Nobody looked at it yet, or it belongs to no connection.
    #[default]
    No,
    /// A rule says that nobody looks at it.
    Untracked,
    Is {
        state: Tracking,
        /// It goes the other way than the connection's first packet.
        reply: bool,
        of: Connection,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    New,
    Established,
    /// An error about it.
    Related,
}

/// (`nf_conn`)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// As its first packet came.
    pub original: Tuple,
    /// As whoever got that answers.
    pub answers: Tuple,
    pub mark: u32,
    /// What became of the first packet's source and of its destination.
    pub source: Translation,
    pub destination: Translation,
    /// The device whose address it was given, by which alone it leaves (`masq_index`).
    pub masquerades: Option<u32>,
}

/// Of one side (IPS_SRC_NAT, IPS_SRC_NAT_DONE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    Undecided,
    /// It stays as it is.
    None,
    Done,
}

/// Of a packet (`enum nf_nat_manip_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

impl Connection {
    pub fn new(original: Tuple) -> Self {
        Self {
            original,
            answers: original.reply(),
            mark: 0,
            source: Translation::Undecided,
            destination: Translation::Undecided,
            masquerades: None,
        }
    }

    pub fn is_translated(&self) -> bool {
        [self.source, self.destination].contains(&Translation::Done)
    }

    /// As its packets of that direction come.
    pub fn towards(&self, reply: bool) -> Tuple {
        match reply {
            true => self.answers,
            false => self.original,
        }
    }

    /// What became of that side of the first packet.
    pub fn side(&mut self, side: Side) -> &mut Translation {
        match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        }
    }

    /// Whether that side of a packet of that direction is changed: of an answer the other side was.
    pub fn translates(mut self, side: Side, reply: bool) -> bool {
        let of = if reply { side.other() } else { side };
        *self.side(of) == Translation::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(sport: Ports) -> Tuple {
        Tuple {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            protocol: 17,
            sport,
            dport: Ports::one(53),
        }
    }

    #[test]
    fn a_port_of_several_is_held_and_another_choice_is_not() {
        let chosen = tuple(Ports {
            least: 1024,
            most: u16::MAX,
            choice: 1,
        });
        assert!(chosen.holds(&tuple(Ports::one(40_000))));
        assert!(!chosen.holds(&tuple(Ports::one(53))));
        // What the kernel chose anew is none that was known before.
        assert!(!tuple(Ports::one(40_000)).holds(&chosen));
        assert!(chosen.holds(&chosen));
    }

    #[test]
    fn an_echo_answers_with_its_own_number() {
        let ping = |protocol, kind: u16| Tuple {
            protocol,
            sport: Ports::one(77),
            dport: Ports::one(kind << 8),
            ..tuple(Ports::one(0))
        };
        for (protocol, asks, says) in [(1, 8, 0), (58, 128, 129)] {
            let answer = ping(protocol, asks).reply();
            assert_eq!(
                (answer.sport, answer.dport),
                (Ports::one(77), Ports::one(says << 8))
            );
            assert_eq!(answer.reply(), ping(protocol, asks));
        }
    }

    #[test]
    fn an_answer_has_the_other_side_translated() {
        let mut connection = Connection::new(tuple(Ports::one(40_000)));
        *connection.side(Side::Source) = Translation::Done;
        assert!(connection.translates(Side::Source, false));
        assert!(connection.translates(Side::Destination, true));
        assert!(!connection.translates(Side::Destination, false));
        assert!(!connection.translates(Side::Source, true));
    }
}

//! Keys and values of the kernel's tables as rows of numbers with names.
//!
//! A field that is added to one of these structs does not compile here until it has its column.
use netdiag_common::{
    claim::{NeighbourAnnouncement, NeighbourAnnouncementKey},
    dns::{Dns, DnsKey, NAME},
    event::{CAPTURE, Event},
    flow::FlowKey,
    hop::{FlowHop, FlowHopKey, IcmpError, IcmpErrorKey, Outer, OuterKey},
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};

pub trait Cells {
    /// The columns' names, in the order of [`Cells::put`].
    fn names(&self, name: &str, to: &mut Vec<String>);
    fn put(&self, to: &mut Vec<u64>);
    /// Cells that are missing are zero, numbers that do not fit too.
    fn take(from: &mut impl Iterator<Item = u64>) -> Self;
}

/// The columns' names of a type.
pub fn columns<T: Cells>() -> Vec<String> {
    let mut names = Vec::new();
    T::take(&mut std::iter::empty()).names("", &mut names);
    names
}

macro_rules! integer {
    ($($type:ty)+) => {$(
        impl Cells for $type {
            fn names(&self, name: &str, to: &mut Vec<String>) {
                to.push(name.to_owned());
            }

            fn put(&self, to: &mut Vec<u64>) {
                to.push((*self).into());
            }

            fn take(from: &mut impl Iterator<Item = u64>) -> Self {
                from.next().and_then(|n| n.try_into().ok()).unwrap_or(0)
            }
        }
    )+};
}
integer!(u8 u16 u32 u64);

/// An address, or a task's name: its two halves.
impl Cells for [u8; 16] {
    fn names(&self, name: &str, to: &mut Vec<String>) {
        to.extend([format!("{name}.high"), format!("{name}.low")]);
    }

    fn put(&self, to: &mut Vec<u64>) {
        let all = u128::from_be_bytes(*self);
        to.extend([(all >> 64) as u64, all as u64]);
    }

    fn take(from: &mut impl Iterator<Item = u64>) -> Self {
        let mut half = || u128::from(from.next().unwrap_or(0));
        (half() << 64 | half()).to_be_bytes()
    }
}

/// A DNS name: eight words.
impl Cells for [u8; NAME] {
    fn names(&self, name: &str, to: &mut Vec<String>) {
        to.extend((0..NAME / 8).map(|n| format!("{name}.{n}")));
    }

    fn put(&self, to: &mut Vec<u64>) {
        let (words, _) = self.as_chunks::<8>();
        to.extend(words.iter().map(|word| u64::from_be_bytes(*word)));
    }

    fn take(from: &mut impl Iterator<Item = u64>) -> Self {
        let mut name = [0; NAME];
        for (word, cell) in name.as_chunks_mut::<8>().0.iter_mut().zip(from) {
            *word = cell.to_be_bytes();
        }
        name
    }
}

/// A packet's bytes are no numbers: they stand beside the row.
impl Cells for [u8; CAPTURE] {
    fn names(&self, _name: &str, _to: &mut Vec<String>) {}

    fn put(&self, _to: &mut Vec<u64>) {}

    fn take(_from: &mut impl Iterator<Item = u64>) -> Self {
        [0; CAPTURE]
    }
}

macro_rules! row {
    ($type:ident { $($field:ident)+ } $($padding:ident)?) => {
        impl Cells for $type {
            fn names(&self, name: &str, to: &mut Vec<String>) {
                let within = |field| match name {
                    "" => String::from(field),
                    name => format!("{name}.{field}"),
                };
                let Self { $($field,)+ $($padding: _)? } = self;
                $($field.names(&within(stringify!($field)), to);)+
            }

            fn put(&self, to: &mut Vec<u64>) {
                $(self.$field.put(to);)+
            }

            fn take(from: &mut impl Iterator<Item = u64>) -> Self {
                Self { $($field: Cells::take(from),)+ $($padding: Default::default())? }
            }
        }
    };
}

row!(FlowKey { source destination source_port destination_port protocol family } padding);
row!(FlowHopKey { flow ifindex direction carried } padding);
row!(FlowHop {
    packets bytes first last progress hole_time payload retransmits oversize fragments
    later_fragments next_emit stalled largest limit flags next_sequence hole_start hole_end
    oversize_largest syns resets mss limit_from
} padding);
row!(OuterKey { source destination ifindex vni port direction carried } padding);
row!(Outer { packets bytes first last inner });
row!(IcmpErrorKey { about sender ifindex direction kind code } padding);
row!(IcmpError { packets first last mtu } padding);
row!(DnsKey { client server name ifindex kind family carried });
row!(Dns {
    queries answers noerror nxdomain servfail refused other truncated repeats first_query
    last_query last_answer silent_since last_good failing_since failed repeat_gap latency_sum
    latency_max latency_count unanswered last_id last_port
});
row!(NeighbourAnnouncementKey { address ifindex family asked } padding);
row!(NeighbourAnnouncement { one other of_one of_other first last changes latest });
row!(DropKey { flow location reason netns ifindex } padding);
row!(Dropped { packets bytes first last next_emit sequence largest ethertype tcp_flags });
row!(RetransmitKey { flow netns } padding);
row!(Retransmitted { packets first last next_emit sequence payload });
row!(OomKill { time cgroup netns comm } padding);
row!(Event {
    time location flow kind reason ifindex netns length limit sequence direction carried captured
    packet
});

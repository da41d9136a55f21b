//! Every map on one page. Sizes are budgets in bytes: key, value and ~64 bytes of the kernel's
//! own per entry; all of it together stays below 16 MiB at any CPU count.
use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use netdiag_common::{
    claim::{NeighbourAnnouncement, NeighbourAnnouncementKey},
    config::{FOLLOWED as MOST_FOLLOWED, HopSettings, Offsets, RAN as MOST_RAN, REASONS, counter},
    dns::{Dns, DnsKey},
    filter::{Rules, SELECTED as MOST_SELECTED},
    flow::FlowKey,
    front::{DropFront, Front, Words},
    hop::{
        FlowHop, FlowHopKey, FragmentKey, FragmentOf, IcmpError, IcmpErrorKey, Limit, Outer,
        OuterKey,
    },
    loss::{DropKey, Dropped, RetransmitKey, Retransmitted},
    oom::OomKill,
};

use crate::{clock::Mark, hooks::hop::Seen, parse::Packet};

/// New rows of drops that a CPU may add between two readings, set before loading: so few that each
/// is read before it has to go.
#[unsafe(no_mangle)]
pub static NEW_DROPS: u64 = 0;

/// The same of flows at hops.
#[unsafe(no_mangle)]
pub static NEW_FLOWS: u64 = 0;

/// 0 where nobody can ask processors for what they have counted: then each packet goes to the
/// tables. Set before loading.
#[unsafe(no_mangle)]
pub static CACHE: u32 = 0;

/// Set from the running kernel's BTF before loading; all zero would read nonsense, so the
/// programs that need it are not loaded without.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets {
    skb_dev: 0,
    skb_sk: 0,
    skb_len: 0,
    skb_head: 0,
    skb_end: 0,
    skb_protocol: 0,
    skb_network_header: 0,
    skb_cb: 0,
    shinfo_gso_size: 0,
    shinfo_gso_segs: 0,
    dev_ifindex: 0,
    dev_net: 0,
    net_inum: 0,
    sock_net: 0,
    sock_family: 0,
    sock_source4: 0,
    sock_destination4: 0,
    sock_source6: 0,
    sock_destination6: 0,
    sock_source_port: 0,
    sock_destination_port: 0,
    tcp_cb_seq: 0,
    tcp_cb_end_seq: 0,
    has_rx_sk: 0,
    skb_tail: 0,
    task_tgid: 0,
    task_comm: 0,
    task_nsproxy: 0,
    nsproxy_net: 0,
    task_cgroups: 0,
    css_set_memory: 0,
    css_cgroup: 0,
    cgroup_kn: 0,
    kn_id: 0,
    victim_is_task: 0,
    has_reason: 0,
    skb_mark: 0,
    plain_loads: 0,
};

/// One of the running kernel's offsets; volatile, because the loader replaces them after
/// compilation. The verifier sees constants and prunes the branches that they decide.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static of our own.
        unsafe { core::ptr::read_volatile(&raw const crate::maps::OFFSETS.$field) }
    };
}
pub(crate) use offset;

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(512 * 1024, 0);

#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

#[map]
pub static HOP_SETTINGS: Array<HopSettings> = Array::with_max_entries(1, 0);

/// Numbers of the links whose TCP sequences are followed at the middle level. Two may share a slot:
/// then it is one's, and the other's are not.
#[map]
pub static FOLLOWED: Array<u32> = Array::with_max_entries(MOST_FOLLOWED, 0);

/// Not 0 where a hook ran since the loader last looked.
#[map]
pub static RAN: Array<u32> = Array::with_max_entries(MOST_RAN, 0);

/// How often the tables were read.
#[map]
pub static READINGS: Array<u64> = Array::with_max_entries(1, 0);

/// 1 for reasons that are no loss (consumed, closed).
#[map]
pub static IGNORED_REASONS: Array<u8> = Array::with_max_entries(REASONS, 0);

/// What may be sent to a destination: longest prefix of the node's routes. Takes memory only as
/// it fills (BPF_F_NO_PREALLOC, which tries must have).
#[map]
pub static LIMITS: LpmTrie<[u8; 16], Limit> = LpmTrie::with_max_entries(65_536, 1);

/// Namespaces of this node and its pods.
#[map]
pub static NETNS: HashMap<u32, u8> = HashMap::with_max_entries(4096, 0);

/// What `--filter` says.
#[map]
pub static RULES: Array<Rules> = Array::with_max_entries(1, 0);

/// The flow that is being judged, by who asks.
#[map]
pub static JUDGED: PerCpuArray<FlowKey> = PerCpuArray::with_max_entries(3, 0);

/// Addresses of the pods that are asked for. Takes memory only as it fills (BPF_F_NO_PREALLOC).
#[map]
pub static SELECTED: HashMap<[u8; 16], u8> = HashMap::with_max_entries(MOST_SELECTED, 1);

/// Their links and namespaces.
#[map]
pub static SELECTED_PLACES: HashMap<u64, u8> = HashMap::with_max_entries(4096, 0);

#[map]
pub static FLOWS: LruHashMap<FlowHopKey, FlowHop> = LruHashMap::with_max_entries(24_576, 0);

#[map]
pub static OUTERS: LruHashMap<OuterKey, Outer> = LruHashMap::with_max_entries(2048, 0);

#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentOf> = LruHashMap::with_max_entries(2048, 0);

#[map]
pub static ICMP_ERRORS: LruHashMap<IcmpErrorKey, IcmpError> = LruHashMap::with_max_entries(2048, 0);

#[map]
pub static DNS: LruHashMap<DnsKey, Dns> = LruHashMap::with_max_entries(4096, 0);

/// Addresses that are claimed or asked for, at the links of a node.
#[map]
pub static CLAIMS: LruHashMap<NeighbourAnnouncementKey, NeighbourAnnouncement> =
    LruHashMap::with_max_entries(2048, 0);

#[map]
pub static DROPS: LruHashMap<DropKey, Dropped> = LruHashMap::with_max_entries(16_384, 0);

/// Victims by pid. More in one run are not needed to see a loop.
#[map]
pub static OOM_KILLS: LruHashMap<u32, OomKill> = LruHashMap::with_max_entries(256, 0);

#[map]
pub static RETRANSMITS: LruHashMap<RetransmitKey, Retransmitted> =
    LruHashMap::with_max_entries(8192, 0);

/// Room for what would not fit the 512 bytes of stack. tc programs run with softirqs off, so
/// two of them never share a CPU's slot.
#[derive(Clone, Copy)]
pub struct Scratch {
    pub mark: Mark,
    pub seen: Seen,
    pub packet: Packet,
    pub inner: Packet,
    pub about: Packet,
    pub icmp: IcmpErrorKey,
    pub outer: Words,
    pub fragment: FragmentKey,
    pub fragment_of: FragmentOf,
    pub dns: DnsKey,
    pub room: Room,
}

/// What a CPU keeps from one packet to the next.
#[derive(Clone, Copy)]
pub struct Room {
    pub rows: Rows,
    pub keeps: Keeps,
    pub front: Front,
}

/// Yes and no of the packet at hand. They stand in memory because the verifier does not follow what
/// is there: in a register, each would double all that it walks afterwards (before Linux 6.12).
#[derive(Clone, Copy)]
pub struct Keeps {
    sequences: u32,
    light: u32,
    counts: u32,
}

impl Keeps {
    #[inline(always)]
    pub fn set(&mut self, sequences: bool, light: bool) {
        write(&mut self.sequences, sequences);
        write(&mut self.light, light);
    }

    #[inline(always)]
    pub fn set_counts(&mut self, counts: bool) {
        write(&mut self.counts, counts);
    }

    /// TCP's sequences are followed here.
    #[inline(always)]
    pub fn sequences(&self) -> bool {
        read(&self.sequences)
    }

    /// Nothing is kept of packets that only carry data.
    #[inline(always)]
    pub fn light(&self) -> bool {
        read(&self.light)
    }

    /// The packet adds to its flow's counts and does no more.
    #[inline(always)]
    pub fn counts(&self) -> bool {
        read(&self.counts)
    }
}

#[inline(always)]
fn write(to: &mut u32, yes: bool) {
    // SAFETY: a field of our own; volatile, so that it is there.
    unsafe { core::ptr::write_volatile(to, u32::from(yes)) };
}

#[inline(always)]
fn read(from: &u32) -> bool {
    // SAFETY: a field of our own; volatile, so that it comes from there.
    unsafe { core::ptr::read_volatile(from) != 0 }
}

/// New rows of a table that a CPU added since a reading.
#[derive(Clone, Copy)]
pub struct Rows {
    reading: u64,
    added: u64,
}

impl Rows {
    /// Whether there is room for one more, of `most` between two readings.
    #[inline(always)]
    pub fn has_room(&mut self, most: &'static u64) -> bool {
        let Some(reading) = READINGS.get(0) else {
            return true;
        };
        if *reading != self.reading {
            self.reading = *reading;
            self.added = 0;
        }
        self.added += 1;
        // SAFETY: a static of our own; volatile, because the loader sets it after compilation.
        let most = unsafe { core::ptr::read_volatile(most) };
        self.added <= most
    }
}

#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Bytes of a dropped packet's headers that are read at once: IPv6 and TCP.
pub const WINDOW: usize = 64;

/// What a CPU's drops share.
#[derive(Clone, Copy)]
pub struct Dropping {
    /// Where headers are read to.
    pub window: [u8; WINDOW],
    pub mark: Mark,
    pub rows: Rows,
    pub netns: Known,
    pub front: DropFront,
}

/// The namespace of the last drop, which is this node's, as of a reading.
#[derive(Clone, Copy)]
pub struct Known {
    pub netns: u32,
    pub reading: u64,
}

/// The kernel does not run a tracepoint's program inside itself on one CPU (6.1); before that, a
/// drop by an interrupt in the middle of one may take its flow.
#[map]
pub static DROPPING: PerCpuArray<Dropping> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's own slot, see above.
    SCRATCH.get_ptr_mut(0).map(|slot| unsafe { &mut *slot })
}

#[inline(always)]
pub fn dropping() -> Option<&'static mut Dropping> {
    // SAFETY: this CPU's own slot, see above.
    DROPPING.get_ptr_mut(0).map(|slot| unsafe { &mut *slot })
}

/// Zeroed values for inserts, so that they need no stack.
pub static EMPTY_FLOW: FlowHop = FlowHop {
    packets: 0,
    bytes: 0,
    first: 0,
    last: 0,
    progress: 0,
    hole_time: 0,
    payload: 0,
    retransmits: 0,
    oversize: 0,
    fragments: 0,
    later_fragments: 0,
    next_emit: 0,
    stalled: 0,
    largest: 0,
    limit: 0,
    flags: 0,
    next_sequence: 0,
    hole_start: 0,
    hole_end: 0,
    oversize_largest: 0,
    syns: 0,
    resets: 0,
    mss: 0,
    limit_from: 0,
    padding: [0; 5],
};

pub static EMPTY_DROPPED: Dropped = Dropped {
    packets: 0,
    bytes: 0,
    first: 0,
    last: 0,
    next_emit: 0,
    sequence: 0,
    largest: 0,
    ethertype: 0,
    tcp_flags: 0,
};

pub static EMPTY_OUTER: Outer = Outer {
    packets: 0,
    bytes: 0,
    first: 0,
    last: 0,
    inner: FlowKey::EMPTY,
};

pub static EMPTY_DNS: Dns = Dns {
    queries: 0,
    answers: 0,
    noerror: 0,
    nxdomain: 0,
    servfail: 0,
    refused: 0,
    other: 0,
    truncated: 0,
    repeats: 0,
    first_query: 0,
    last_query: 0,
    last_answer: 0,
    silent_since: 0,
    last_good: 0,
    failing_since: 0,
    failed: 0,
    repeat_gap: 0,
    latency_sum: 0,
    latency_max: 0,
    latency_count: 0,
    unanswered: 0,
    last_id: 0,
    last_port: 0,
};

//! What a recording may cost its reader. The writer keeps to the same, so that whatever is
//! written is read again.
//!
//! Each of these is far above what a node with full tables makes. One file that goes to all of them at
//! once would take 280 MB: `cli::replay::allowance` ends that.

/// Bytes of a block, packed and unpacked. Full tables with a sample of every row take 30 MB.
pub const PACKED: usize = 32 << 20;
pub const TEXT: usize = 32 << 20;
/// How many times their packed bytes all blocks so far may unpack to, beyond the first [`FREE`]
/// bytes. Recordings of real nodes reach 9.
pub const RATIO: usize = 64;
pub const FREE: usize = 256 << 10;
/// Lines of a block: one a quarter of a second is four.
pub const LINES: usize = 65_536;
/// Bytes of the line with the columns' names; those of all tables take 4 kB.
pub const HEADER: usize = 64 << 10;
/// Columns of a key, and of a value: the widest has 24.
pub const COLUMNS: usize = 96;
/// Tables of a reading, and parts of a scene: there are 8 of each.
pub const MEMBERS: usize = 64;
/// How deep the JSON of a line nests. A scene's is no deeper than 12, its changes' three times that.
pub const DEPTH: usize = 100;
/// Samples of one reading, in which each row of each table can have one.
pub const SAMPLES: usize = 65_536;
pub const COUNTERS: usize = 1_024;
/// Links that came or went between two readings.
pub const LINK_CHANGES: usize = 65_536;
/// Names of kernel functions: a kernel drops packets in some hundreds.
pub const SYMBOLS: usize = 8_192;
/// Bytes of such a name (KSYM_NAME_LEN is 512 from Linux 6.1 on), with its offset and module.
pub const SYMBOL: usize = 640;
/// Links of a node, and namespaces that it says something of: what each of them is depends on all
/// others.
pub const LINKS: usize = 16_384;
pub const NAMESPACES: usize = 16_384;
/// Bytes of a link's name; IFNAMSIZ is 16.
pub const LINK: usize = 64;
/// Nanoseconds between two readings. A quarter of a second is usual; a process that is stopped
/// and let go on makes longer ones.
pub const STEP_NS: u64 = 30 * 86_400 * 1_000_000_000;
/// Bytes of a scene's text, and about how many the scene itself takes, as [`super::scan`] counts.
pub const SCENE_TEXT: usize = 28 << 20;
pub const SCENE: usize = 104 << 20;
/// Bytes that the names of all members may take that change within one another at one time. No
/// object of a scene has a tenth of so many.
pub const CHANGE: usize = 8 << 20;
pub const TOO_LARGE: &str = "what it says of the node is larger than any node is";
/// Lines before a reading that are none: a scene's, and what a later netdiag says.
pub const OTHER_LINES: usize = 64;

/// Rows of each of the kernel's tables: more than its map can hold (netdiag-ebpf/src/maps.rs).
pub mod rows {
    pub const FLOWS: usize = 32_768;
    pub const OUTERS: usize = 4_096;
    pub const ICMP_ERRORS: usize = 4_096;
    pub const DNS: usize = 8_192;
    pub const CLAIMS: usize = 4_096;
    pub const DROPS: usize = 32_768;
    pub const RETRANSMITS: usize = 16_384;
    pub const OOM_KILLS: usize = 4_096;
}

/// Bytes of one text in a part of the scene. Names that each row repeats must be short; what a
/// program or a log says may be long.
pub fn longest(part: &str) -> usize {
    match part {
        "reasons" => 128,
        "pods" => 1_024,
        "cluster" => 4_096,
        _ => 64 << 10,
    }
}

/// Why a line is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It contradicts itself, or is no JSON.
    Misfit,
    /// It exceeds a limit: the sentence goes on behind the file's name.
    Excess(&'static str),
}

impl Fault {
    /// Refuses what is above a limit.
    pub fn above(found: usize, most: usize, told: &'static str) -> Result<(), Self> {
        match found > most {
            true => Err(Self::Excess(told)),
            false => Ok(()),
        }
    }
}

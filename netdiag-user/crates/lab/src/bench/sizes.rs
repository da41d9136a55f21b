//! How much is measured.
use std::time::Duration;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Loads beside nothing, in turn.
    Rounds,
    /// The same while the kernel times each program.
    Timed,
    /// More and more flows.
    Flows,
    /// More and more drops.
    Drops,
    /// More and more links, and how soon they are covered.
    Links,
    /// What netdiag's process takes, idle and in a long storm.
    Own,
    /// Whether every dropped packet is told.
    Identity,
}

impl Part {
    pub const ALL: [Self; 7] = [
        Self::Rounds,
        Self::Timed,
        Self::Flows,
        Self::Drops,
        Self::Links,
        Self::Own,
        Self::Identity,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rounds => "rounds",
            Self::Timed => "timed",
            Self::Flows => "flows",
            Self::Drops => "drops",
            Self::Links => "links",
            Self::Own => "own",
            Self::Identity => "identity",
        }
    }
}

/// A storm of a number of drops is given up then, on a machine that is that slow.
pub const LONGEST: Duration = Duration::from_secs(180);

#[derive(Clone, Debug)]
pub struct Sizes {
    pub rounds: u32,
    /// Of each load of a round.
    pub time: Duration,
    pub timed_rounds: u32,
    /// Of each load elsewhere.
    pub axis_time: Duration,
    pub flows: Vec<u32>,
    /// Drops a second.
    pub drops: Vec<u32>,
    pub links: Vec<u32>,
    /// Links made to see how long that takes, without netdiag and while it starts.
    pub adds: usize,
    /// Links made while netdiag runs, to see when they are covered.
    pub new_links: u32,
    /// Until what the beginning stirs up is over: netdiag calls it peace after twenty seconds without a
    /// loss, and does less from then on.
    pub settle: Duration,
    pub idle: Duration,
    /// Of the long storm.
    pub storm_flows: u32,
    pub storm_drops: u64,
    /// Storms whose every packet is looked for.
    pub storms: u32,
    pub storm_time: Duration,
    /// Axes have every level, and not the usual one alone.
    pub every_level: bool,
}

impl Sizes {
    /// In eight minutes.
    pub fn usual() -> Self {
        Self {
            rounds: 7,
            time: Duration::from_millis(300),
            timed_rounds: 2,
            axis_time: Duration::from_millis(400),
            flows: vec![100, 1000, 10_000, 100_000],
            drops: vec![1000, 10_000, 100_000, 1_000_000],
            links: vec![10, 100, 1000],
            adds: 100,
            new_links: 10,
            settle: Duration::from_secs(25),
            idle: Duration::from_secs(10),
            storm_flows: 1_000_000,
            storm_drops: 10_000_000,
            storms: 10,
            storm_time: Duration::from_millis(200),
            every_level: false,
        }
    }

    /// Enough to tell small differences, however long it takes.
    pub fn long() -> Self {
        Self {
            rounds: 41,
            timed_rounds: 7,
            flows: vec![100, 1000, 10_000, 100_000, 1_000_000],
            idle: Duration::from_secs(30),
            storms: 100,
            every_level: true,
            ..Self::usual()
        }
    }

    /// Every part once, whatever the figures are worth.
    pub fn smoke() -> Self {
        Self {
            rounds: 1,
            time: Duration::from_millis(100),
            timed_rounds: 1,
            axis_time: Duration::from_millis(100),
            flows: vec![10_000],
            drops: vec![10_000],
            links: vec![50],
            adds: 5,
            new_links: 1,
            settle: Duration::from_millis(500),
            idle: Duration::from_millis(500),
            storm_flows: 20_000,
            storm_drops: 50_000,
            storms: 1,
            ..Self::usual()
        }
    }
}

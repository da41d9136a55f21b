//! One world: built, read back, walked, shot at, compared; what differs is tried again alone, and
//! made smaller.
use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use netdiag_forwarding::Prepared;
use netdiag_model::world::World;

use crate::{
    command::Command,
    expect::{self, Expected, Prediction},
    mistakes::{MISTAKES, Make},
    set::{SOON, Set},
    shoot::{self, Told},
    traffic::Shot,
    wire::Token,
    witness::{Seen, Sighting, Witness},
};

/// How long the kernel may take, and after how long it gives up a neighbour that nobody answers for.
#[derive(Clone, Copy)]
struct Patience {
    most: Duration,
    neighbour: Duration,
}

const QUICK: Patience = Patience {
    most: Duration::from_millis(80),
    neighbour: SOON,
};
/// Where a processor has other work, an answer to a question may take longer than that.
const SLOW: Patience = Patience {
    most: Duration::from_secs(4),
    neighbour: Duration::from_secs(1),
};
/// For what is seen although it should not be.
const QUIET: Duration = Duration::from_millis(4);

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    pub sightings: Vec<Sighting>,
    pub delivered: Vec<usize>,
    pub told: Told,
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "  its sender was told: {:?}", self.told)?;
        for seen in &self.sightings {
            let way = if seen.outgoing { "out of" } else { "in at" };
            writeln!(
                f,
                "  s{} {way} device {}: {} mark {:#x}",
                seen.space, seen.device, seen.header, seen.mark
            )?;
        }
        for space in &self.delivered {
            writeln!(f, "  delivered in s{space}")?;
        }
        Ok(())
    }
}

/// A packet that went otherwise than computed.
pub struct Contradiction {
    pub shot: Shot,
    pub expected: String,
    pub fate: Fate,
}

pub struct Round {
    set: Set,
    ipv6: bool,
    witness: Witness,
    /// What the world was built of.
    commands: Vec<Command>,
    /// Worlds since the set was made.
    worlds: usize,
    number: u16,
}

/// A namespace remembers what it had, so that its set is made anew after so many worlds.
const RENEWED: usize = 16;

/// What a world's packets came to.
#[derive(Default)]
pub struct Outcome {
    pub contradictions: Vec<Contradiction>,
    /// By how they end.
    pub ends: BTreeMap<&'static str, u64>,
    pub unknown: BTreeMap<String, u64>,
    /// Other than computed at first, and as computed alone.
    pub again: u64,
    /// How long the walks took.
    pub took: Vec<Duration>,
    /// Packets of which a walker with that mistake would say something else than was seen.
    pub caught: BTreeMap<&'static str, u64>,
}

impl Round {
    /// For worlds of one family.
    pub fn new(ipv6: bool) -> Result<Self> {
        let set = Set::new(ipv6)?;
        Ok(Self {
            ipv6,
            witness: Witness::new(&set)?,
            set,
            commands: Vec::new(),
            worlds: 0,
            number: 0,
        })
    }

    pub fn set(&self) -> &Set {
        &self.set
    }

    /// Builds it, and reads it back.
    pub fn build(&mut self, commands: &[Command]) -> Result<World> {
        self.take(commands);
        self.anew(QUICK)
    }

    /// What the next world is built of.
    pub fn take(&mut self, commands: &[Command]) {
        self.commands = commands.to_vec();
    }

    /// What came of other packets is gone with the world in which they were sent: where answers to a question
    /// are led to whom it asks for, it never ends, and to forget neighbours only asks anew.
    fn anew(&mut self, patience: Patience) -> Result<World> {
        if self.worlds == RENEWED || self.set.spent.get() {
            let commands = std::mem::take(&mut self.commands);
            *self = Self {
                commands,
                ..Self::new(self.ipv6)?
            };
        }
        self.worlds += 1;
        self.set.clear()?;
        self.set.wait_for_neighbours(QUICK.neighbour)?;
        self.set.build(&self.commands)?;
        let world = self.set.read()?;
        self.set.wait_for_neighbours(patience.neighbour)?;
        Ok(world)
    }

    pub fn shoot(&mut self, world: &World, shots: &[Shot]) -> Result<Outcome> {
        let prepared = Prepared::new(world);
        let mut outcome = Outcome::default();
        let predictions: Vec<_> = shots
            .iter()
            .map(|shot| expect::predict(&prepared, &self.set, shot))
            .collect();
        outcome.took = predictions.iter().map(|p| p.took).collect();
        let fates = self.volley(world, shots, &predictions, QUICK.most)?;
        self.mistaken(world, shots, &predictions, &fates, &mut outcome);
        for (at, fate) in fates.into_iter().enumerate() {
            let prediction = &predictions[at];
            if let Some(unknown) = &prediction.unknown {
                *outcome.unknown.entry(format!("{unknown:?}")).or_default() += 1;
                continue;
            }
            *outcome.ends.entry(prediction.ends).or_default() += 1;
            if agrees(prediction, &fate) {
                continue;
            }
            // Another packet's question may have told a neighbour; alone, nothing has.
            match self.alone(&shots[at])? {
                None => outcome.again += 1,
                Some((expected, fate)) => outcome.contradictions.push(Contradiction {
                    shot: shots[at].clone(),
                    expected,
                    fate,
                }),
            }
        }
        Ok(outcome)
    }

    /// Which mistakes these packets would show.
    fn mistaken(
        &self,
        world: &World,
        shots: &[Shot],
        predictions: &[Prediction],
        fates: &[Fate],
        outcome: &mut Outcome,
    ) {
        for mistake in &MISTAKES {
            let mut wrong = world.clone();
            let prepared = match mistake.make {
                Make::World(make) => {
                    make(&mut wrong);
                    if wrong == *world {
                        continue;
                    }
                    Prepared::new(&wrong)
                }
                Make::Walk(wrong) => Prepared::new(world).misread(wrong),
            };
            let right = predictions.iter().zip(fates).zip(shots);
            let right =
                right.filter(|((right, fate), _)| right.unknown.is_none() && agrees(right, fate));
            let caught = right.filter(|((_, fate), shot)| {
                let other = expect::predict(&prepared, &self.set, shot);
                other.unknown.is_none() && !agrees(&other, fate)
            });
            *outcome.caught.entry(mistake.name).or_default() += caught.count() as u64;
        }
    }

    /// The same packet, with nothing learned: what is expected and what is seen, if they differ however long
    /// the kernel takes.
    pub fn alone(&mut self, shot: &Shot) -> Result<Option<(String, Fate)>> {
        if self.soon(shot)?.is_none() {
            return Ok(None);
        }
        self.once(shot, SLOW)
    }

    /// The same, if the kernel is as quick as it mostly is.
    pub fn soon(&mut self, shot: &Shot) -> Result<Option<(String, Fate)>> {
        self.once(shot, QUICK)
    }

    fn once(&mut self, shot: &Shot, patience: Patience) -> Result<Option<(String, Fate)>> {
        let world = self.anew(patience)?;
        let prepared = Prepared::new(&world);
        let prediction = expect::predict(&prepared, &self.set, shot);
        if prediction.unknown.is_some() {
            return Ok(None);
        }
        let predictions = std::slice::from_ref(&prediction);
        let shots = std::slice::from_ref(shot);
        let mut fates = self.volley(&world, shots, predictions, patience.most)?;
        let Some(fate) = fates.pop() else {
            return Ok(None);
        };
        Ok((!agrees(&prediction, &fate)).then_some((prediction.text, fate)))
    }

    /// Sends them all and waits until all went as computed, or for so long.
    fn volley(
        &mut self,
        world: &World,
        shots: &[Shot],
        predictions: &[Prediction],
        most: Duration,
    ) -> Result<Vec<Fate>> {
        self.number = self.number.wrapping_add(1);
        let round = self.number;
        let token = |at: usize| Token {
            round,
            number: at as u16,
        };
        // What came late of the last one.
        self.witness
            .watch(&mut Seen::default(), Duration::ZERO, |_| true)?;
        let each: Vec<_> = shots
            .iter()
            .enumerate()
            .map(|(at, shot)| (token(at), shot))
            .collect();
        let told = shoot::volley(&self.set, &each, |shot| {
            expect::macs(world, &self.set, shot)
        })?;
        let mut seen = Seen::default();
        let fate = |seen: &Seen, at: usize| {
            let own = token(at);
            let mut sightings: Vec<_> = of(&seen.sightings, own).collect();
            sightings.sort();
            let mut delivered: Vec<_> = of(&seen.delivered, own).collect();
            delivered.sort_unstable();
            Fate {
                sightings,
                delivered,
                told: told[at],
            }
        };
        let as_computed = |seen: &Seen| {
            let mut all = predictions.iter().enumerate();
            all.all(|(at, one)| one.unknown.is_some() || agrees(one, &fate(seen, at)))
        };
        self.witness.watch(&mut seen, most, as_computed)?;
        self.witness.watch(&mut seen, QUIET, |_| false)?;
        Ok((0..shots.len()).map(|at| fate(&seen, at)).collect())
    }
}

fn of<T: Copy>(all: &[(Token, T)], own: Token) -> impl Iterator<Item = T> {
    all.iter()
        .filter(move |(token, _)| *token == own)
        .map(|(_, one)| *one)
}

/// Whether it went one of the ways that it may go.
fn agrees(prediction: &Prediction, fate: &Fate) -> bool {
    prediction.ways.iter().any(|way| is(way, fate))
}

fn is(way: &Expected, fate: &Fate) -> bool {
    let mut sightings = way.sightings.clone();
    sightings.sort();
    let mut delivered = way.delivered.clone();
    delivered.sort_unstable();
    let told = way.told.unwrap_or(Told::Sent);
    sightings == fate.sightings && delivered == fate.delivered && told == fate.told
}

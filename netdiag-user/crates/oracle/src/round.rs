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
    set::Set,
    shoot::{self, Told},
    traffic::Shot,
    wire::Token,
    witness::{Seen, Sighting, Witness},
};

/// How long the kernel may take: a neighbour that nobody answers for is given up after 20 ms.
const MOST: Duration = Duration::from_millis(80);
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
    witness: Witness,
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
    pub fn new() -> Result<Self> {
        let set = Set::new()?;
        Ok(Self {
            witness: Witness::new(&set)?,
            set,
            worlds: 0,
            number: 0,
        })
    }

    pub fn set(&self) -> &Set {
        &self.set
    }

    /// Builds it, and reads it back.
    pub fn build(&mut self, commands: &[Command]) -> Result<World> {
        if self.worlds == RENEWED || self.set.spent.get() {
            *self = Self::new()?;
        }
        self.worlds += 1;
        self.set.clear()?;
        self.set.build(commands)?;
        self.set.read()
    }

    pub fn shoot(&mut self, world: &World, shots: &[Shot]) -> Result<Outcome> {
        let prepared = Prepared::new(world);
        let mut outcome = Outcome::default();
        let predictions: Vec<_> = shots
            .iter()
            .map(|shot| expect::predict(&prepared, &self.set, shot))
            .collect();
        outcome.took = predictions.iter().map(|p| p.took).collect();
        let fates = self.volley(world, shots, &predictions)?;
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

    /// The same packet, with nothing learned: what is expected and what is seen, if they differ.
    pub fn alone(&mut self, shot: &Shot) -> Result<Option<(String, Fate)>> {
        self.set.forget()?;
        let world = self.set.read()?;
        let prepared = Prepared::new(&world);
        let prediction = expect::predict(&prepared, &self.set, shot);
        if prediction.unknown.is_some() {
            return Ok(None);
        }
        let shots = std::slice::from_ref(shot);
        let mut fates = self.volley(&world, shots, std::slice::from_ref(&prediction))?;
        let Some(fate) = fates.pop() else {
            return Ok(None);
        };
        Ok((!agrees(&prediction, &fate)).then_some((prediction.text, fate)))
    }

    fn volley(
        &mut self,
        world: &World,
        shots: &[Shot],
        predictions: &[Prediction],
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
        let most: usize = predictions
            .iter()
            .filter(|prediction| prediction.unknown.is_none())
            .map(|p| {
                p.ways
                    .iter()
                    .map(|way| way.sightings.len())
                    .max()
                    .unwrap_or(0)
            })
            .sum();
        let enough = |seen: &Seen| {
            seen.sightings
                .iter()
                .filter(|(t, _)| t.round == round)
                .count()
                >= most
        };
        self.witness.watch(&mut seen, MOST, enough)?;
        self.witness.watch(&mut seen, QUIET, |_| false)?;
        let fate = |at: usize| {
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
        Ok((0..shots.len()).map(fate).collect())
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

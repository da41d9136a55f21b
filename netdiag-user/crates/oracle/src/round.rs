//! One world: built, read back, walked, shot at, compared; what differs is tried again alone, and
//! made smaller.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Result;
use netdiag_forwarding::{
    Prepared, Tally,
    way::{Memory, Unknown},
};
use netdiag_model::world::{End, World};

use crate::{
    command::Command,
    counters::{self, Due},
    expect::{self, Expected, Prediction},
    fate::Fate,
    filters,
    links::{Is, LINKS},
    mistakes::{MISTAKES, Make, Mistake},
    set::{SOON, Set},
    shoot,
    traffic::Shot,
    turn::{Turn, is, is_over},
    wire::Token,
    witness::{Seen, Witness},
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

/// A packet that went otherwise than computed.
pub struct Contradiction {
    pub shot: Shot,
    pub expected: String,
    pub fate: Fate,
}

/// What of a world is walked.
pub type View = fn(&Set, World) -> Result<World>;

pub struct Round {
    set: Set,
    ipv6: bool,
    /// What is made of the world that was read.
    view: View,
    witness: Witness,
    /// What the world was built of.
    commands: Vec<Command>,
    /// Worlds since the set was made.
    worlds: usize,
    number: u16,
}

/// Packets of a conversation.
const TURNS: usize = 4;

/// A namespace remembers what it had, so that its set is made anew after so many worlds.
const RENEWED: usize = 16;

/// Whether it was seen there.
fn goes_by(world: &World, set: &Set, turn: &Turn, wanted: Is) -> bool {
    turn.fate.sightings.iter().any(|seen| {
        let end = End {
            netns: set.inode(seen.space),
            index: seen.device,
        };
        let device = world.device(end);
        let master = device.and_then(|device| device.master);
        let master = master.and_then(|index| world.device(End { index, ..end }));
        match wanted {
            Is::Device(is) => device.into_iter().chain(master).any(is),
            Is::Address(is) => {
                let stack = world.stacks.get(&end.netns);
                stack.is_some_and(|stack| is(stack, seen.header.destination))
            }
        }
    })
}

fn others(world: &World) -> impl Iterator<Item = &'static Mistake> {
    let mut rulesets = world.stacks.values().filter_map(|s| s.ruleset.some());
    let ruled = rulesets.any(|ruleset| !ruleset.tables.is_empty());
    let of_rules = filters::MISTAKES.iter().filter(move |_| ruled);
    let of_links = LINKS.iter().flat_map(|links| links.mistakes);
    of_links.chain(of_rules)
}

/// What a world's packets came to.
#[derive(Default)]
pub struct Outcome {
    pub contradictions: Vec<Contradiction>,
    /// By how they end.
    pub ends: BTreeMap<&'static str, u64>,
    pub unknown: BTreeMap<String, u64>,
    /// Other than computed at first, and as computed alone.
    pub again: u64,
    /// Packets of conversations that went both ways, and both ways again.
    pub conversed: u64,
    /// Packets that went as computed by kinds of links that some worlds have beside.
    pub by: BTreeMap<&'static str, u64>,
    /// Packets that went as computed into another node than they were sent from.
    pub crossed: u64,
    /// How long the walks took.
    pub took: Vec<Duration>,
    /// Packets of which a walker with that mistake would say something else than was seen.
    pub caught: BTreeMap<&'static str, u64>,
    /// How often expressions of rules held, and how often not.
    pub asked: BTreeMap<String, (u64, u64)>,
}

impl Round {
    /// For worlds of one family.
    pub fn new(ipv6: bool) -> Result<Self> {
        Self::viewed(ipv6, |_, world| Ok(world))
    }

    /// The same, where something else is made of them.
    pub fn viewed(ipv6: bool, view: View) -> Result<Self> {
        let set = Set::new(ipv6)?;
        Ok(Self {
            ipv6,
            view,
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
                ..Self::viewed(self.ipv6, self.view)?
            };
        }
        self.worlds += 1;
        self.set.clear()?;
        self.set.wait_for_neighbours(QUICK.neighbour)?;
        self.set.build(&self.commands)?;
        let world = self.set.read()?;
        self.set.wait_for_neighbours(patience.neighbour)?;
        (self.view)(&self.set, world)
    }

    /// With mistakes that are not `shown` yet.
    pub fn shoot(
        &mut self,
        world: &World,
        shots: &[Shot],
        shown: &BTreeSet<&'static str>,
    ) -> Result<Outcome> {
        let tally = Tally::default();
        let prepared = Prepared::new(world).counting(&tally);
        let mut outcome = Outcome::default();
        let (talks, missed) = self.counted(world, &prepared, shots, QUICK.most)?;
        outcome.asked = tally.take();
        self.mistaken(world, &talks, shown, &mut outcome);
        if missed.is_some() {
            self.each_alone(shots, &mut outcome)?;
        }
        for (shot, turns) in shots.iter().zip(talks) {
            outcome
                .took
                .extend(turns.iter().map(|turn| turn.prediction.took));
            let mut contradicted = false;
            for turn in &turns {
                match &turn.prediction.unknown {
                    Some(unknown) => {
                        let why = match unknown {
                            Unknown::Beyond(_) => "Beyond".into(),
                            unknown => format!("{unknown:?}"),
                        };
                        *outcome.unknown.entry(why).or_default() += 1;
                    }
                    None => *outcome.ends.entry(turn.prediction.ends).or_default() += 1,
                }
                contradicted |= turn.contradicts();
                outcome.crossed += u64::from(turn.agrees() && self.crosses(world, turn));
                let seen_at = |wanted| goes_by(world, &self.set, turn, wanted);
                let agrees = turn.agrees();
                for links in LINKS.iter().filter(|links| agrees && seen_at(links.is)) {
                    *outcome.by.entry(links.name).or_default() += 1;
                }
            }
            if turns.len() == TURNS {
                outcome.conversed += turns.len() as u64;
            }
            if !contradicted {
                continue;
            }
            // Another packet's question may have told a neighbour; alone, nothing has.
            match self.alone(shot)? {
                None => outcome.again += 1,
                Some((expected, fate)) => outcome.contradictions.push(Contradiction {
                    shot: shot.clone(),
                    expected,
                    fate,
                }),
            }
        }
        Ok(outcome)
    }

    /// Rules counted otherwise than computed: which packet's they are is seen of each alone.
    fn each_alone(&mut self, shots: &[Shot], outcome: &mut Outcome) -> Result<()> {
        for shot in shots {
            if let Some((expected, fate)) = self.alone(shot)? {
                outcome.contradictions.push(Contradiction {
                    shot: shot.clone(),
                    expected,
                    fate,
                });
                return Ok(());
            }
        }
        outcome.again += 1;
        Ok(())
    }

    /// Whether it was seen in another node than it was sent from.
    fn crosses(&self, world: &World, turn: &Turn) -> bool {
        let node = |space: usize| {
            let netns = self.set.inode(space);
            world.nodes.iter().position(|node| node.contains(&netns))
        };
        let seen = turn.fate.sightings.iter().map(|seen| seen.space);
        let mut seen = seen.chain(turn.fate.delivered.iter().copied());
        seen.any(|space| node(space) != node(turn.shot.space))
    }

    /// Exchanges them; and what rules counted otherwise than computed, where each packet went as computed.
    fn counted(
        &mut self,
        world: &World,
        prepared: &Prepared<'_>,
        shots: &[Shot],
        most: Duration,
    ) -> Result<(Vec<Vec<Turn>>, Option<String>)> {
        let before = counters::counters(&self.set)?;
        let talks = self.exchange(world, prepared, shots, most)?;
        let turns = || talks.iter().flatten();
        if before.is_empty() || !turns().all(Turn::agrees) {
            return Ok((talks, None));
        }
        let mut due = Due::default();
        turns().for_each(|turn| due.add(turn.ways(), turn.shot.count.into()));
        let others = counters::uncounted(&self.commands, self.ipv6);
        // What goes nowhere nobody sees: errors about a neighbour that is still asked for.
        let began = Instant::now();
        let missed = loop {
            let after = counters::counters(&self.set)?;
            let missed = due.missed((&before, &after), &others);
            if missed.is_none() || began.elapsed() > most {
                break missed;
            }
            std::thread::sleep(QUIET);
        };
        Ok((talks, missed))
    }

    /// Sends each, what is answered to those that talk, and what these answer, as long as they arrive.
    fn exchange(
        &mut self,
        world: &World,
        prepared: &Prepared<'_>,
        shots: &[Shot],
        most: Duration,
    ) -> Result<Vec<Vec<Turn>>> {
        let mut talks: Vec<Vec<Turn>> = shots.iter().map(|_| Vec::new()).collect();
        let predict = |(at, shot): (usize, &Shot)| {
            let memory = Memory::default();
            let prediction = expect::predict(prepared, &self.set, shot, &memory);
            (at, (shot.clone(), memory, prediction))
        };
        let mut now: Vec<_> = shots.iter().enumerate().map(predict).collect();
        while !now.is_empty() {
            let shots: Vec<Shot> = now.iter().map(|(_, (shot, ..))| shot.clone()).collect();
            let ways: Vec<&Prediction> = now.iter().map(|(_, (.., ways))| ways).collect();
            let fates = self.volley(world, &shots, &ways, most)?;
            let mut next = Vec::new();
            for ((at, (shot, memory, prediction)), fate) in now.into_iter().zip(fates) {
                let turn = Turn {
                    shot,
                    memory,
                    prediction,
                    fate,
                };
                if talks[at].len() + 1 < TURNS {
                    next.extend(
                        turn.answered(prepared, &self.set)
                            .map(|answer| (at, answer)),
                    );
                }
                talks[at].push(turn);
            }
            now = next;
            let ports = now.iter().flat_map(|(_, (_, _, ways))| ways.unheard());
            let ports: BTreeSet<_> = ports.collect();
            self.witness.ask(&self.set, ports)?;
        }
        Ok(talks)
    }

    /// Which mistakes these packets would show.
    fn mistaken(
        &self,
        world: &World,
        talks: &[Vec<Turn>],
        shown: &BTreeSet<&'static str>,
        outcome: &mut Outcome,
    ) {
        let right: Vec<&Turn> = talks
            .iter()
            .flatten()
            .filter(|turn| turn.agrees())
            .collect();
        let all = MISTAKES.iter().chain(others(world));
        for mistake in all.filter(|mistake| !shown.contains(mistake.name)) {
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
            let caught = right.iter().filter(|turn| {
                let other = expect::predict(&prepared, &self.set, &turn.shot, &turn.memory);
                let same = |way: &Expected| {
                    let mut all = other.ways.iter().filter(|other| is(other, &turn.fate));
                    all.any(|other| other.counted == way.counted)
                };
                other.unknown.is_none() && !turn.ways().any(same)
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
        let shots = std::slice::from_ref(shot);
        let (talks, missed) = self.counted(&world, &prepared, shots, patience.most)?;
        let mut before = String::new();
        let mut last = None;
        for turn in talks.into_iter().flatten() {
            if turn.contradicts() {
                return Ok(Some((before + &turn.prediction.text, turn.fate)));
            }
            before += &format!("{}  then:\n", turn.prediction.text);
            last = Some(turn.fate);
        }
        Ok(missed
            .zip(last)
            .map(|(missed, fate)| (before + &missed, fate)))
    }

    /// Sends them all and waits until all went as computed, or for so long.
    fn volley(
        &mut self,
        world: &World,
        shots: &[Shot],
        predictions: &[&Prediction],
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
            // What happens where nobody read the state is nothing that a walk tells.
            let read = |space: usize| world.stacks.contains_key(&self.set.inode(space));
            sightings.retain(|sighting| read(sighting.space));
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
            all.all(|(at, one)| one.unknown.is_some() || is_over(one, &fate(seen, at)))
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

//! Builds networks by chance, computes the way of packets through them, and holds it against what
//! the kernel does.
mod batch;
mod bonds;
mod bridge_vlans;
mod command;
mod counters;
mod expect;
mod fate;
mod features;
mod filters;
mod generate;
mod inner_pairs;
mod ip_tunnels;
mod ipsecs;
mod ipsets;
mod iptables;
mod ipvlans;
mod ipvs;
mod kept;
mod links;
mod macvlans;
mod mistakes;
mod names;
mod nodes;
mod plan;
mod recorded;
mod round;
mod set;
mod settled;
mod shoot;
mod shots;
mod shrink;
mod six;
mod sysctls;
mod told;
mod traffic;
mod tunnels;
mod tuns;
mod turn;
mod vlans;
mod wire;
mod wireguards;
mod witness;
mod writers;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    ops::Range,
    process::ExitCode,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use netdiag_model::world::World;

use command::Command;
use kept::KEPT;
use links::LINKS;
use mistakes::{MISTAKES, Mistake};
use nodes::Joined;
use round::{Outcome, Round};
use writers::Writer;

/// Worlds that are tried beside, as often as it takes up to as many again, to have every mistake shown.
const MORE: u64 = 100;

/// Worlds in which every mistake is tried, and not only those that nothing has shown yet.
const ALL_MISTAKES: u64 = 400;

/// How many contradictions are made small and printed.
const PRINTED: usize = 8;

#[derive(Parser)]
#[command(about = "Hold the computed way of packets against the kernel")]
struct Args {
    /// Networks
    #[arg(long, default_value_t = 400)]
    worlds: u64,
    /// Packets in all
    #[arg(long, default_value_t = 10_000)]
    packets: u64,
    /// The same seed gives the same networks
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first of the seed's networks that is built
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Of one family alone, 4 or 6
    #[arg(long, value_parser = clap::value_parser!(u8).range(4..=6))]
    family: Option<u8>,
    /// Sets of namespaces that are worked on at once: they mostly wait
    #[arg(long, default_value_t = 4)]
    jobs: u64,
    /// Fail where some deliberate mistake would not be seen: then it proves nothing that none contradicts
    #[arg(long)]
    every_mistake: bool,
    /// Networks of two nodes, each read apart through a recording of its own
    #[arg(long)]
    nodes: bool,
    /// That kind of links in every network, and of those that not all have no other
    #[arg(long, value_name = "LINKS", value_parser = links::names())]
    with: Option<String>,
    /// With rules of nf_tables in every second network
    #[arg(long, conflicts_with = "nodes")]
    rules: bool,
    /// With rules of nf_tables in every network, those that this program wrote among them
    #[arg(long, value_name = "PROGRAM", value_parser = writers::names(), conflicts_with = "nodes")]
    writer: Option<String>,
    /// Recordings whose lost packets are held against their computed ways, instead of networks
    #[arg(long, num_args = 1.., value_name = "FILE")]
    recorded: Vec<std::path::PathBuf>,
    /// And each walk of what died is told
    #[arg(long, requires = "recorded")]
    tell: bool,
    /// Recordings of where nothing fails: instead of dying, something has to live as computed
    #[arg(long, requires = "recorded")]
    living: bool,
}

#[derive(Default)]
struct Total {
    worlds: u64,
    ends: BTreeMap<&'static str, u64>,
    /// The first world with it, and packets in all.
    unknown: BTreeMap<String, (u64, u64)>,
    again: u64,
    conversed: u64,
    crossed: u64,
    /// Packets by each kind of links that some worlds have beside.
    by: BTreeMap<&'static str, u64>,
    /// The first world that showed a mistake, and packets in all.
    caught: BTreeMap<&'static str, (u64, u64)>,
    /// Some worlds have rules of nf_tables.
    rules: bool,
    /// How often their expressions held, and how often not.
    asked: BTreeMap<String, (u64, u64)>,
    contradictions: u64,
    printed: usize,
    features: features::Table,
    took: Vec<Duration>,
}

impl Total {
    fn count(&mut self, world: &World, packets: u64) {
        self.features
            .count(features::of(self.rules), world, packets);
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if !args.recorded.is_empty() {
        return Ok(
            match recorded::report(&args.recorded, args.tell, args.living)? {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            },
        );
    }
    let began = Instant::now();
    let total = Mutex::new(Total {
        rules: args.rules || args.writer.is_some(),
        ..Total::default()
    });
    // Once is enough where several samples are taken.
    if args.first == 0 && !args.nodes && !args.rules && args.writer.is_none() {
        by_jobs(args.jobs, |job| again(args.jobs, job, &total))?;
        say(format_args!("{} kept worlds", KEPT.len()));
    }
    let end = args.first.saturating_add(args.worlds);
    all(&args, args.first..end, &total)?;
    // Some are shown by a packet in ten thousand: that none of so many did says nothing of the next ones.
    let most = end.saturating_add(args.worlds);
    let mut next = end;
    while args.every_mistake && next < most && !blind(&lock(&total)).is_empty() {
        let end = most.min(next + MORE);
        all(&args, next..end, &total)?;
        next = end;
    }
    let total = total
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    report(&total, began, args.nodes);
    let good = total.contradictions == 0 && (!args.every_mistake || blind(&total).is_empty());
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn lock(total: &Mutex<Total>) -> MutexGuard<'_, Total> {
    total
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// These worlds, by all jobs.
fn all(args: &Args, worlds: Range<u64>, total: &Mutex<Total>) -> Result<()> {
    by_jobs(args.jobs, |job| work(args, worlds.clone(), job, total))
}

/// So many at once.
fn by_jobs(jobs: u64, work: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs)
            .map(|job| scope.spawn(move || work(job)))
            .collect();
        let joined = jobs.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|done| done.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread died"))))
            .collect()
    });
    results.into_iter().collect()
}

/// Mistakes that no packet would have shown.
fn blind(total: &Total) -> Vec<&'static str> {
    let shown = |name: &&str| total.caught.get(name).is_some_and(|(_, count)| *count > 0);
    let names = mistakes(total).map(|mistake| mistake.name);
    let of_rules = |name: &&str| filters::MISTAKES.iter().any(|one| one.name == *name);
    // What rules have to do with is shown where they are, the rest where nothing else stops packets.
    let names = names.filter(|name| !total.rules || of_rules(name));
    names.filter(|name| !shown(name)).collect()
}

/// Those that could be shown.
fn mistakes(total: &Total) -> impl Iterator<Item = &'static Mistake> + '_ {
    let tried = LINKS
        .iter()
        .filter(|links| total.by.contains_key(links.name));
    MISTAKES
        .iter()
        .chain(tried.flat_map(|links| links.mistakes))
        .chain(filters::MISTAKES.iter().filter(|_| total.rules))
}

fn report(total: &Total, began: Instant, nodes: bool) {
    let packets: u64 = total.ends.values().sum();
    let took = began.elapsed();
    say(format_args!(
        "{} worlds, {packets} packets in {took:.0?}; they end at",
        total.worlds
    ));
    for (end, count) in &total.ends {
        say(format_args!("  {count:>8}  {end}"));
    }
    for (unknown, (first, count)) in &total.unknown {
        say(format_args!(
            "  {count:>8}  unknown: {unknown} (first in world {first})"
        ));
    }
    say(format_args!(
        "other than computed at first, and as computed alone: {}",
        total.again
    ));
    say(format_args!(
        "packets of conversations, twice both ways: {}",
        total.conversed
    ));
    let mut took = total.took.clone();
    took.sort_unstable();
    let of = |share: usize| {
        took.get(took.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    say(format_args!(
        "a walk takes {:.1?}, one in a hundred {:.1?} and more",
        of(50),
        of(99)
    ));
    if nodes {
        say(format_args!(
            "packets that went into the other node: {}",
            total.crossed
        ));
    } else {
        report_of_one(total);
    }
    say(format_args!("{} contradictions", total.contradictions));
}

/// What worlds of one node are to show.
fn report_of_one(total: &Total) {
    for (links, count) in &total.by {
        say(format_args!("packets that went by {links}: {count}"));
    }
    for line in total.features.lines(features::of(total.rules)) {
        say(format_args!("{line}"));
    }
    for (name, (held, not)) in &total.asked {
        say(format_args!(
            "rules: {held:>8} times {name}, {not} times not"
        ));
    }
    say(format_args!(
        "packets of the first {ALL_MISTAKES} worlds, and until one does, that would show a mistake:"
    ));
    for mistake in mistakes(total) {
        let (first, count) = total.caught.get(mistake.name).copied().unwrap_or_default();
        let first = match count {
            0 => "never".to_owned(),
            _ => format!("first in world {first}"),
        };
        say(format_args!("  {count:>8}  {} ({first})", mistake.name));
    }
    for name in blind(total) {
        say(format_args!("no packet would show this mistake: {name}"));
    }
}

fn say(line: std::fmt::Arguments<'_>) {
    // Who closed the pipe has seen enough.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// What is kept of contradictions that there were, as far as it is this job's turn.
fn again(jobs: u64, job: u64, total: &Mutex<Total>) -> Result<()> {
    let mut rounds = [Round::new(false)?, Round::new(true)?];
    let own = (0..).zip(&KEPT).filter(|(at, _)| at % jobs == job);
    for (_, kept) in own {
        let read = || format!("the kept world {}", kept.name);
        let (shot, commands) = kept.read().with_context(read)?;
        let round = &mut rounds[usize::from(shot.destination.is_ipv6())];
        round.take(&commands);
        if let Some((expected, fate)) = round.alone(&shot)? {
            say(format_args!(
                "{}: a contradiction again\n computed:\n{expected} seen:\n{fate}",
                read()
            ));
            lock(total).contradictions += 1;
        }
    }
    Ok(())
}

/// A set of namespaces for each family, and every world whose turn is this job's.
fn work(args: &Args, worlds: Range<u64>, job: u64, total: &Mutex<Total>) -> Result<()> {
    let round = |ipv6| match args.nodes {
        true => Round::viewed(ipv6, nodes::apart),
        false => Round::new(ipv6),
    };
    let mut rounds = [round(false)?, round(true)?];
    let here = links::here(rounds[0].set(), args.with.as_deref())?;
    let each = usize::try_from(args.packets / args.worlds.max(1))?;
    for number in worlds.filter(|number| number % args.jobs == job) {
        let seed = args
            .seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(number);
        let mut rng = fastrand::Rng::with_seed(seed);
        // Half of them over either family.
        let ipv6 =
            args.family.is_none_or(|family| family == 6) && (args.family.is_some() || rng.bool());
        let round = &mut rounds[usize::from(ipv6)];
        let (commands, world, shots) = match args.nodes {
            true => {
                let joined = Joined::by_chance(&mut rng);
                let lines = nodes::world(&mut rng, joined);
                let lines = if ipv6 { six::lines(&lines) } else { lines };
                let world = round.build(&lines)?;
                let shots = nodes::shots(&mut rng, joined, ipv6, each);
                (lines, world, shots)
            }
            false => {
                let mut lines = generate::world(&mut rng, ipv6);
                let links = links::chosen(&mut rng, &here, (ipv6, args.with.is_some()));
                if let Some(links) = links {
                    lines.extend(links.made(&mut rng, ipv6));
                }
                if let Some(rules) = ruled(args, &mut rng, (&lines, ipv6)) {
                    lines.extend(rules);
                }
                let world = round.build(&lines)?;
                let mut shots = shots::shots(&mut rng, round.set(), &world, (ipv6, each));
                if let Some(links) = links {
                    links.aim(&mut rng, &mut shots, ipv6);
                }
                (lines, world, shots)
            }
        };
        let shown = match number < args.first.saturating_add(ALL_MISTAKES) {
            true => BTreeSet::new(),
            false => lock(total).caught.keys().copied().collect(),
        };
        let outcome = round
            .shoot(&world, &shots, &shown)
            .with_context(|| format!("world {number}"))?;
        {
            lock(total).count(&world, shots.len() as u64);
        }
        take(round, total, number, &commands, outcome)?;
    }
    Ok(())
}

/// Rules for a world that is made by these lines.
fn ruled(args: &Args, rng: &mut fastrand::Rng, of: (&[Command], bool)) -> Option<Vec<Command>> {
    let named = args.writer.as_deref().and_then(Writer::called);
    let writer = named.or_else(|| (rng.u8(0..5) == 0).then(|| Writer::any(rng)));
    (named.is_some() || args.rules && rng.bool()).then(|| filters::made(rng, of, writer))
}

fn take(
    round: &mut Round,
    total: &Mutex<Total>,
    number: u64,
    commands: &[Command],
    outcome: Outcome,
) -> Result<()> {
    let first = {
        let mut total = lock(total);
        total.worlds += 1;
        total.again += outcome.again;
        total.conversed += outcome.conversed;
        total.crossed += outcome.crossed;
        for (links, count) in outcome.by {
            *total.by.entry(links).or_default() += count;
        }
        total.took.extend(outcome.took);
        for (name, (held, not)) in outcome.asked {
            let all = total.asked.entry(name).or_default();
            *all = (all.0 + held, all.1 + not);
        }
        for (mistake, count) in outcome.caught.into_iter().filter(|(_, count)| *count > 0) {
            let (first, all) = total.caught.entry(mistake).or_insert((number, 0));
            *first = number.min(*first);
            *all += count;
        }
        total.contradictions += outcome.contradictions.len() as u64;
        for (end, count) in outcome.ends {
            *total.ends.entry(end).or_default() += count;
        }
        for (unknown, count) in outcome.unknown {
            let (first, all) = total.unknown.entry(unknown).or_insert((number, 0));
            *first = number.min(*first);
            *all += count;
        }
        let print = !outcome.contradictions.is_empty() && total.printed < PRINTED;
        total.printed += usize::from(print);
        print
            .then(|| outcome.contradictions.into_iter().next())
            .flatten()
    };
    let Some(contradiction) = first else {
        return Ok(());
    };
    let shot = &contradiction.shot;
    // What is left when the world gets small may be another one.
    say(format_args!(
        "world {number}: a contradiction at first: {shot}\n computed:\n{} seen:\n{}",
        contradiction.expected, contradiction.fate
    ));
    // At once: the other jobs say something, too.
    match shrink::shrink(round, commands, shot)? {
        Some(small) => {
            let lines = small.commands.iter().map(|it| format!("  {it}\n"));
            let lines: String = lines.collect();
            say(format_args!(
                "world {number}: a contradiction: {shot}\n{lines} computed:\n{} seen:\n{}",
                small.expected, small.fate
            ));
        }
        None => {
            let lines = commands.iter().map(|it| format!("  {it}\n"));
            let lines: String = lines.collect();
            say(format_args!(
                "world {number}: a contradiction: {shot}\n not seen again in the same world:\n{lines} computed:\n{} seen:\n{}",
                contradiction.expected, contradiction.fate
            ));
        }
    }
    Ok(())
}

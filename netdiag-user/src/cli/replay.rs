//! `netdiag replay`: what a recording tells, on any machine, without root or eBPF.
pub mod allowance;
mod anonymise;
mod path;
pub mod player;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use netdiag_lang::english;

use self::player::Player;
use super::{
    Usage,
    diagnose::code,
    exit,
    options::{Causes, SelectionArgs, duration},
    path::{
        name_within,
        predict::{self, Computed},
    },
};
use crate::{
    diagnosis::{
        FlowWay,
        diagnoser::Diagnoser,
        nodes::{Recorded, joined},
    },
    model::{
        event::{Detail, LiveEvent},
        path::Wanted,
        verdict::{NotChecked, Outcome, Verdict},
    },
    output::{self, Format},
};

#[derive(Args, Debug, Clone, Default)]
pub struct ReplayArgs {
    /// Recordings that `run` or `diagnose --record FILE` made. Those of several nodes are one
    /// incident: what left one node and never came to another is told, and every line names its
    /// node.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only recordings of these nodes (repeatable; * and ? match).
    #[arg(long, value_name = "NAME")]
    pub node: Vec<String>,
    /// Only what was seen at these interfaces (repeatable; * and ? match).
    #[arg(short, long, value_name = "NAME")]
    pub iface: Vec<String>,
    #[command(flatten)]
    pub only: SelectionArgs,
    #[command(flatten)]
    pub causes: Causes,
    /// The verdict as `diagnose` prints it; ndjson: the events as `run` prints them.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// One flow's way instead of the verdict, as `netdiag path` prints it: over all of the nodes.
    #[arg(long, num_args = 2, value_names = ["SRC", "DST[:PORT]"])]
    pub path: Option<Vec<Wanted>>,
    #[command(flatten)]
    pub computed: Computed,
    /// The recording as a full screen, as `netdiag top --in FILE` shows it.
    #[cfg(feature = "top")]
    #[arg(long)]
    #[arg(conflicts_with_all = ["output", "path", "pcap", "output_file", "anonymise", "node"])]
    pub top: bool,
    /// Write samples of dropped, oversize and retransmitted packets to this file (pcapng).
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Write FILE again without names and addresses, and print no verdict: pods, namespaces,
    /// Services, nodes, links, addresses, DNS names and texts are mapped (two addresses of one
    /// prefix stay in one), payload is left out, and the causes that are named stay the same. What
    /// it does not hide: sizes, times, counts, ports, sequence numbers, how many pods, links and
    /// routes there are, process numbers, the kernel's version.
    #[arg(long, value_name = "OUT")]
    pub anonymise: Option<PathBuf>,
    /// Processor time that it may take at most, as far as the recordings' size allows it [default: 10m,
    /// and 2m for each further recording].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub max_time: Option<Duration>,
    /// What else was to be replayed and is not there.
    #[arg(skip)]
    pub missing: Vec<NotChecked>,
    /// Each file is called by the node that it must be of.
    #[arg(skip)]
    pub named_by_files: bool,
}

impl ReplayArgs {
    /// An output is one of the recordings.
    pub fn would_overwrite(&self) -> bool {
        let outputs = [&self.output_file, &self.pcap, &self.anonymise];
        let mut outputs = outputs.into_iter().flatten();
        outputs.any(|to| is_one_of(to, &self.files))
    }
}

/// Whether that file is one of those, by whatever name.
pub fn is_one_of(to: &Path, files: &[PathBuf]) -> bool {
    files.iter().any(|from| anonymise::is_same(from, to))
}

pub const OVERWRITES: &str =
    "an output is one of the recordings, and would empty it: name another file";

pub fn run(args: &ReplayArgs) -> Result<i32> {
    let mut args = args.clone();
    match args.path.as_deref_mut() {
        Some([source, destination]) => {
            name_within(&mut args.only.namespace, [source, destination]);
        }
        _ if args.computed != Computed::default() => {
            let what = "a way is computed between two ends: --path SRC DST[:PORT]";
            return Err(Usage(what.into()).into());
        }
        _ => {}
    }
    allowance::at_most(args.max_time);
    allowance::guard(&args.files, args.anonymise.is_none());
    if let Some(to) = &args.anonymise {
        return anonymise::run(&args, to);
    }
    if args.would_overwrite() {
        return Err(Usage(OVERWRITES.into()).into());
    }
    let mut sink = output::Sink::open(args.output_file.as_deref())?;
    replay(&args, &mut sink)
}

/// Several nodes' recordings that were fetched just now: one that was cut before its first reading
/// does not cost the others.
pub fn several(args: &ReplayArgs, sink: &mut output::Sink) -> Result<i32> {
    let mut args = args.clone();
    allowance::guard(&args.files, false);
    let nothing = args.only.asked(&args.iface, &args.causes);
    let mut cut = Vec::new();
    args.files
        .retain(|file| match Player::open(file, &nothing) {
            Ok(_) => true,
            Err(why) => {
                let node = file.file_stem().unwrap_or_default().to_string_lossy();
                cut.push(NotChecked::new(english!("node {node}"), format!("{why:#}")));
                false
            }
        });
    if args.files.is_empty() {
        let each = cut.iter().map(|it| format!("{}: {}", it.what, it.why));
        bail!(
            "nothing was recorded; {}",
            each.collect::<Vec<_>>().join("; ")
        );
    }
    args.missing.extend(cut);
    replay(&args, sink)
}

/// Replays into a sink; what the whole process may cost is for [`run`] to see to.
pub fn replay(args: &ReplayArgs, sink: &mut output::Sink) -> Result<i32> {
    let mut pcap = args
        .pcap
        .as_deref()
        .map(output::Pcapng::create)
        .transpose()?;
    let asked = args.only.asked(&args.iface, &args.causes);
    let open = |file: &PathBuf| Player::open(file, &asked);
    let mut players = args.files.iter().map(open).collect::<Result<Vec<_>>>()?;
    let nodes: BTreeSet<String> = players.iter().map(|p| p.node().to_owned()).collect();
    players.retain(|player| player.is_of(&args.node));
    if players.is_empty() {
        return none(sink, args, &nodes);
    }
    let files = files_of(&mut players);
    let told = args.output == Format::Ndjson && args.path.is_none();
    let mut recorded = match (told, pcap.as_mut()) {
        (true, pcap) => tell(players, sink, pcap)?,
        (false, None) => side_by_side(players, |player| player.play(None))?,
        (false, Some(pcap)) => {
            let one = |player: Player| player.play(Some(pcap));
            players.into_iter().map(one).collect::<Result<_>>()?
        }
    };
    if let Some([source, destination]) = args.path.as_deref() {
        let mut paths = path::paths(&mut recorded, [source, destination], &args.computed)?;
        if let Some(first) = paths.first_mut() {
            first.not_checked.extend(args.missing.iter().cloned());
        }
        let unwatched = args.computed.predict;
        let code = match unwatched || paths.iter().all(|path| path.flows == 0) {
            true if paths.iter().any(|path| !path.predicted.is_empty()) => {
                predict::code(paths.iter().flat_map(|path| &path.predicted))
            }
            _ => path::code(&paths),
        };
        output::paths(sink, &paths, (args.output, unwatched))?;
        return Ok(match code {
            exit::OK if !args.missing.is_empty() => exit::INCOMPLETE,
            code => code,
        });
    }
    let Some((mut verdict, ways)) = verdict(recorded, files) else {
        return none(sink, args, &nodes);
    };
    if !args.missing.is_empty() {
        verdict.not_checked.extend(args.missing.iter().cloned());
        if verdict.verdict == Outcome::Healthy {
            // Nobody knows about the others.
            verdict.verdict = Outcome::Incomplete;
        }
    }
    if told {
        // No event says so.
        for it in &args.missing {
            log::warn!("{}: {}", it.what, it.why);
        }
    }
    match told {
        true => output::Live::new(Format::Ndjson).events(sink, together(&verdict))?,
        false => output::verdict(sink, &verdict, &ways, args.output)?,
    }
    Ok(code(&verdict))
}

/// What those are called that are played together, each told whether it is alone.
pub fn files_of(players: &mut [Player]) -> Vec<String> {
    let several = players.len() > 1;
    let file = |it: &mut Player| {
        it.one_of_several = several;
        it.file()
    };
    players.iter_mut().map(file).collect()
}

/// What these recordings say together, for whoever prints something else of it.
pub fn judged(files: &[PathBuf]) -> Result<Verdict> {
    allowance::guard(files, true);
    let asked = SelectionArgs::default().asked(&[], &Causes::default());
    let players = files.iter().map(|file| Player::open(file, &asked));
    let mut players = players.collect::<Result<Vec<_>>>()?;
    let names = files_of(&mut players);
    let recorded = side_by_side(players, |player| player.play(None))?;
    let told = verdict(recorded, names);
    told.map(|(verdict, _)| verdict)
        .ok_or_else(|| anyhow!("there is nothing in these recordings"))
}

/// No recording is of the nodes that were asked for: nothing was seen that could be judged.
fn none(sink: &mut output::Sink, args: &ReplayArgs, nodes: &BTreeSet<String>) -> Result<i32> {
    let known: Vec<&str> = nodes.iter().map(String::as_str).collect();
    log::error!(
        "no recording is of a node called {}: these are of {}",
        args.node.join(" or "),
        known.join(", ")
    );
    if matches!(args.output, Format::Json | Format::Yaml) {
        let none: [Verdict; 0] = [];
        output::document(sink, &none, args.output)?;
    }
    Ok(exit::INCOMPLETE)
}

/// Plays them side by side, as many as there are processors.
pub fn side_by_side<T: Send>(
    players: Vec<Player>,
    play: impl Fn(Player) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let mut players = players.into_iter().peekable();
    let (mut played, play) = (Vec::new(), &play);
    while players.peek().is_some() {
        let some: Vec<Player> = players.by_ref().take(at_once).collect();
        let done: Vec<Result<T>> = std::thread::scope(|scope| {
            let start = |player: Player| scope.spawn(move || play(player));
            let running: Vec<_> = some.into_iter().map(start).collect();
            let panicked = |_| Err(anyhow!("a thread panicked"));
            let ends = running.into_iter().map(|it| it.join());
            ends.map(|it| it.unwrap_or_else(panicked)).collect()
        });
        for one in done {
            played.push(one?);
        }
    }
    Ok(played)
}

/// Plays them in the order of time, each by its own clock, and tells what happens.
fn tell(
    players: Vec<Player>,
    sink: &mut output::Sink,
    mut pcap: Option<&mut output::Pcapng>,
) -> Result<Vec<Recorded>> {
    let mut live = output::Live::new(Format::Ndjson);
    let mut done: Vec<Option<Recorded>> = players.iter().map(|_| None).collect();
    let mut playing: Vec<(usize, Player)> = players.into_iter().enumerate().collect();
    while let Some(at) = (0..playing.len()).min_by_key(|n| playing[*n].1.next_at()) {
        let (events, last) = playing[at].1.events(pcap.as_deref_mut())?;
        live.events(sink, events)?;
        if let Some(last) = last {
            let (number, player) = playing.swap_remove(at);
            if let Some(trouble) = player.trouble() {
                log::warn!("{trouble}");
            }
            done[number] = Some(player.close(last));
        }
    }
    Ok(done.into_iter().flatten().collect())
}

/// One verdict of all of them, and what is drawn beside it; nothing where there are none.
pub fn verdict(recorded: Vec<Recorded>, files: Vec<String>) -> Option<(Verdict, Vec<FlowWay>)> {
    let mut kept: Vec<Recorded> = Vec::new();
    let (mut names, mut twice) = (Vec::new(), Vec::new());
    for (it, file) in recorded.into_iter().zip(files) {
        match kept.iter().position(|known| known.same_as(&it)) {
            Some(at) => {
                let why = match &names[at] {
                    known if *known == file => "it is given twice and counts once".to_owned(),
                    known => format!("it is the same recording as {known}, and counts once"),
                };
                log::warn!("{file}: {why}");
                twice.push(NotChecked::new(file, why));
                if it.last.now > kept[at].last.now {
                    kept[at] = it;
                }
            }
            None => {
                kept.push(it);
                names.push(file);
            }
        }
    }
    let (mut verdict, ways) = match kept.len() {
        0 => return None,
        1 => {
            let mut one = kept.pop()?;
            let verdict = one.judge.verdict(&one.scene, &one.last);
            let ways = Diagnoser::ways(&one.scene, &one.last, &verdict.findings);
            (verdict, ways)
        }
        _ => joined(kept, &names),
    };
    verdict.not_checked.extend(twice);
    Some((verdict, ways))
}

/// What several recordings say together, as events.
fn together(verdict: &Verdict) -> Vec<LiveEvent> {
    if verdict.nodes.is_empty() {
        return Vec::new();
    }
    let ends = verdict.nodes.iter().map(|node| node.ended.clone());
    let time = ends.max().unwrap_or_default();
    let between = verdict.between.iter().map(|it| {
        let lost = it.packets.saturating_sub(it.arrived);
        let between = Box::new(it.clone());
        let mut event = LiveEvent::bare(time.clone(), lost, Detail::Between { between });
        event.node = Some(it.from.clone());
        event
    });
    let findings = verdict.findings.iter().map(|it| {
        let finding = Box::new(it.clone());
        let mut event = LiveEvent::bare(time.clone(), 1, Detail::Finding { finding });
        event.node.clone_from(&it.node);
        event
    });
    between.chain(findings).collect()
}

//! `netdiag report`: one page for the incident's ticket, from recordings or from a verdict.
mod files;
mod timelines;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::{files::Given, timelines::Told};
use super::{
    Usage, exit,
    options::{Causes, SelectionArgs},
    replay::{self, allowance, is_one_of, player::Player, side_by_side},
};
use crate::{
    model::verdict::Verdict,
    output,
    pipeline::asked::Asked,
    report::{self, Page, Source, Timeline},
};

#[derive(Args, Debug, Clone)]
pub struct ReportArgs {
    /// Recordings (run or diagnose --record FILE), those of several nodes as one incident; or one
    /// verdict (diagnose -o json), in which there are no hop counts and no timelines.
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
    /// One page that needs nothing beside itself, or text for a chat.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
    /// Write the page to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    #[default]
    Html,
    Markdown,
}

impl ReportArgs {
    /// The page is to stand where a recording is.
    pub fn would_overwrite(&self) -> bool {
        let to = self.output_file.as_ref();
        to.is_some_and(|to| is_one_of(to, &self.files))
    }

    /// Something but the whole of all files.
    fn selects(&self, asked: &Asked) -> bool {
        let nothing = [&self.node, &asked.links, &asked.causes];
        let nothing = nothing.iter().all(|it| it.is_empty());
        !nothing || asked.of_packets() != 0
    }
}

pub fn run(args: &ReportArgs) -> Result<i32> {
    if args.would_overwrite() {
        return Err(Usage(replay::OVERWRITES.into()).into());
    }
    let mut sink = output::Sink::open(args.output_file.as_deref())?;
    if args.output == Form::Html && sink.is_screen() {
        let why = "HTML is for a browser: write it with --output-file FILE, or pass -o markdown";
        return Err(Usage(why.into()).into());
    }
    // Events are told beside the verdict.
    allowance::guard(&args.files, false);
    let asked = args.only.asked(&args.iface, &args.causes);
    let files = args.files.iter();
    let given = files.map(|file| Given::open(file, &asked));
    let mut players = Vec::new();
    for given in given {
        match given? {
            Given::Recording(player) => players.push(*player),
            Given::Verdict(_) if args.files.len() > 1 => {
                let why = "a verdict cannot be joined with anything: name it alone, or the \
                           recordings of all nodes";
                return Err(Usage(why.into()).into());
            }
            Given::Verdict(_) if args.selects(&asked) => {
                let why = "a verdict is told as a whole: options that select are for recordings";
                return Err(Usage(why.into()).into());
            }
            Given::Verdict(verdict) => {
                let file = args.files[0].display().to_string();
                return write(&mut sink, args, &of_verdict(&verdict, &file));
            }
        }
    }
    of_recordings(&mut sink, args, players)
}

fn of_verdict<'a>(verdict: &'a Verdict, file: &'a str) -> Page<'a> {
    Page {
        verdict,
        ways: &[],
        timelines: &[],
        source: Source::Verdict(file),
    }
}

fn of_recordings(
    sink: &mut output::Sink,
    args: &ReportArgs,
    mut players: Vec<Player>,
) -> Result<i32> {
    let mut nodes: Vec<String> = players.iter().map(|it| it.node().to_owned()).collect();
    players.retain(|player| player.is_of(&args.node));
    if players.is_empty() {
        nodes.sort();
        nodes.dedup();
        let why = format!(
            "no recording is of a node called {}: these are of {}",
            args.node.join(" or "),
            nodes.join(", ")
        );
        return Err(Usage(why).into());
    }
    let files = replay::files_of(&mut players);
    let told: Vec<Told> = side_by_side(players, timelines::played)?;
    let (recorded, lines): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    let Some((verdict, ways)) = replay::verdict(recorded, files.clone()) else {
        bail!("there is nothing in these recordings");
    };
    let timelines: Vec<Timeline> = timelines::of(&verdict, lines);
    let page = Page {
        verdict: &verdict,
        ways: &ways,
        timelines: &timelines,
        source: Source::Recordings(&files),
    };
    write(sink, args, &page)
}

fn write(sink: &mut output::Sink, args: &ReportArgs, page: &Page<'_>) -> Result<i32> {
    let text = match args.output {
        Form::Html => report::html(page),
        Form::Markdown => report::markdown(page),
    };
    sink.write(&text)?;
    Ok(exit::OK)
}

//! `netdiag lab`: the incidents in network namespaces on this machine.
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Usage;
use crate::lab::Skipped;
use crate::lab::case::Case;
use crate::lab::runner::{self, Settings};
use crate::lab::scenarios::{ALL, Scenario};
use crate::lab::state::Options;
use crate::model::verdict::Verdict;

pub mod args;
mod bench;
mod commands;
mod from;
mod junit;
mod matrix;
mod pairs;
mod report;
mod standing;

pub use args::{Format, LabArgs};
use args::{LabCommand, RunArgs};

const FAILED: i32 = 1;
const SKIPPED: i32 = 3;

/// What became of one run.
pub enum Outcome {
    Verdict(Box<Verdict>),
    Skipped(String),
    Failed(anyhow::Error),
}

/// Runs `netdiag lab …` and returns the exit code. Makes a tokio runtime of its own, so it must
/// not be called from inside one.
pub fn run(args: LabArgs) -> Result<i32> {
    if let LabCommand::Sidecar(orders) = args.command {
        return orders.follow().map(|()| 0);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    #[cfg(feature = "cri")]
    if let LabCommand::Kubelet(orders) = args.command {
        return runtime.block_on(orders.follow()).map(|()| 0);
    }
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        // Whichever comes first: the work that is not finished is dropped, and takes its lab down.
        tokio::select! {
            code = dispatch(args.command) => code,
            _ = interrupt.recv() => Ok(130),
            _ = terminate.recv() => Ok(143),
        }
    })
}

async fn dispatch(command: LabCommand) -> Result<i32> {
    match command {
        LabCommand::List { output } => report::list(ALL, output).map(|()| 0),
        LabCommand::Pairs { seed } => pairs::list(seed).map(|()| 0),
        LabCommand::Run(args) => run_all(args).await,
        LabCommand::Up(args) => standing::up(&args).await,
        LabCommand::From(args) => from::run(&args),
        LabCommand::Down { lab } => standing::down(lab.as_deref()),
        LabCommand::Keep { lab } => standing::keep(&lab).await,
        LabCommand::Bench(args) => bench::run(&args).await,
        LabCommand::Traffic(args) => standing::traffic(&args).await,
        LabCommand::Sidecar(orders) => orders.follow().map(|()| 0),
        #[cfg(feature = "cri")]
        LabCommand::Kubelet(orders) => orders.follow().await.map(|()| 0),
    }
}

async fn run_all(args: RunArgs) -> Result<i32> {
    let chosen: Vec<&Scenario> = match &args.name {
        Some(name) => ALL.iter().filter(|it| it.name == name).collect(),
        None => ALL.iter().collect(),
    };
    if let ([one], [_, ..]) = (chosen.as_slice(), args.exec.as_slice()) {
        let options = args.variant.options(one.name, 0);
        let done = runner::exec(case(&options)?, options, &args.exec).await;
        return match outcome(done) {
            Err(why) => report::skipped(&why).map(|()| SKIPPED),
            Ok(code) => code,
        };
    }
    let settings = Settings {
        duration: args.duration,
        late: args.late,
        confirm: false,
        fix: args.fix || args.every_form,
        record: args.record.clone(),
        record_all: args.record_all.clone(),
    };
    let mut runs = Vec::new();
    for scenario in &chosen {
        for options in args.runs(scenario) {
            let case = case(&options)?;
            if !args.takes(&case, &options) {
                continue;
            }
            let healthy = args.record_healthy.as_deref().filter(|_| options.healthy);
            let healthy = healthy.map(|folder| healthy_in(folder, &options));
            let settings = Settings {
                confirm: args.confirms(&case, &options),
                record: healthy.transpose()?.or_else(|| settings.record.clone()),
                ..settings.clone()
            };
            runs.push((case, options, settings));
        }
    }
    let outcomes = report::Outcomes::new(args.output, runs.len() > 1);
    execute(runs, args.jobs.max(1), outcomes, args.all).await
}

/// Where a run without a fault is kept.
fn healthy_in(folder: &Path, options: &Options) -> Result<PathBuf> {
    let family = match options.ipv6 {
        true => "ipv6",
        false => "ipv4",
    };
    let made = fs::create_dir_all(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join(format!("{}.{family}.ndr", options.scenario)))
}

async fn execute(
    runs: Vec<(Case, Options, Settings)>,
    jobs: usize,
    mut outcomes: report::Outcomes,
    all: bool,
) -> Result<i32> {
    use futures_util::StreamExt;
    // All on this task, so that the thread that starts the children lives as long as they do.
    let running = runs
        .into_iter()
        .map(|(case, options, settings)| async move {
            let done = runner::run(case, options.clone(), &settings).await;
            let outcome = match outcome(done) {
                Ok(Ok(verdict)) => Outcome::Verdict(Box::new(verdict)),
                Ok(Err(error)) => Outcome::Failed(error),
                Err(why) => Outcome::Skipped(why),
            };
            (case, options, outcome)
        });
    let mut running = futures_util::stream::iter(running).buffered(jobs);
    let (mut failed, mut skipped) = (false, false);
    while let Some((case, options, outcome)) = running.next().await {
        match &outcome {
            Outcome::Verdict(verdict) => {
                failed |= verdict.lab.as_ref().is_none_or(|lab| !lab.passed);
            }
            Outcome::Skipped(_) => skipped = true,
            Outcome::Failed(_) => failed = true,
        }
        outcomes.add(case, &options, outcome)?;
    }
    outcomes.finish()?;
    Ok(match (failed, skipped && !all) {
        (true, _) => FAILED,
        (false, true) => SKIPPED,
        (false, false) => 0,
    })
}

/// What a lab with these options is made for; a name that is none, and two scenarios that cannot
/// be together, are wrong usage.
fn case(options: &Options) -> Result<Case> {
    Case::of(options).map_err(|why| Usage(why).into())
}

/// Takes the skipped apart from the failed.
fn outcome<T>(done: Result<T>) -> std::result::Result<Result<T>, String> {
    match done {
        Err(error) => match error.downcast::<Skipped>() {
            Ok(skipped) => Err(skipped.0),
            Err(error) => Ok(Err(error)),
        },
        done => Ok(done),
    }
}

/// Prints a line; a reader that has gone away is no error.
fn line(text: &str) -> Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the output")
        }
        _ => Ok(()),
    }
}

//! The computed way: before anything is watched, or instead of that.
use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;

use super::{
    super::{still, whatif},
    PathArgs, Usage, exit,
};
use crate::{
    diagnosis::{
        path,
        predicted::{self, Sent},
    },
    model::{
        gather::{Answer, Want},
        path::{End, Path},
        predicted::{Forecast, Predicted, Protocol},
    },
    output,
    pipeline::facts::Facts,
};

#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct Computed {
    /// Compute the way from this node's state, and end there: nothing is watched, nothing is sent, and no
    /// program is put into the kernel.
    #[arg(long)]
    pub predict: bool,
    /// Of what is computed [default: tcp where DST has a port, udp where a Service has that for UDP alone,
    /// else icmp].
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub proto: Option<Protocol>,
    /// Bytes of the packets that are computed, from the IP header on [default: 60].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(28..=65_535))]
    pub size: Option<u32>,
    /// The mark that SRC's socket puts on them: 0x4000.
    #[arg(long, value_name = "MARK", value_parser = mark)]
    pub mark: Option<u32>,
    /// Carry this out on what was read first, as `netdiag whatif` does; again for more. Nothing is run.
    #[arg(long, value_name = "COMMAND", requires = "predict")]
    pub change: Vec<String>,
}

fn mark(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a mark is a number of 32 bits: 16384, 0x4000".into())
}

impl Computed {
    /// As they can be asked; the error is a sentence.
    pub fn checked(&self, ends: (End, End)) -> Result<(End, End), String> {
        let ports = matches!(self.proto, Some(Protocol::Tcp | Protocol::Udp));
        match ports && ends.1.port.is_none() {
            true => Err("TCP and UDP go to a port: give it as DST:PORT beside --proto".into()),
            false => Ok(ends),
        }
    }

    /// As they are asked, with the changes carried out.
    pub fn predicted(&self, facts: &Facts<'_>, ends: &(End, End)) -> Result<Vec<Predicted>> {
        let changes = self.change.iter().map(whatif::split);
        let changes = changes.collect::<Result<Vec<_>>>()?;
        match changes.is_empty() {
            true => Ok(predicted::predicted(facts, ends, &self.sent())),
            false => {
                predicted::after(facts, ends, &self.sent(), &changes).map_err(whatif::not_done)
            }
        }
    }

    pub fn sent(&self) -> Sent {
        Sent {
            protocol: self.proto,
            bytes: self.size,
            mark: self.mark.unwrap_or(0),
        }
    }
}

/// From what is read of the node, once.
pub async fn run(args: &PathArgs) -> Result<i32> {
    let mut sink = output::Sink::open(args.output_file.as_deref())?;
    let mut still = still::Still::read(&args.scope.place).await?;
    still.settle(BTreeSet::from([Want::Services])).await;
    let seen = still::nothing_seen();
    loop {
        let rows = still.scene.rows(&seen);
        let facts = still.scene.facts(&rows);
        let ends = args.ends(&facts).map_err(Usage)?;
        let wants = predicted::wants(&facts, &ends, &args.computed.sent());
        if !still.settle(wants).await {
            break;
        }
    }
    let rows = still.scene.rows(&seen);
    let facts = still.scene.facts(&rows);
    let ends = args.ends(&facts).map_err(Usage)?;
    let predicted = args.computed.predicted(&facts, &ends)?;
    let path = Path {
        predicted,
        not_checked: still.not_checked(),
        ..path::path(&facts, ends, &still.scene.run, &[])
    };
    output::unwatched(&mut sink, &path, args.output)?;
    Ok(code(&path.predicted))
}

/// Whether all that it needs was found out, or cannot be.
pub fn is_ready(facts: &Facts<'_>, ends: &(End, End), sent: &Sent) -> bool {
    let answered = |want: &Want| {
        let answer = facts.gathered.answer(want);
        !matches!(answer, Answer::Unasked | Answer::Outstanding)
    };
    let services = answered(&Want::Services);
    services && predicted::wants(facts, ends, sent).iter().all(answered)
}

/// Of the worst.
pub fn code<'p>(all: impl IntoIterator<Item = &'p Predicted>) -> i32 {
    match all.into_iter().map(|one| one.outcome).max() {
        Some(Forecast::Arrives | Forecast::Leaves) => exit::OK,
        Some(Forecast::Refused) => exit::FINDINGS,
        Some(Forecast::Unknown) | None => exit::INCOMPLETE,
    }
}

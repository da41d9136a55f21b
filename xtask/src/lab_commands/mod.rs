//! What netdiag prints to be typed, typed: in every incident of the lab, over both families, each
//! command of its verdict, and how many of each kind.
mod counts;
mod ran;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    build,
    jobs::side_by_side,
    setup::Way,
    sh::{is_root, say, tell},
    test::{scenarios, tally::Tally},
};
use counts::Counts;
use ran::{Done, Ran};

#[derive(Args)]
pub struct Options {
    /// Scenarios [default: all]
    names: Vec<String>,
    /// Seeds, such as 1,2
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2")]
    seed: Vec<u64>,
    /// What the pods talk [default: both]
    #[arg(long)]
    family: Vec<Family>,
    /// Run so many labs at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Use this netdiag and build none
    #[arg(long, value_name = "FILE")]
    netdiag: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

/// One lab that is run.
#[derive(Clone, Debug)]
struct Lab {
    scenario: String,
    family: Family,
    seed: u64,
}

pub fn command(via: Option<Way>, options: &Options) -> Result<ExitCode> {
    if !is_root() {
        bail!("labs need root: run this as root");
    }
    let netdiag = build::given_or_dev(via, options.netdiag.as_deref())?;
    let names = scenarios::chosen(&netdiag, &options.names)?;
    let families = match options.family.as_slice() {
        [] => &[Family::Ipv4, Family::Ipv6],
        some => some,
    };
    let mut tally = Tally::default();
    let mut sums = Vec::new();
    for &family in families {
        for &seed in &options.seed {
            let labs = names.iter().cloned().map(|scenario| Lab {
                scenario,
                family,
                seed,
            });
            let sum = all(
                &netdiag,
                &labs.collect::<Vec<_>>(),
                options.jobs,
                &mut tally,
            );
            sums.push((family, seed, sum));
        }
    }
    say("sums");
    tell(&row("", "", "", "", &Counts::HEADER));
    for (family, seed, sum) in sums {
        let title = format!("{} scenarios", sum.runs);
        tell(&row(
            "",
            &title,
            family.name(),
            &seed.to_string(),
            &sum.cells(),
        ));
    }
    Ok(tally.close())
}

/// Runs each, some side by side, with a row of the table as soon as it is done; what they come to.
fn all(netdiag: &Path, labs: &[Lab], jobs: usize, tally: &mut Tally) -> Counts {
    say("commands: each that a verdict prints, by netdiag lab run --confirm --fix");
    tell(&row("", "SCENARIO", "FAMILY", "SEED", &Counts::HEADER));
    let mut sum = Counts::default();
    let run = |lab: &Lab| ran::run(netdiag, lab);
    side_by_side(labs, jobs, run, |lab, ran| {
        let ran = ran.unwrap_or_else(|error| Ran::Failed(format!("{error:#}")));
        count(lab, &ran, &mut sum, tally);
    });
    sum
}

fn count(lab: &Lab, ran: &Ran, sum: &mut Counts, tally: &mut Tally) {
    let (family, seed) = (lab.family.name(), lab.seed.to_string());
    let title = format!("commands {} ({family}, seed {seed})", lab.scenario);
    let show = |result: &str, cells: &[String]| {
        tell(&row(result, &lab.scenario, family, &seed, cells));
    };
    match ran {
        Ran::Skipped(why) => {
            show("skipped", std::slice::from_ref(why));
            tally.add(0, Vec::new(), vec![format!("{title}: {why}")]);
        }
        Ran::Failed(why) => {
            show("FAILED", std::slice::from_ref(why));
            tally.add(0, vec![format!("{title}: {why}")], Vec::new());
        }
        Ran::Done(Done {
            passed,
            counts,
            useless,
            skipped,
        }) => {
            sum.add(counts);
            show(if *passed { "passed" } else { "FAILED" }, &counts.cells());
            for why in useless.iter().chain(skipped) {
                tell(&format!("         {why}"));
            }
            let skipped = skipped.iter().map(|why| format!("{title}: {why}"));
            let failed = match (passed, useless.as_slice()) {
                (true, _) => Vec::new(),
                (false, []) => vec![format!("{title}: not named, or not fixed")],
                (false, all) => vec![format!("{title}: {}", all.join("; "))],
            };
            tally.add(usize::from(*passed), failed, skipped.collect());
        }
    }
}

fn row(
    result: &str,
    scenario: &str,
    family: &str,
    seed: &str,
    cells: &[impl AsRef<str>],
) -> String {
    let cells: Vec<_> = cells
        .iter()
        .map(|it| format!("{:>9}", it.as_ref()))
        .collect();
    let cells = cells.join(" ");
    format!("{result:8} {scenario:32} {family:6} {seed:>4} {cells}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(commands: serde_json::Value, passed: bool) -> Ran {
        let verdict = serde_json::json!({ "lab": { "passed": passed, "commands": commands } });
        Ran::Done(ran::read(&verdict))
    }

    #[test]
    fn each_command_counts_by_its_kind_or_as_skipped() {
        let lab = Lab {
            scenario: "a".to_owned(),
            family: Family::Ipv6,
            seed: 2,
        };
        let (mut tally, mut sum) = (Tally::default(), Counts::default());
        let all = serde_json::json!([
            { "kind": "show", "command": "ip route" },
            { "kind": "show", "command": "crictl pods", "skipped": "no crictl" },
            { "kind": "watch", "command": "tcpdump" },
            { "kind": "watch", "command": "tcpdump -v" },
            { "kind": "elsewhere", "command": "kubectl" },
            { "kind": "change", "command": "ip link" },
        ]);
        count(&lab, &done(all, true), &mut sum, &mut tally);
        assert_eq!(sum.cells(), ["1", "2", "1", "1", "1"]);
        let useless = serde_json::json!([
            { "kind": "show", "command": "ip route", "failure": "prints nothing" },
        ]);
        count(&lab, &done(useless, false), &mut sum, &mut tally);
        assert_eq!(sum.cells(), ["2", "2", "1", "1", "1"]);
        count(
            &lab,
            &done(serde_json::json!([]), false),
            &mut sum,
            &mut tally,
        );
        count(
            &lab,
            &Ran::Skipped("needs ipip".to_owned()),
            &mut sum,
            &mut tally,
        );
        count(
            &lab,
            &Ran::Failed("no JSON".to_owned()),
            &mut sum,
            &mut tally,
        );
        assert_eq!(sum.runs, 3);
        assert_eq!(tally.counts(), "1 passed, 3 failed, 2 skipped");
    }
}

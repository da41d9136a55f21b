//! Two incidents at a time in one node: each must be named as if it were alone, and no third one.
mod choice;
mod run;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    build,
    jobs::side_by_side,
    setup::Way,
    sh::{is_root, say, tell},
    test::tally::Tally,
    verdict::words,
};
use run::Ran;

#[derive(Args)]
pub struct Options {
    /// Pairs, such as no-route+etcd-nospace [default: chosen so that all scenarios come up]
    pairs: Vec<Pair>,
    /// Seeds, such as 1,2
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1")]
    seed: Vec<u64>,
    /// Choose so many pairs
    #[arg(long = "pairs", value_name = "N", default_value_t = 60)]
    count: usize,
    /// Run so many labs at a time
    #[arg(long, value_name = "N", default_value_t = JOBS)]
    jobs: usize,
    /// Use this netdiag and build none
    #[arg(long, value_name = "FILE")]
    netdiag: Option<PathBuf>,
}

/// Each lab has the traffic and the programs of two scenarios.
const JOBS: usize = 3;

/// Two scenarios by name, in the order in which `netdiag lab list` has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    first: String,
    second: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let halves = text.split_once('+');
        let (first, second) = halves.ok_or("give two scenarios as A+B")?;
        Ok(Self {
            first: first.to_owned(),
            second: second.to_owned(),
        })
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.first, self.second)
    }
}

/// One lab that is run.
#[derive(Clone, Debug)]
struct Lab {
    pair: Pair,
    seed: u64,
}

/// What a test run looks at, with [`SEED`]: pairs of what goes wrong in different parts of a node,
/// one of them a fault that hides the other. No row depends on two packets at the same moment.
const IN_CI: [(&str, &str); 8] = [
    ("etcd-nospace", "kube-proxy-missing"),
    ("no-route", "sidecar-blocked"),
    ("dns-unreachable", "masquerade-missing"),
    ("firewall-drop", "ipam-exhausted"),
    ("not-listening", "cni-daemon-oom"),
    ("pmtu-black-hole", "service-stale-endpoint"),
    ("rp-filter-drop", "port-exhaustion"),
    ("vxlan-mtu-too-large", "tc-drop"),
];
/// How many of them side by side.
const IN_CI_JOBS: usize = 4;
pub const SEED: u64 = 1;

pub fn command(via: Option<Way>, options: &Options) -> Result<ExitCode> {
    if !is_root() {
        bail!("labs need root: run this as root");
    }
    let netdiag = build::given_or_dev(via, options.netdiag.as_deref())?;
    let mut labs = Vec::new();
    for &seed in &options.seed {
        let pairs = match options.pairs.as_slice() {
            [] => choice::choose(&run::known(&netdiag, seed)?, options.count),
            some => some.to_vec(),
        };
        if options.pairs.is_empty() && pairs.len() < options.count {
            bail!("only {} pairs can be had with seed {seed}", pairs.len());
        }
        labs.extend(pairs.into_iter().map(|pair| Lab { pair, seed }));
    }
    let mut tally = Tally::default();
    all(&netdiag, &labs, options.jobs, &mut tally);
    Ok(tally.close())
}

/// The few of a test run.
pub fn in_ci(netdiag: &Path, tally: &mut Tally) {
    let lab = |&(first, second): &(&str, &str)| Lab {
        pair: Pair {
            first: first.to_owned(),
            second: second.to_owned(),
        },
        seed: SEED,
    };
    let labs: Vec<_> = IN_CI.iter().map(lab).collect();
    all(netdiag, &labs, IN_CI_JOBS, tally);
}

/// Runs each, some side by side, with a row of the table as soon as it is done.
fn all(netdiag: &Path, labs: &[Lab], jobs: usize, tally: &mut Tally) {
    say("pairs: two scenarios in one lab, by netdiag lab run A --with B");
    tell(&row("", "PAIR", "SEED", "NAMED"));
    let run = |lab: &Lab| run::run(netdiag, &lab.pair, lab.seed);
    side_by_side(labs, jobs, run, |lab, ran| {
        let ran = ran.unwrap_or_else(|error| Ran::Failed(format!("{error:#}")));
        count(lab, &ran, tally);
    });
}

fn count(lab: &Lab, ran: &Ran, tally: &mut Tally) {
    let (pair, seed) = (lab.pair.to_string(), lab.seed.to_string());
    let title = format!("pair {pair} (seed {seed})");
    let show = |result: &str, text: &str| tell(&row(result, &pair, &seed, text));
    match ran {
        Ran::Skipped(why) => {
            show("skipped", why);
            tally.add(0, Vec::new(), vec![format!("{title}: {why}")]);
        }
        Ran::Failed(why) => {
            show("FAILED", why);
            tally.add(0, vec![format!("{title}: {why}")], Vec::new());
        }
        Ran::Judged(judged) if judged.passed => {
            show("passed", &judged.text());
            tally.add(1, Vec::new(), Vec::new());
        }
        Ran::Judged(judged) => {
            let why = format!(
                "named {} (expected {})",
                judged.text(),
                words(&judged.expected)
            );
            show("FAILED", &why);
            tell(&judged.told);
            tally.add(0, vec![format!("{title}: {why}")], Vec::new());
        }
    }
}

fn row(result: &str, pair: &str, seed: &str, text: &str) -> String {
    format!("{result:8} {pair:52} {seed:>4}  {text}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{run::Judged, *};

    #[test]
    fn a_pair_is_two_names() {
        let pair: Result<Pair, _> = "a+b".parse();
        assert_eq!(pair.map(|it| it.to_string()).as_deref(), Ok("a+b"));
        assert!("a".parse::<Pair>().is_err());
    }

    #[test]
    fn ci_names_sixteen_scenarios() {
        let names: BTreeSet<_> = IN_CI.iter().flat_map(|(a, b)| [a, b]).collect();
        assert_eq!(names.len(), 2 * IN_CI.len());
    }

    #[test]
    fn netdiag_says_what_passed() {
        let lab = Lab {
            pair: Pair {
                first: "a".to_owned(),
                second: "b".to_owned(),
            },
            seed: 1,
        };
        let judged = |passed| {
            Ran::Judged(Judged {
                passed,
                ..Judged::default()
            })
        };
        let mut tally = Tally::default();
        for ran in [
            judged(true),
            judged(false),
            Ran::Failed("no verdict".to_owned()),
            Ran::Skipped("needs ipip".to_owned()),
        ] {
            count(&lab, &ran, &mut tally);
        }
        assert_eq!(tally.counts(), "1 passed, 2 failed, 1 skipped");
    }
}

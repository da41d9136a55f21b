//! What can be typed after `netdiag lab`.
use std::ffi::OsString;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};

use super::from::FromArgs;
use crate::lab::bench::Part;
use crate::lab::case::Case;
use crate::lab::scenarios::{ALL, Scenario};
use crate::lab::state::Options;

/// Real incidents in network namespaces on this machine; nothing outside them is touched.
#[derive(Args, Debug)]
pub struct LabArgs {
    #[command(subcommand)]
    pub(super) command: LabCommand,
}

#[derive(Subcommand, Debug)]
pub enum LabCommand {
    /// List the scenarios.
    List {
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Build a scenario, let netdiag diagnose it, and check that it names the right cause.
    Run(RunArgs),
    /// Build a scenario and leave it standing, its programs running, to be looked at by hand.
    Up(UpArgs),
    /// Stand a recorded node up in network namespaces, with stand-ins for what lay beyond it.
    From(FromArgs),
    /// Remove the labs that stand, and what killed ones left behind.
    Down {
        /// Id or scenario of the one to remove [default: all].
        lab: Option<String>,
    },
    /// Measure what netdiag costs, beside nothing, empty programs and other tools; one JSON line each.
    #[command(hide = true)]
    Bench(BenchArgs),
    /// Which two scenarios can be in one node, as JSON.
    #[command(hide = true)]
    Pairs {
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Ask a container runtime for pods, as kubelet does, until SIGTERM.
    #[cfg(feature = "cri")]
    #[command(hide = true)]
    Kubelet(crate::lab::kubelet::Orders),
    /// Stand in for a mesh's proxy in a pod.
    #[command(hide = true)]
    Sidecar(crate::lab::sidecar::Orders),
    /// Keep a standing lab's programs running until SIGTERM.
    #[command(hide = true)]
    Keep {
        /// Id of the lab.
        lab: String,
    },
    /// Make a standing lab's traffic until Ctrl-C, and let happen what belongs to it.
    Traffic(TrafficArgs),
}

#[derive(Args, Debug)]
pub struct RunArgs {
    /// Scenario to run; `netdiag lab list` shows them.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_parser = names(), hide_possible_values = true)]
    pub name: Option<String>,
    /// Run every scenario and print which named what.
    #[arg(long, conflicts_with = "with")]
    pub all: bool,
    /// Then run the commands that are printed beside the evidence, and see that each shows what the
    /// evidence says.
    #[arg(long)]
    pub confirm: bool,
    /// Then apply the fix that is printed, where it can be applied in the lab, and see the finding
    /// go away.
    #[arg(long)]
    pub fix: bool,
    /// Let the fault come while netdiag watches, and tell which change the finding names.
    #[arg(long, conflicts_with_all = ["exec", "every_form"])]
    pub late: bool,
    /// Run each with and without its fault, over IPv4 and IPv6; apply fixes.
    #[arg(long, conflicts_with_all = ["healthy", "ipv6"])]
    pub every_form: bool,
    #[command(flatten)]
    pub variant: Variant,
    /// Run so many times, each with the next seed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub repeat: u64,
    /// Run so many labs at a time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub jobs: usize,
    /// Seconds that netdiag watches at most [default: 12, 6 where nothing is to be found].
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Keep what netdiag saw in this file, for `netdiag replay`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "repeat", "exec"])]
    pub record: Option<std::path::PathBuf>,
    /// Let a netdiag in every node keep what it saw, as SCENARIO.NODE.ndr in this folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["all", "every_form", "repeat", "exec", "record"])]
    pub record_all: Option<std::path::PathBuf>,
    /// Keep what netdiag saw of those without a fault, as SCENARIO.FAMILY.ndr in this folder.
    #[arg(
        long,
        value_name = "DIR",
        requires = "every_form",
        conflicts_with = "repeat",
        hide = true
    )]
    pub record_healthy: Option<std::path::PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Run this command in the diagnosing node instead of netdiag, with the traffic going on.
    #[arg(long, num_args = 1.., allow_hyphen_values = true, value_name = "COMMAND", conflicts_with_all = ["all", "repeat"])]
    pub exec: Vec<OsString>,
    /// With --every-form, confirm in one form alone: IPv6 for these scenarios, IPv4 for the others.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires_all = ["confirm", "every_form"], hide = true)]
    pub confirm_ipv6: Option<Vec<String>>,
    /// And leave the other family out.
    #[arg(long, requires = "confirm_ipv6", hide = true)]
    pub one_family: bool,
}

#[derive(Args, Debug)]
pub struct UpArgs {
    /// Scenario to build; `netdiag lab list` shows them.
    #[arg(value_parser = names(), hide_possible_values = true)]
    pub name: String,
    #[command(flatten)]
    pub variant: Variant,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Shape,
}

#[derive(Args, Debug)]
pub struct TrafficArgs {
    /// Id or scenario of the lab; not needed when only one stands.
    pub lab: Option<String>,
    /// And what goes on in a busy healthy cluster: short connections, transfers, scans, pings.
    #[arg(long)]
    pub background: bool,
}

#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Rounds of loads beside nothing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// Seconds of each load in them.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub time: Option<Duration>,
    /// As much as is needed to tell small differences.
    #[arg(long, conflicts_with = "smoke")]
    pub long: bool,
    /// Every part once, for as short as it goes.
    #[arg(long)]
    pub smoke: bool,
    /// Only this part (repeatable).
    #[arg(long, value_name = "PART", value_parser = PossibleValuesParser::new(Part::ALL.map(Part::name)))]
    part: Vec<String>,
}

impl BenchArgs {
    /// Those that were named, or all, in their order.
    pub fn parts(&self) -> Vec<Part> {
        let named = |part: &Part| self.part.iter().any(|name| name == part.name());
        let all = Part::ALL.into_iter();
        all.filter(|part| self.part.is_empty() || named(part))
            .collect()
    }
}

#[derive(Args, Clone, Debug)]
pub struct Variant {
    /// The same topology and traffic without the fault.
    #[arg(long)]
    pub healthy: bool,
    /// The pods talk IPv6.
    #[arg(long)]
    pub ipv6: bool,
    /// A second scenario in the same nodes; refused where both take the same part of them.
    #[arg(long, value_name = "NAME", value_parser = names(), hide_possible_values = true)]
    pub with: Option<String>,
    /// Varies names, addresses, ports and MTUs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Segmentation offload of every device [default: on for odd seeds].
    #[arg(long, value_enum, value_name = "on|off")]
    pub offload: Option<Switch>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    On,
    Off,
}

/// How one lab is told of.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    #[default]
    Table,
    Json,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
    Ndjson,
    /// JUnit XML, for CI systems.
    Junit,
}

/// With the fault or without, IPv6 or not, each with another seed, and so with offload on and off.
const FORMS: [(bool, bool, u64); 4] = [
    (false, false, 0),
    (true, false, 1),
    (false, true, 1),
    (true, true, 0),
];

impl RunArgs {
    /// What a scenario is run with.
    pub fn runs(&self, scenario: &Scenario) -> Vec<Options> {
        let steps = 0..self.repeat;
        if !self.every_form {
            return steps
                .map(|n| self.variant.options(scenario.name, n))
                .collect();
        }
        let form = |step: u64, (healthy, ipv6, seed): (bool, bool, u64)| Options {
            healthy,
            ipv6,
            ..self.variant.options(scenario.name, step + seed)
        };
        let all = steps.flat_map(|step| FORMS.map(|f| form(step, f)));
        // What expects nothing is its own healthy twin.
        let twice = |o: &Options| o.healthy && scenario.expected.is_empty();
        all.filter(|o| !twice(o)).collect()
    }
}

impl RunArgs {
    /// Whether the printed commands are run in this form.
    pub fn confirms(&self, case: &Case, options: &Options) -> bool {
        self.confirm && self.is_chosen(case, options)
    }

    /// Whether this form is run at all.
    pub fn takes(&self, case: &Case, options: &Options) -> bool {
        !self.one_family || self.is_chosen(case, options)
    }

    /// By the family that was chosen for it, where one was.
    fn is_chosen(&self, case: &Case, options: &Options) -> bool {
        self.confirm_ipv6.as_ref().is_none_or(|names| {
            let ipv6 = case.no_ipv6().is_none() && names.contains(&options.scenario);
            ipv6 == options.ipv6
        })
    }
}

impl Variant {
    pub fn options(&self, scenario: &str, step: u64) -> Options {
        let seed = self.seed.wrapping_add(step);
        let offload = self
            .offload
            .map_or(seed % 2 == 1, |switch| switch == Switch::On);
        Options {
            scenario: scenario.to_owned(),
            seed,
            healthy: self.healthy,
            ipv6: self.ipv6,
            offload,
            with: self.with.clone(),
        }
    }
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(ALL.iter().map(|scenario| scenario.name))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>();
    let time = number
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number).ok());
    let time = time.filter(|time| !time.is_zero());
    time.ok_or_else(|| "give seconds, such as 12s".to_owned())
}

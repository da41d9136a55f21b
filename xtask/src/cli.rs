//! What can be typed after `cargo xtask`.
use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};

use crate::{
    bench,
    build::{self, Profile},
    by_hand, check, count, dist, fuzz, r#gen, lab_commands, oracle, pairs, programs, record, run,
    setup, test, vm, walked,
};

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "Set-up, build, run, test and VMs for netdiag"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install what the eBPF build needs
    Setup(Setup),
    /// Build the kernel side, then the user side, in release
    Build {
        #[command(flatten)]
        setup: Setup,
        /// Link the user side statically, for machines with other libraries
        #[arg(long = "static")]
        static_link: bool,
    },
    /// Build, then run `netdiag ARGS` (or the lab's first incident) here or in a VM
    Run {
        #[command(flatten)]
        setup: Setup,
        /// Optimize netdiag as it is shipped, to measure what it costs: takes minutes more
        #[arg(long)]
        release: bool,
        /// Boot this kernel line and run it there
        #[arg(long, value_name = "KERNEL", value_parser = kernels())]
        vm: Option<String>,
        /// netdiag's arguments
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Format, lints, unit, lab and VM tests; ends with the counts
    Test {
        #[command(flatten)]
        setup: Setup,
        /// Each scenario of the lab over IPv4 and IPv6, and not over the one that the commit chooses
        #[arg(long)]
        full: bool,
        /// Only the pages of `netdiag report` in Chromium, which is installed for that; their pictures
        /// are in target/ui
        #[arg(long, conflicts_with = "full")]
        ui: bool,
    },
    /// The fast static part of `test`
    Check,
    /// Write the tables of the pages that come from code, and the pictures of what netdiag shows
    Gen,
    /// Make the recordings that the replay tests read: those named, or those missing
    Record {
        #[command(flatten)]
        setup: Setup,
        /// Boot this kernel line and make them there
        #[arg(long, value_name = "KERNEL", value_parser = kernels())]
        vm: Option<String>,
        /// Scenarios
        names: Vec<String>,
    },
    /// Stand incidents up, make their traffic and diagnose by the lines that `lab up` prints; ends
    /// with 1 when anything else is named than they declare
    LabByHand {
        #[command(flatten)]
        setup: Setup,
        #[command(flatten)]
        options: by_hand::Options,
    },
    /// Run every command that verdicts print in the incidents of the lab: each must show what its
    /// evidence says, a fix must end its finding, and what is for elsewhere must name what is there
    LabCommands {
        #[command(flatten)]
        setup: Setup,
        #[command(flatten)]
        options: lab_commands::Options,
    },
    /// Run two scenarios at a time in one lab: both must be named, and nothing else; what one's
    /// fault hides of the other must stand below it or stay undecided
    LabPairs {
        #[command(flatten)]
        setup: Setup,
        #[command(flatten)]
        options: pairs::Options,
    },
    /// Build networks by chance, compute the way of packets through them, and hold it against what this
    /// kernel does with them; ends with 1 when they differ
    Oracle {
        #[command(flatten)]
        options: oracle::Options,
    },
    /// Stand incidents up and hold the computed ways of their packets against where they died, and those of
    /// others against where they passed; fails where they differ
    Walked {
        #[command(flatten)]
        setup: Setup,
        /// Those that this machine's kernel may not have, under this one, in a VM
        #[arg(long, value_name = "KERNEL", value_parser = vm::kernels::names())]
        vm: Vec<String>,
    },
    /// What each cause's rule costs to keep: its lines, its conditions, whom it is told from
    Count,
    /// Feed what reads strangers' bytes with libFuzzer's, each target so long
    Fuzz {
        #[command(flatten)]
        setup: Setup,
        /// One of them alone
        #[arg(value_parser = PossibleValuesParser::new(fuzz::TARGETS))]
        target: Option<String>,
        #[arg(long, default_value_t = 60, value_name = "N")]
        seconds: u64,
    },
    /// Measure what netdiag costs here, beside nothing and empty programs
    Bench {
        #[command(flatten)]
        setup: Setup,
        #[command(flatten)]
        options: bench::Options,
    },
    /// Load every program under each kernel and compare its figures with netdiag-ebpf/programs.tsv
    Programs {
        #[command(flatten)]
        setup: Setup,
        #[command(flatten)]
        options: programs::Options,
    },
    /// Make what is given away, in target/dist: a static binary, a tar, a Debian package, an image
    Dist {
        #[command(flatten)]
        setup: Setup,
        #[command(flatten)]
        options: dist::Options,
    },
    /// Run the lab's scenarios, or `netdiag ARGS`, under other kernels
    Vm {
        #[command(flatten)]
        setup: Setup,
        /// Debian's kernels of these lines
        #[arg(value_name = "KERNEL", required_unless_present = "kernel", value_parser = kernels())]
        lines: Vec<String>,
        /// Of this processor, which is emulated where it is not this machine's [default: this machine's]
        #[arg(long, value_name = "PROCESSOR", conflicts_with = "test")]
        arch: Option<vm::arch::Arch>,
        /// A netdiag of that processor, as `dist` makes it, and build none
        #[arg(long, value_name = "FILE", conflicts_with = "dev")]
        netdiag: Option<PathBuf>,
        /// A kernel image of your own
        #[arg(long, value_name = "FILE")]
        kernel: Option<PathBuf>,
        /// Where that kernel's modules are (a lib/modules/VERSION)
        #[arg(long, value_name = "DIR", requires = "kernel")]
        modules: Option<PathBuf>,
        /// Its CPUs, as QEMU takes them (`2,maxcpus=128`)
        #[arg(long, value_name = "CPUS")]
        smp: Option<String>,
        /// A file of black-box tests (tests/tests), run there instead of the lab's scenarios
        #[arg(long, value_name = "NAME")]
        test: Option<String>,
        /// Scenarios that are run in one boot instead of all ("no-route", "no-route --healthy")
        #[arg(long, value_name = "FORM,…", value_delimiter = ',', conflicts_with_all = ["test", "args"])]
        scenarios: Vec<String>,
        /// netdiag as it is built for development: ready sooner, and slower
        #[arg(long)]
        dev: bool,
        /// Arguments of netdiag, or of the tests, instead of the lab's scenarios
        #[arg(last = true)]
        args: Vec<String>,
    },
}

#[derive(Args)]
struct Setup {
    /// Force where the eBPF toolchain comes from
    #[arg(long, value_name = "WAY", env = "NETDIAG_SETUP_VIA")]
    via: Option<setup::Way>,
}

fn kernels() -> PossibleValuesParser {
    PossibleValuesParser::new(vm::kernels::names())
}

pub fn main() -> Result<ExitCode> {
    match Cli::parse().task {
        Task::Setup(it) => setup::command(it.via),
        Task::Build { setup, static_link } => build::command(setup.via, static_link),
        Task::Run {
            setup,
            release,
            vm: Some(line),
            args,
        } => vm::run(setup.via, Profile::of(release), &line, &args),
        Task::Run {
            setup,
            release,
            vm: None,
            args,
        } => run::command(setup.via, Profile::of(release), &args),
        Task::Test {
            setup, ui: true, ..
        } => test::ui::command(setup.via),
        Task::Test { setup, full, .. } => test::command(setup.via, full),
        Task::Check => check::command(),
        Task::Gen => r#gen::write().map(|()| ExitCode::SUCCESS),
        Task::Record { setup, vm, names } => record::command(setup.via, vm.as_deref(), &names),
        Task::LabByHand { setup, options } => by_hand::command(setup.via, &options),
        Task::LabCommands { setup, options } => lab_commands::command(setup.via, &options),
        Task::LabPairs { setup, options } => pairs::command(setup.via, &options),
        Task::Oracle { options } => oracle::command(&options),
        Task::Count => count::command().map(|()| ExitCode::SUCCESS),
        Task::Walked { setup, vm } => walked::command(setup.via, &vm),
        Task::Fuzz {
            setup,
            target,
            seconds,
        } => fuzz::command(setup.via, target.as_deref(), seconds),
        Task::Programs { setup, options } => programs::command(setup.via, &options),
        Task::Bench { setup, options } => bench::command(setup.via, &options),
        Task::Dist { setup, options } => dist::command(setup.via, &options),
        Task::Vm {
            setup,
            lines,
            arch,
            netdiag,
            kernel,
            modules,
            smp,
            test,
            scenarios,
            dev,
            args,
        } => {
            let asked = vm::Asked {
                arch: arch.unwrap_or_else(vm::arch::Arch::here),
                lines,
                netdiag,
                own: kernel.map(|image| vm::Own { image, modules }),
                smp,
                test,
                scenarios,
                args,
            };
            vm::command(setup.via, Profile::of(!dev), asked)
        }
    }
}

//! The computed way of packets, held against this kernel in networks made by chance.
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    build::Profile,
    paths,
    setup::apt,
    sh::{cargo, is_root, run, say},
    vm,
};

#[derive(clap::Args)]
pub struct Options {
    /// Networks
    #[arg(long, default_value_t = SAMPLE.worlds)]
    worlds: u64,
    /// Packets in all
    #[arg(long, default_value_t = SAMPLE.packets)]
    packets: u64,
    /// The same seed gives the same networks
    #[arg(long, default_value_t = SAMPLE.seed)]
    seed: u64,
    /// The first of the networks, of those that the seed gives
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Networks of two nodes, each known from a recording of its own
    #[arg(long)]
    nodes: bool,
    /// With that kind of links in every network, and of those that not all have no other
    #[arg(long, value_name = "LINKS", conflicts_with = "nodes")]
    with: Option<String>,
    /// With rules of nf_tables in every second network
    #[arg(long, conflicts_with = "nodes")]
    rules: bool,
    /// With rules of nf_tables in every network, those that this program wrote among them
    #[arg(long, value_name = "PROGRAM", conflicts_with = "nodes")]
    writer: Option<String>,
    /// Under another kernel, in a VM
    #[arg(long, value_name = "KERNEL", value_parser = vm::kernels::names())]
    vm: Vec<String>,
}

/// A sample that takes a minute, and shows every deliberate mistake.
pub const SAMPLE: Options = Options {
    worlds: 800,
    packets: 20_000,
    seed: 1,
    first: 0,
    nodes: false,
    with: None,
    rules: false,
    writer: None,
    vm: Vec::new(),
};

/// The same with rules of nf_tables.
const OF_RULES: Options = Options {
    worlds: 500,
    packets: 12_500,
    seed: 2,
    first: 0,
    nodes: false,
    with: None,
    rules: true,
    writer: None,
    vm: Vec::new(),
};

/// The same of two nodes.
const OF_NODES: Options = Options {
    worlds: 40,
    packets: 480,
    seed: 1,
    first: 0,
    nodes: true,
    with: None,
    rules: false,
    writer: None,
    vm: Vec::new(),
};

pub fn command(options: &Options) -> Result<ExitCode> {
    if apt::exists() {
        let why = "the oracle's networks are made by conntrack, ip, ipset, iptables-nft, ipvsadm, nft and wg";
        apt::install(
            &[
                "conntrack",
                "iproute2",
                "ipset",
                "iptables",
                "ipvsadm",
                "nftables",
                "wireguard-tools",
            ],
            why,
        )?;
    }
    if !options.vm.is_empty() {
        build()?;
        return vm::run_program(&options.vm, &path(Profile::Release), &args(options));
    }
    if !is_root() {
        bail!("the oracle makes network namespaces: run it as root");
    }
    let status = made(options)?.status().context("starting the oracle")?;
    Ok(match status.code() {
        Some(0) => ExitCode::SUCCESS,
        Some(1) => ExitCode::from(1),
        _ => ExitCode::from(3),
    })
}

/// It takes a minute or two; where others make links beside it, the kernel tells of each only once a second.
const LONGEST: &str = "600";
/// timeout(1)
const TOO_LONG: i32 = 124;

/// The samples, for a test that has built it in dev.
pub fn sample() -> Result<()> {
    [SAMPLE, OF_RULES, OF_NODES].iter().try_for_each(held)?;
    if !Path::new("/proc/net/xfrm_stat").exists() {
        say("networks with policies of IPsec are left out: this kernel has none");
        return Ok(());
    }
    held(&Options {
        worlds: 40,
        packets: 1_000,
        with: Some("ipsec".to_owned()),
        ..SAMPLE
    })
}

fn held(options: &Options) -> Result<()> {
    let mut command = Command::new("timeout");
    command
        .arg(LONGEST)
        .arg(path(Profile::Dev))
        .args(args(options));
    let status = command.status();
    let status = status.context("starting the oracle")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(TOO_LONG) => bail!("the oracle did not end within {LONGEST} s"),
        _ => bail!("the oracle ended with {status}, see above"),
    }
}

/// Builds it, and gives the command that runs it.
fn made(options: &Options) -> Result<Command> {
    build()?;
    let mut command = Command::new(path(Profile::Release));
    command.args(args(options));
    Ok(command)
}

pub fn build() -> Result<()> {
    run(cargo().args(["build", "--release", "-p", "netdiag-oracle"]))
}

pub fn path(profile: Profile) -> PathBuf {
    let folder = paths::target().join(profile.folder());
    folder.join("netdiag-oracle")
}

fn args(options: &Options) -> Vec<String> {
    let all = [
        ("--worlds", options.worlds),
        ("--packets", options.packets),
        ("--seed", options.seed),
        ("--first", options.first),
    ];
    let words = all.map(|(name, value)| [name.to_owned(), value.to_string()]);
    let mut words = words.concat();
    let named = [("--with", &options.with), ("--writer", &options.writer)];
    for (name, value) in named {
        let value = value.iter().flat_map(|it| [name.to_owned(), it.clone()]);
        words.extend(value);
    }
    if options.nodes {
        words.push("--nodes".to_owned());
    }
    // By chance another seed shows one of them nowhere.
    let sample = if options.rules { OF_RULES } else { SAMPLE };
    let whole = options.seed == sample.seed && options.worlds >= sample.worlds;
    let plain = options.with.is_none() && options.writer.is_none() && !options.nodes;
    if plain && whole {
        words.push("--every-mistake".to_owned());
    }
    if options.rules {
        words.push("--rules".to_owned());
    }
    words
}

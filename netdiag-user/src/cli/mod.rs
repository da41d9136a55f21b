//! The command line: one file a subcommand, and what they share.
mod account;
pub mod agent;
pub mod audit;
#[cfg(feature = "k8s")]
mod behind;
pub mod cleanup;
mod cluster;
pub mod diagnose;
pub mod doctor;
pub mod explain;
#[cfg(feature = "k8s")]
pub mod fleet;
mod gathering;
mod junit;
#[cfg(feature = "lab")]
pub mod lab;
pub mod language;
mod level;
#[cfg(feature = "k8s")]
pub mod manifests;
pub mod manual;
#[cfg(feature = "mcp")]
pub mod mcp;
mod names;
pub mod node_root;
pub mod options;
pub mod path;
pub mod power;
mod readings;
pub mod replay;
#[cfg(feature = "report")]
pub mod report;
pub mod run;
pub mod schema;
pub mod session;
mod still;
#[cfg(feature = "top")]
pub mod top;
pub mod watch;
pub mod whatif;

use clap::{Parser, Subcommand};

use self::options::Global;
pub use crate::sys::exit;

/// Traces lost packets on a Kubernetes node and names the cause.
///
#[cfg_attr(
    feature = "lab",
    doc = "Start with `netdiag diagnose` on a sick node; `netdiag lab run vxlan-mtu-too-large` \
    shows a real incident in network namespaces on any machine."
)]
#[cfg_attr(
    not(feature = "lab"),
    doc = "Start with `netdiag diagnose` on a sick node."
)]
#[derive(Parser, Debug)]
#[command(name = "netdiag", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 nothing found, 1 findings, 2 usage, 3 the environment does \
    not allow it, 4 not enough was seen, 130/143 ended by a signal before there was a result."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Trace live: what is dropped, retransmitted, oversize or wrongly encapsulated right now.
    Run(run::RunArgs),
    /// Watch for a while, audit the node, print the verdict: causes, evidence, pods, fixes.
    Diagnose(diagnose::DiagnoseArgs),
    /// The part of diagnose that needs no eBPF and no privilege: the node's configuration alone.
    Audit(audit::AuditArgs),
    /// One flow's way, counted at each hop: where it was last seen, what dropped it.
    Path(path::PathArgs),
    #[cfg(feature = "top")]
    /// Full screen: causes, pods, hops and drop reasons with their trends, now or in a recording.
    Top(Box<top::TopArgs>),
    /// The verdict or the events of recordings, on any machine.
    Replay(replay::ReplayArgs),
    #[cfg(feature = "report")]
    /// One page of an incident for its ticket, as HTML or Markdown.
    Report(report::ReportArgs),
    /// Watch this node all the time, and serve what is seen and named as metrics for Prometheus.
    Agent(agent::AgentArgs),
    #[cfg(feature = "k8s")]
    /// Ask several nodes at once, by the Kubernetes API or by ssh: one verdict of all of them.
    Cluster(fleet::ClusterArgs),
    #[cfg(feature = "k8s")]
    #[command(hide = true)]
    /// Wait, in a pod that `netdiag cluster` made.
    Linger(fleet::LingerArgs),
    #[cfg(feature = "lab")]
    /// The incidents in network namespaces on this machine.
    Lab(lab::LabArgs),
    /// The manual of a cause, or what a kernel drop reason means here.
    Explain(explain::ExplainArgs),
    /// What this kernel and these privileges allow, feature by feature.
    Doctor(doctor::DoctorArgs),
    #[cfg(feature = "mcp")]
    /// The same answers for programs that speak the Model Context Protocol over stdio.
    Mcp(mcp::McpArgs),
    #[cfg(feature = "k8s")]
    /// What to kubectl apply for the agent: DaemonSet, access to the API, monitors, alerts.
    Manifests(Box<manifests::ManifestsArgs>),
    /// The JSON Schema of an output for programs.
    Schema(schema::SchemaArgs),
    /// Remove whatever a killed netdiag has left attached.
    Cleanup,
    /// What a change would do to the conversations of this node, or of a recording: nothing is run.
    Whatif(Box<whatif::WhatifArgs>),
    /// Shell completions.
    Completions(manual::CompletionsArgs),
    /// The man page, or those of all commands.
    Man(manual::ManArgs),
}

impl Cli {
    /// What was typed; under the name of kubectl's plugin it is for several nodes.
    pub fn typed() -> Self {
        #[cfg(feature = "k8s")]
        if let Some(cli) = fleet::as_plugin() {
            return cli;
        }
        Self::parse()
    }
}

impl Command {
    /// It has the terminal to itself: a message in the middle of it would break the picture.
    #[cfg(feature = "top")]
    pub const fn is_screen(&self) -> bool {
        match self {
            Self::Top(_) => true,
            Self::Replay(args) => args.top,
            _ => false,
        }
    }

    /// Runs the command; the number is the exit code.
    pub async fn run(self, global: &Global) -> anyhow::Result<i32> {
        match self {
            Self::Run(args) => run::run(args, global).await,
            Self::Diagnose(args) => diagnose::run(args, global).await,
            Self::Audit(args) => audit::run(args).await,
            Self::Path(args) => path::run(args, global).await,
            #[cfg(feature = "top")]
            Self::Top(args) => top::run(*args, global).await,
            #[cfg(feature = "top")]
            Self::Replay(args) if args.top => top::replayed(&args, global).await,
            Self::Replay(args) => replay::run(&args),
            #[cfg(feature = "report")]
            Self::Report(args) => report::run(&args),
            Self::Agent(args) => agent::run(args, global).await,
            #[cfg(feature = "k8s")]
            Self::Cluster(args) => fleet::run(args, global).await,
            #[cfg(feature = "k8s")]
            Self::Linger(args) => fleet::linger(&args).await,
            #[cfg(feature = "lab")]
            Self::Lab(args) => lab::run(args),
            Self::Explain(args) => explain::run(&args),
            Self::Doctor(args) => doctor::run(&args).await,
            #[cfg(feature = "mcp")]
            Self::Mcp(args) => mcp::run(args).await,
            #[cfg(feature = "k8s")]
            Self::Manifests(args) => manifests::run(&args),
            Self::Schema(args) => schema::run(&args),
            Self::Whatif(args) => whatif::run(*args, global).await,
            Self::Cleanup => cleanup::run(),
            Self::Completions(args) => manual::completions(&args),
            Self::Man(args) => manual::man(&args),
        }
    }
}

/// An error in what was typed: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

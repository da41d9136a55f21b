//! `netdiag agent`: watches all the time, and serves what is seen and named as metrics.
//!
//! A run that goes on for weeks is judged as one that began a while ago: what is older than the view
//! is in none of the rules' readings, and the kernel's rows of it are taken out.
#[cfg(feature = "k8s")]
mod events;
#[cfg(not(feature = "k8s"))]
#[path = "agent/no_events.rs"]
mod events;
#[cfg(feature = "otlp")]
mod export;
#[cfg(not(feature = "otlp"))]
#[path = "agent/no_export.rs"]
mod export;
#[cfg(feature = "otlp")]
mod queries;
mod round;
mod settings;
pub mod snapshot;
mod watching;

use std::{io::Write, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{
    Usage, exit,
    options::{Causes, Global, RecordArgs, Scope},
    session::Session,
    watch::Signals,
};
use crate::{
    agent::serve::{self, Listener},
    model::text,
    output,
    sys::ready,
};
use settings::{Settings, bytes, past, rounds, series, withdrawal};
use snapshot::SnapshotArgs;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct AgentArgs {
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
    #[command(flatten)]
    pub scope: Scope,
    #[command(flatten)]
    pub causes: Causes,
    /// Serve /metrics, /healthz and /readyz at this address [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS", env = "NETDIAG_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Withdraw a finding when so long after its end, at most: 30s, 2m [default: 2m].
    #[arg(long, value_name = "TIME", value_parser = withdrawal, env = "NETDIAG_RESOLVE_AFTER")]
    pub resolve_after: Option<Duration>,
    /// Drop a packet of its own so often, to see whether drops are seen; 0 for never [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = rounds, env = "NETDIAG_CANARY")]
    pub canary: Option<Duration>,
    /// Serve so many series of each metric at most, and count the rest in workload other [default:
    /// 1000].
    #[arg(long, value_name = "NUMBER", value_parser = series, env = "NETDIAG_MAX_SERIES")]
    pub max_series: Option<usize>,
    /// Keep the last minutes in this folder, for `netdiag agent snapshot`.
    #[arg(long, value_name = "DIR", env = "NETDIAG_HISTORY")]
    pub history: Option<PathBuf>,
    /// Keep them so long: 5m, 1h [default: 15m].
    #[arg(long, value_name = "TIME", value_parser = past, env = "NETDIAG_HISTORY_FOR")]
    pub history_for: Option<Duration>,
    /// Take so much of the disk for them at most: 64M, 1G [default: 64M].
    #[arg(long, value_name = "SIZE", value_parser = bytes, env = "NETDIAG_HISTORY_SIZE")]
    pub history_size: Option<u64>,
    /// Send findings, drops, suspicious flows and the metrics to this OpenTelemetry collector, by gRPC:
    /// http://otel-collector:4317 [default: OTEL_EXPORTER_OTLP_ENDPOINT].
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL", value_parser = netdiag_otlp::Target::parse, env = "NETDIAG_OTLP")]
    pub otlp: Option<netdiag_otlp::Target>,
    /// Tell findings as Kubernetes Events on the pods of this node that suffer, else on the node.
    #[cfg(feature = "k8s")]
    #[arg(long, env = "NETDIAG_EVENTS", value_parser = clap::builder::BoolishValueParser::new())]
    pub events: bool,
    /// Take what neither an option nor the environment says from this file [default:
    /// /etc/netdiag/agent.toml where it is there].
    #[arg(long, value_name = "FILE", env = "NETDIAG_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the configuration that is in effect as such a file, and end.
    #[arg(long)]
    pub print_config: bool,
}

#[derive(Subcommand, Debug)]
pub enum AgentCommand {
    /// One recording of the last minutes that an agent keeps on this node's disk.
    Snapshot(SnapshotArgs),
    #[cfg(feature = "otlp")]
    /// SQL for ClickHouse, over what --otlp sent there: a table, views and saved queries.
    Queries(queries::QueriesArgs),
}

pub async fn run(mut args: AgentArgs, global: &Global) -> Result<i32> {
    match &args.command {
        Some(AgentCommand::Snapshot(args)) => return snapshot::run(args),
        #[cfg(feature = "otlp")]
        Some(AgentCommand::Queries(args)) => return queries::run(args),
        None => {}
    }
    let settings = Settings::of(&mut args)?;
    if args.print_config {
        output::line(settings.print(&args.scope).trim_end())?;
        return Ok(exit::OK);
    }
    let mut signals = Signals::catch()?;
    let listener = Listener::bind(settings.listen).await?;
    let taken = listener.is_taken();
    if taken {
        log::warn!(
            "another program listens on {}: no metrics and no health until it is free, which is tried \
             every 10 s (--listen chooses another)",
            settings.listen
        );
    }
    let history = settings.open_history();
    let page = settings.page();
    tokio::spawn(serve::serve(listener, page.clone()));
    let asked = args.scope.only.asked(&args.scope.iface, &args.causes);
    let keeping = args.scope.keeping(settings::LEVEL);
    let nothing = RecordArgs::default();
    let opening = Session::open(&args.scope, asked, &nothing, keeping, global);
    let mut session = tokio::select! {
        biased;
        _ = signals.wait() => return Ok(exit::OK),
        session = opening => session?,
    };
    ready::say();
    if !global.quiet {
        begun(&session, &settings, taken);
    }
    let watched = watching::watch(&mut session, &settings, history, &page, &mut signals).await;
    session.close().await;
    watched?;
    Ok(exit::OK)
}

/// Whoever looks at its log wants to know that it works, and where.
fn begun(session: &Session, settings: &Settings, taken: bool) {
    let hooks = text::counted(session.scene.run.hooks, "hook");
    let level = session.scene.run.level.map(|it| format!(" at level {it}"));
    let history = settings.history.as_ref();
    let history = history.map(|it| format!(", the last minutes in {}", it.display()));
    let page = match taken {
        true => format!("no metrics while {} is another program's", settings.listen),
        false => format!("metrics at http://{}/metrics", settings.listen),
    };
    let line = format!(
        "watching {hooks}{}, {page}{}",
        level.unwrap_or_default(),
        history.unwrap_or_default()
    );
    // A log that nobody takes is no reason to see nothing.
    let _ = writeln!(std::io::stderr(), "{}", text::lines(&line));
}

/// What is wrong in what was configured.
fn misconfigured(why: String) -> anyhow::Error {
    Usage(why).into()
}

//! `kubectl netdiag`, or `netdiag cluster`: several nodes by one command, joined into one verdict.
mod choice;
mod gather;
mod linger;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

pub use self::linger::{LingerArgs, run as linger};
use self::{
    choice::Where,
    gather::{Gathered, Plan},
};
use super::{
    Cli, Command,
    behind::{Started, is_typed, refused},
    exit,
    options::{Causes, Global, duration},
    path::name_within,
    replay::{self, ReplayArgs},
    watch::Signals,
};
use crate::{
    fleet::Came,
    model::{path::Wanted, verdict::NotChecked},
    output::{self, Format},
    sys::{
        capabilities::{self, FILES},
        output_file,
    },
};

/// By this name kubectl finds its plugins.
const PLUGIN: &str = "kubectl-netdiag";
const DIAGNOSE: Started = Started {
    command: "diagnose",
    called: "`netdiag diagnose`",
};
/// Its options that are said for the user, by their IDs.
const OURS: [(&str, &str); 5] = [
    ("duration", "--duration"),
    ("record", "--record"),
    ("output_file", "--output-file"),
    ("output", "--output"),
    ("node_name", "--node-name"),
];
/// An incident that somebody asks about is over since then at most.
const LAST_MINUTES: Duration = Duration::from_secs(5 * 60);

/// Asks several nodes at once and prints one verdict of all of them.
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-netdiag",
    bin_name = "kubectl netdiag",
    version,
    max_term_width = 100
)]
struct Plugin {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: ClusterCommand,
}

/// The command line of a plugin; nothing where netdiag was called by its own name.
pub fn as_plugin() -> Option<Cli> {
    let name = std::env::args_os().next()?;
    let name = PathBuf::from(name).file_name()?.to_owned();
    if name != PLUGIN {
        return None;
    }
    let Plugin { global, command } = Plugin::parse();
    let command = Command::Cluster(ClusterArgs { command });
    Some(Cli { global, command })
}

#[derive(Args, Debug)]
pub struct ClusterArgs {
    #[command(subcommand)]
    pub command: ClusterCommand,
}

impl ClusterArgs {
    /// Programs of the user's are run.
    pub fn by_ssh(&self) -> bool {
        let at = match &self.command {
            ClusterCommand::Diagnose(args) => &args.at,
            ClusterCommand::Path(args) => &args.at,
            ClusterCommand::Snapshot(args) => &args.at,
        };
        !at.ssh.is_empty()
    }

    pub fn output_file(&self) -> Option<&Path> {
        match &self.command {
            ClusterCommand::Diagnose(args) => args.kept.output_file.as_deref(),
            ClusterCommand::Path(args) => args.kept.output_file.as_deref(),
            ClusterCommand::Snapshot(_) => None,
        }
    }

    /// Where recordings are to be kept.
    pub fn folder(&self) -> Option<&Path> {
        match &self.command {
            ClusterCommand::Diagnose(args) => args.kept.record.as_deref(),
            ClusterCommand::Path(args) => args.kept.record.as_deref(),
            ClusterCommand::Snapshot(args) => Some(&args.folder),
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum ClusterCommand {
    /// One verdict of several nodes: what their agents kept of the last minutes, or what is seen from
    /// now on, in pods that are there for that long.
    Diagnose(DiagnoseArgs),
    /// One flow's way over all nodes that it passes.
    Path(PathArgs),
    /// Fetch the nodes' recordings, for `netdiag replay`.
    Snapshot(SnapshotArgs),
}

#[derive(Args, Debug)]
pub struct DiagnoseArgs {
    #[command(flatten)]
    pub at: Where,
    #[command(flatten)]
    pub when: When,
    #[command(flatten)]
    pub causes: Causes,
    #[command(flatten)]
    pub kept: Kept,
}

#[derive(Args, Debug)]
pub struct PathArgs {
    /// Where it begins: a pod, as [NAMESPACE/]NAME or with its kind as kubectl has it, or an address.
    #[arg(value_name = "SRC")]
    pub source: Wanted,
    /// Where it leads: a pod, a Service or an address, and its port.
    #[arg(value_name = "DST[:PORT]")]
    pub destination: Wanted,
    #[command(flatten)]
    pub at: Where,
    #[command(flatten)]
    pub when: When,
    #[command(flatten)]
    pub kept: Kept,
}

#[derive(Args, Debug)]
pub struct SnapshotArgs {
    /// Write them into this folder, each as NODE.ndr; it is made where it is not there.
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub at: Where,
    #[command(flatten)]
    pub when: When,
}

/// The last minutes, or the next seconds.
#[derive(Args, Debug, Clone)]
pub struct When {
    /// What agents kept since so long ago; a node without an agent has nothing [default: 5m, where
    /// all nodes have one].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    #[arg(conflicts_with_all = ["live", "duration", "more"])]
    pub since: Option<Duration>,
    /// Watch from now on, even where agents have kept the last minutes.
    #[arg(long)]
    pub live: bool,
    /// Watch from now on, for so long: 15s, 2m, 1h [default: 15s].
    #[arg(short, long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Watch from now on, with these words for `netdiag diagnose` on each node: -- --root /host.
    #[arg(last = true, value_name = "OPTION")]
    pub more: Vec<String>,
}

#[derive(Args, Debug, Clone)]
pub struct Kept {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Keep the recordings in this folder, each as NODE.ndr.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
}

pub async fn run(args: ClusterArgs, global: &Global) -> Result<i32> {
    match args.command {
        ClusterCommand::Diagnose(args) => diagnose(args, global).await,
        ClusterCommand::Path(args) => path(args, global).await,
        ClusterCommand::Snapshot(args) => snapshot(&args, global).await,
    }
}

async fn diagnose(args: DiagnoseArgs, global: &Global) -> Result<i32> {
    let mut asked = replayed(&args.kept);
    asked.causes = args.causes;
    judged(&args.at, &args.when, &args.kept, asked, global).await
}

async fn path(args: PathArgs, global: &Global) -> Result<i32> {
    let mut ends = [args.source, args.destination];
    let [source, destination] = &mut ends;
    name_within(
        &mut args.at.namespace.iter().cloned().collect(),
        [source, destination],
    );
    let mut asked = replayed(&args.kept);
    asked.path = Some(ends.to_vec());
    judged(&args.at, &args.when, &args.kept, asked, global).await
}

/// Fetches, and has the recordings replayed.
async fn judged(
    at: &Where,
    when: &When,
    kept: &Kept,
    mut asked: ReplayArgs,
    global: &Global,
) -> Result<i32> {
    check(&when.more)?;
    // A typo is told before a cluster is asked.
    let sink = output::Sink::open(kept.output_file.as_deref())?;
    let mut signals = Signals::catch()?;
    let own = tempfile::tempdir().context("a folder for the recordings")?;
    output_file::temporary(own.path());
    let folder = match &kept.record {
        Some(folder) => made(folder)?,
        None => own.path().to_owned(),
    };
    let plan = Plan {
        at,
        when,
        ends: asked.path.as_deref().unwrap_or_default(),
        folder,
        quiet: global.quiet,
    };
    let came = match gathered(&plan, &mut signals).await? {
        Gathered::Came(came) => came,
        Gathered::Signal(code) => return Ok(code),
    };
    asked.missing = came.iter().filter_map(not_checked).collect();
    // What hosts call themselves is theirs to say; of a cluster's nodes the API has said it.
    asked.named_by_files = at.ssh.is_empty();
    asked.files = came.into_iter().filter_map(|it| it.file).collect();
    tokio::select! {
        code = signals.wait() => Ok(code),
        code = replayed_apart(asked, sink) => code,
    }
}

/// On a thread of its own, which has no right but to read files: what hosts sent is hostile.
async fn replayed_apart(asked: ReplayArgs, mut sink: output::Sink) -> Result<i32> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let kept = capabilities::keep(FILES).context("giving away rights");
        let code = kept.and_then(|()| replay::several(&asked, &mut sink));
        // Nobody waits where a signal has ended it.
        let _ = tell.send(code);
    });
    told.await.unwrap_or_else(|_| bail!("the replay panicked"))
}

/// Words for the nodes that these would refuse, or that are not the user's to say.
fn check(more: &[String]) -> Result<()> {
    let given = DIAGNOSE.parse(more.iter().cloned())?;
    let ours = OURS.iter().find(|(id, _)| is_typed(&given, id));
    match ours {
        Some((_, ours)) => Err(refused(&format!("{ours} stands before the --, or nowhere"))),
        None => Ok(()),
    }
}

async fn snapshot(args: &SnapshotArgs, global: &Global) -> Result<i32> {
    check(&args.when.more)?;
    let mut signals = Signals::catch()?;
    let plan = Plan {
        at: &args.at,
        when: &args.when,
        ends: &[],
        folder: made(&args.folder)?,
        quiet: global.quiet,
    };
    let came = match gathered(&plan, &mut signals).await? {
        Gathered::Came(came) => came,
        Gathered::Signal(code) => return Ok(code),
    };
    for it in &came {
        let bytes = it.file.as_ref().and_then(|file| file.metadata().ok());
        match (&it.file, bytes) {
            (Some(file), Some(found)) => output::line(&format!(
                "{}: {} kB of {}",
                file.display(),
                found.len().div_ceil(1000),
                it.node
            ))?,
            _ => log::debug!("nothing came of {}", it.node),
        }
    }
    let missing = came.iter().filter_map(not_checked);
    let missing = missing.inspect(|it| log::warn!("{}: {}", it.what, it.why));
    match missing.count() {
        0 => Ok(exit::OK),
        _ => Ok(exit::INCOMPLETE),
    }
}

/// Fails where nothing came of any node.
async fn gathered(plan: &Plan<'_>, signals: &mut Signals) -> Result<Gathered> {
    let gathered = gather::gather(plan, signals).await?;
    if let Gathered::Came(came) = &gathered
        && came.iter().all(|it| it.file.is_none())
    {
        let each = came.iter().filter_map(not_checked);
        let each = each.map(|it| format!("{}: {}", it.what, it.why));
        bail!("no recording came; {}", each.collect::<Vec<_>>().join("; "));
    }
    Ok(gathered)
}

fn not_checked(came: &Came) -> Option<NotChecked> {
    let why = came.trouble.clone()?;
    let what = match came.file {
        Some(_) => format!("the rest of node {}", came.node),
        None => format!("node {}", came.node),
    };
    Some(NotChecked::new(what, why))
}

fn made(folder: &PathBuf) -> Result<PathBuf> {
    match std::fs::create_dir(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(e).with_context(|| format!("cannot make the folder {}", folder.display()))
        }
        _ if !folder.is_dir() => bail!("{} is no folder", folder.display()),
        _ => Ok(folder.clone()),
    }
}

fn replayed(kept: &Kept) -> ReplayArgs {
    ReplayArgs {
        output: kept.output,
        output_file: kept.output_file.clone(),
        ..ReplayArgs::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_known_however_it_is_spelt() {
        let refused = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            check(&words).err().map(|why| why.to_string())
        };
        for (line, name) in [
            ("-d5s", "--duration"),
            ("--duration=5s", "--duration"),
            ("-ojson", "--output"),
            ("--record x", "--record"),
            ("--output-file x", "--output-file"),
            ("--node-name x", "--node-name"),
        ] {
            let why = refused(line).unwrap_or_else(|| panic!("{line}"));
            assert!(why.starts_with(name), "{line}: {why}");
        }
        assert_eq!(refused("--root /nowhere-at-all"), None);
        let why = refused("--no-such-option").expect("refused");
        assert!(
            why.starts_with("behind the -- stands what `netdiag diagnose` takes"),
            "{why}"
        );
    }
}

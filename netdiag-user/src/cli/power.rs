//! What a command keeps of root's power: its own rights and no others, from before its first
//! thread starts. The lab alone keeps all of it, because it builds machines.
use std::{os::unix::fs::MetadataExt, path::Path};

use netdiag_lang::{mark, retold, t};

use super::{
    Command,
    agent::{AgentArgs, AgentCommand},
};
use crate::{
    kernel::support::Feature,
    model::text::listed,
    sys::{
        capabilities::{self, CHROOT, FILES, READING, REPLACING, Right, SWEEPING, TRACING},
        limits, output_file,
    },
};

/// Opens what the command is to write, wherever root may, and gives away the rest.
pub fn settle(command: &Command) {
    let Some(rights) = rights(command) else {
        return;
    };
    output_file::open_early(outputs(command));
    if rights == TRACING {
        // The right to do so is among those that go.
        limits::raise_locked_memory();
    }
    // The node's own programs are run in its root, where that is not ours.
    let elsewhere = is_elsewhere(command);
    let rights: Vec<Right> = match elsewhere {
        true => [rights, &[CHROOT]].concat(),
        false => rights.to_vec(),
    };
    if let Err(error) = capabilities::keep(&rights) {
        log::warn!("more rights stay than are needed: giving them away failed: {error}");
    }
}

fn is_elsewhere(command: &Command) -> bool {
    #[cfg(feature = "mcp")]
    if let Command::Mcp(args) = command {
        // Its calls get what it was given, and find the rest as it would.
        let named = |it: &std::ffi::OsString| it.to_string_lossy().starts_with("--root");
        return args.options.iter().any(named) || super::node_root::is_elsewhere();
    }
    root(command).is_some_and(|root| root != Path::new("/"))
}

/// Where the node's files are for what looks at them.
fn root(command: &Command) -> Option<&Path> {
    let place = match command {
        Command::Agent(args) => &args.scope.place,
        Command::Run(args) => &args.scope.place,
        Command::Diagnose(args) => &args.scope.place,
        Command::Path(args) => &args.scope.place,
        Command::Whatif(args) => &args.scope.place,
        #[cfg(feature = "top")]
        Command::Top(args) => &args.scope.place,
        Command::Audit(args) => &args.place,
        _ => return None,
    };
    Some(&place.root)
}

fn rights(command: &Command) -> Option<&'static [Right]> {
    Some(match command {
        #[cfg(feature = "lab")]
        Command::Lab(_) => return None,
        Command::Agent(args) => agents(args),
        Command::Run(_) | Command::Diagnose(_) | Command::Path(_) | Command::Doctor(_) => TRACING,
        #[cfg(feature = "top")]
        Command::Top(args) if args.input.is_some() => FILES,
        #[cfg(feature = "top")]
        Command::Top(_) => TRACING,
        // The user's own ssh, and what it runs on its way, are as the user has them.
        #[cfg(feature = "k8s")]
        Command::Cluster(args) if args.by_ssh() => return None,
        #[cfg(feature = "k8s")]
        Command::Cluster(args) if args.folder().is_some_and(is_others) => REPLACING,
        #[cfg(feature = "k8s")]
        Command::Cluster(_) => FILES,
        #[cfg(feature = "k8s")]
        Command::Linger(_) => &[],
        // Those of the calls that it starts.
        #[cfg(feature = "mcp")]
        Command::Mcp(_) => TRACING,
        Command::Audit(_) => READING,
        Command::Cleanup => SWEEPING,
        // What is put into its place at the end can be opened at no beginning.
        Command::Replay(args) if args.anonymise.as_deref().is_some_and(is_anothers) => REPLACING,
        Command::Replay(_) => FILES,
        Command::Whatif(args) if args.file.is_some() => FILES,
        Command::Whatif(_) => TRACING,
        #[cfg(feature = "report")]
        Command::Report(_) => FILES,
        #[cfg(feature = "k8s")]
        Command::Manifests(_) => &[],
        Command::Man(args) if args.into_anothers() => REPLACING,
        Command::Explain(_) | Command::Schema(_) | Command::Completions(_) | Command::Man(_) => &[],
    })
}

fn agents(args: &AgentArgs) -> &'static [Right] {
    match &args.command {
        Some(AgentCommand::Snapshot(args)) if is_anothers(&args.file) => REPLACING,
        Some(AgentCommand::Snapshot(_)) => FILES,
        #[cfg(feature = "otlp")]
        Some(AgentCommand::Queries(_)) => &[],
        None if args.print_config => FILES,
        None => TRACING,
    }
}

fn outputs(command: &Command) -> Vec<&Path> {
    let (file, keep) = match command {
        Command::Run(args) => (&args.output_file, Some(&args.keep)),
        Command::Diagnose(args) => (&args.output_file, Some(&args.keep)),
        Command::Path(args) => (&args.output_file, Some(&args.keep)),
        Command::Audit(args) => (&args.output_file, None),
        // What would empty a recording before it is read is refused later, in a sentence.
        Command::Replay(args) if args.would_overwrite() => return Vec::new(),
        Command::Replay(args) => return all([&args.output_file, &args.pcap]),
        #[cfg(feature = "report")]
        Command::Report(args) if args.would_overwrite() => return Vec::new(),
        #[cfg(feature = "report")]
        Command::Report(args) => return all([&args.output_file]),
        #[cfg(feature = "k8s")]
        Command::Cluster(args) => return args.output_file().into_iter().collect(),
        _ => return Vec::new(),
    };
    match keep {
        // The same.
        Some(keep) if keep.clash(file.as_deref()).is_some() => Vec::new(),
        Some(keep) => all([file, &keep.record, &keep.pcap]),
        None => all([file]),
    }
}

/// Whether only root's rights lead into the folder of that file.
pub fn is_anothers(path: &Path) -> bool {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    is_others(folder.unwrap_or(Path::new(".")))
}

fn is_others(folder: &Path) -> bool {
    // One that is to be made is made in another.
    let there = folder
        .ancestors()
        .find(|it| it.is_dir() || it.as_os_str().is_empty());
    let there = there.filter(|it| !it.as_os_str().is_empty());
    let found = there.unwrap_or(Path::new(".")).metadata();
    found.is_ok_and(|it| it.uid() != nix::unistd::geteuid().as_raw())
}

fn all<const N: usize>(files: [&Option<std::path::PathBuf>; N]) -> Vec<&Path> {
    files.into_iter().filter_map(|f| f.as_deref()).collect()
}

/// What doctor says of it: it holds what a trace does.
pub fn feature() -> Feature {
    let (held, missing) = capabilities::held(TRACING).unwrap_or((Vec::new(), TRACING.to_vec()));
    let told = |rights: &[Right]| {
        let each = rights
            .iter()
            .map(|it| t!("{} ({})", it.name, retold(it.why)));
        listed(&each.collect::<Vec<_>>())
    };
    let sealed = match capabilities::is_sealed() {
        true => t!("all others were given away, and programs that it runs gain none"),
        false => t!("and whatever else it was given"),
    };
    let detail = match (held.is_empty(), missing.is_empty()) {
        (_, true) => t!("holds {}; {sealed}", told(&held)),
        (true, _) => t!("holds none of {}", told(&missing)),
        _ => t!("holds {}; lacks {}", told(&held), told(&missing)),
    };
    let available = missing.is_empty();
    Feature {
        name: mark!("rights"),
        available,
        essential: false,
        detail,
        remedy: match available {
            true => String::new(),
            false => t!("run as root, or with these capabilities").into(),
        },
    }
}

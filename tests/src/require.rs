//! What a test needs from the machine. One that cannot have it says so and counts as skipped.
use std::{env, io::Write, path::PathBuf};

/// True where something is missing, after saying so on stderr in a line that begins with
/// `skipped: needs`. Every test that asks needs root besides.
pub fn missing(tools: &[&str]) -> bool {
    let root = nix::unistd::geteuid().is_root();
    let tool = tools.iter().find(|tool| find(tool).is_none());
    let what = match (root, tool) {
        (false, _) => "root",
        (true, Some(tool)) => tool,
        (true, None) => return false,
    };
    say(what);
    true
}

/// The line by which a skipped test is counted. Not through `eprintln!`, which the test harness
/// keeps to itself where a test passes.
pub fn say(what: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    // Nobody to tell is no reason to fail.
    let line = format!("{test}: needs {what}");
    let _ = writeln!(std::io::stderr(), "skipped: {line}");
    // The harness calls a test that returns early passed; whoever counts reads this file.
    if let Some(path) = env::var_os("NETDIAG_SKIPPED") {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        assert!(written.is_ok(), "cannot say that {line}: {written:?}");
    }
}

/// A program of the search path, or of the folders that root's has and others' may not.
pub fn find(tool: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(usual)
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

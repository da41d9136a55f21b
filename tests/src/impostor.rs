//! Processes that are not what they call themselves.
use std::process::Command;

use crate::{
    process::{PATIENCE, Process},
    shell_node::fixture,
};

/// nobody
pub const NOBODY: &str = "65534";

/// Runs a command and tells how much memory it took at most; exits as it does.
pub const MEASURED: &str = "
import os, sys
child = os.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
print('peak', usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
";

/// A program in a network namespace.
pub fn inside(netns: &str, program: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns]).args(program);
    command
}

/// Starts `fixtures/impostor.py` as nobody in that namespace. Its words stand as they are: what Python is told comes by
/// its standard input, which root opens.
pub fn impostor(netns: &str, options: &[&str], words: &[&str]) -> Process {
    let user = format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups");
    let become_it = r#"exec -a "$0" /usr/bin/python3 - "$@""#;
    let exec = format!("exec {user} bash -c '{become_it}' \"$@\" < \"$IMPOSTOR\"");
    let mut command = inside(netns, &["bash", "-c", &exec, "bash", words[0]]);
    command.args(options).args(words);
    command.env("IMPOSTOR", fixture("impostor.py"));
    Process::start(&mut command)
}

/// Waits until it says so.
pub fn ready(mut process: Process) -> Process {
    process.wait_for("ready", PATIENCE);
    process
}

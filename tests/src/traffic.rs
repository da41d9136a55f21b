//! Traffic of `fixtures/traffic.py` and `fixtures/names.py` in network namespaces.
use std::process::Command;

use crate::{
    process::{PATIENCE, Process, run},
    shell_node::fixture,
};

/// A server that answers with as many bytes as it is asked for; listens when this returns.
pub fn serve(netns: &str, address: &str, port: &str) -> Process {
    started(netns, "serving", &["traffic.py", "serve", address, port])
}

/// Sends datagrams back; listens when this returns.
pub fn echo(netns: &str, address: &str, port: &str) -> Process {
    started(netns, "serving", &["traffic.py", "echo", address, port])
}

/// A client, `pull` or `push`, which has begun when this returns.
pub fn client(netns: &str, verb: &str, address: &str, port: &str, bytes: &str) -> Process {
    started(netns, "trying", &["traffic.py", verb, address, port, bytes])
}

/// Whether a client, `pull` or `push`, gets its whole answer within some seconds.
pub fn arrives(netns: &str, verb: &str, address: &str, port: &str, bytes: &str) -> bool {
    let arguments = ["traffic.py", "once", address, port, bytes, verb];
    run(&mut python(netns, &arguments)).code == Some(0)
}

/// Datagrams, each after the answer to the last one or 0.3 s.
pub fn ask(netns: &str, address: &str, port: &str, count: &str) {
    let ended = run(&mut python(
        netns,
        &["traffic.py", "ask", address, port, count],
    ));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// A name server, for `cluster.local` alone or with the servers that it asks by turns for
/// everything else; listens when this returns.
pub fn name_server(netns: &str, address: &str, upstreams: &[&str]) -> Process {
    let arguments = ["names.py", "serve", address];
    started(netns, "serving", &[&arguments, upstreams].concat())
}

/// One socket of this port (0: a new one each time) that asks the server for the names by turns,
/// until it is stopped.
pub fn resolver(netns: &str, server: &str, port: &str, names: &[&str]) -> Process {
    let arguments = ["names.py", "ask", server, port];
    started(netns, "trying", &[&arguments, names].concat())
}

fn started(netns: &str, word: &str, arguments: &[&str]) -> Process {
    let mut process = Process::start(&mut python(netns, arguments));
    process.wait_for(word, PATIENCE);
    process
}

fn python(netns: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns, "python3"]);
    command.arg(fixture(arguments[0])).args(&arguments[1..]);
    command
}

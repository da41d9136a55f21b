//! `netdiag mcp`: its answers for programs that speak the Model Context Protocol over stdio.
//!
//! Each call is a netdiag of its own, as somebody at a shell would start it: with its own rights and
//! limits, and nothing that affects it affects the server. Nothing is changed on the node, and nothing
//! is sent.
mod answer;
mod bounds;
mod calls;
mod child;
mod forms;
mod recordings;
mod server;
mod tools;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Parser};
use rmcp::{ServiceExt, service::ServerInitializeError, transport::async_rw::AsyncRwTransport};

use self::{recordings::Recordings, server::Server};
use super::{Cli, Command, Usage, exit, options::NodeRootArgs, watch::Signals};

/// A longer message is dropped.
const LONGEST_MESSAGE: usize = 256 << 10;
/// Those that are at it when the server ends have so long to end, too.
const LAST: Duration = Duration::from_secs(15);

#[derive(Args, Debug)]
pub struct McpArgs {
    /// Let the tool replay read recordings in this folder, and nowhere else.
    #[arg(long, value_name = "DIR")]
    pub recordings: Option<PathBuf>,
    /// Options of diagnose, audit and path, for each call: -- --root /host --pods cri.
    #[arg(last = true, value_name = "OPTION")]
    pub options: Vec<OsString>,
}

pub async fn run(args: McpArgs) -> Result<i32> {
    let place = checked(&args.options)?;
    let recordings = args.recordings.as_deref().map(Recordings::open);
    let recordings = recordings.transpose()?;
    let mut signals = Signals::catch()?;
    let server = Server::new(args.options, &place, recordings);
    let (input, output) = rmcp::transport::stdio();
    let transport = AsyncRwTransport::new(input, output).with_max_line_length(LONGEST_MESSAGE);
    let ended = tokio::select! {
        code = signals.wait() => Ok(code),
        ended = serve(server.clone(), transport) => ended.map(|()| exit::OK),
    };
    server.end(LAST).await;
    ended
}

type Stdio = AsyncRwTransport<rmcp::RoleServer, tokio::io::Stdin, tokio::io::Stdout>;

/// Until there is no more input.
async fn serve(server: Server, transport: Stdio) -> Result<()> {
    let running = match server.serve(transport).await {
        Ok(running) => running,
        // Whoever goes away before a word has nothing to be told.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(e) => return Err(e).context("greeting the client"),
    };
    running.waiting().await.context("serving the client")?;
    Ok(())
}

/// What the options say of the place, if each command that gets them takes them, and none of them has
/// netdiag write a file.
fn checked(options: &[OsString]) -> Result<NodeRootArgs> {
    let parse = |words: &[&str]| {
        let words = words.iter().map(OsString::from);
        let parsed = Cli::try_parse_from(words.chain(options.iter().cloned()));
        parsed.map_err(|e| Usage(format!("behind --: {}", first(&e.to_string()))))
    };
    parse(&["netdiag", "path", "SRC", "DST"])?;
    let audit = parse(&["netdiag", "audit"])?;
    let diagnose = parse(&["netdiag", "diagnose"])?;
    match (diagnose.command, audit.command) {
        (Command::Diagnose(args), Command::Audit(_)) if writes_nothing(&args) => {
            Ok(args.scope.place)
        }
        _ => Err(Usage("behind --: no option that writes a file: tools only read".into()).into()),
    }
}

fn writes_nothing(args: &super::diagnose::DiagnoseArgs) -> bool {
    let files = [&args.output_file, &args.keep.record, &args.keep.pcap];
    files.iter().all(|file| file.is_none())
}

/// clap's own sentence, without the advice below it.
fn first(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(options: &[&str]) -> Result<NodeRootArgs> {
        let options: Vec<OsString> = options.iter().map(OsString::from).collect();
        checked(&options)
    }

    #[test]
    fn options_are_those_of_each_command_and_write_nothing() {
        assert!(given(&[]).is_ok());
        assert!(given(&["--root", "/", "--pods", "none"]).is_ok());
        for bad in [
            &["--record", "x.ndr"][..],
            &["--nonsense"],
            &["--pods", ""],
            &["lab"],
        ] {
            assert!(given(bad).is_err(), "{bad:?}");
        }
    }
}

//! tcpdump beside netdiag, one process for each link and direction.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;

use crate::{
    pcap::{self, Packet},
    process::{PATIENCE, Process},
};

/// Bytes of each packet: outer and inner headers.
const SNAPLEN: &str = "200";

pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts it and waits until it listens. `direction` as `netdiag` says it.
    pub fn start(netns: &str, link: &str, direction: &str, folder: &Path) -> Self {
        let file = folder.join(format!("{link}-{direction}.pcap"));
        let side = if direction == "egress" { "out" } else { "in" };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns, "tcpdump", "-n", "-i", link]);
        // Not as another user, who may not write into a folder that only root may enter.
        command.args([
            "-Q", side, "-s", SNAPLEN, "-B", "8192", "-U", "-Z", "root", "-w",
        ]);
        let mut process = Process::start(command.arg(&file));
        process.wait_for("listening on", PATIENCE);
        Self { process, file }
    }

    /// Ends it and reads the IP packets that it saw: all that passed.
    pub fn stop(self) -> Vec<Packet> {
        let ended = self.process.stop(Signal::SIGINT);
        let lost = ended
            .stderr
            .iter()
            .find(|l| l.ends_with("dropped by kernel"));
        let lost = lost.map_or("", String::as_str);
        assert!(
            lost.starts_with("0 packets"),
            "tcpdump lost some: {ended:?}"
        );
        pcap::read(&self.file)
    }
}

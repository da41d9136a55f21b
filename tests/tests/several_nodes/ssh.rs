//! By ssh, to a real server of each node.
use std::{net::TcpListener, os::fd::OwnedFd, process::Stdio};

use super::*;

/// The port at which a node's own server answers, as inetd(8) would start it there.
fn serving(netns: &str, config: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let sshd = require::find("sshd")
        .expect("asked for")
        .display()
        .to_string();
    let words = ["netns", "exec", netns, &sshd, "-i", "-f", config].map(str::to_owned);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let other = OwnedFd::from(connection.try_clone().expect("a descriptor"));
            let mut server = Command::new("ip");
            server
                .args(&words)
                .stdin(OwnedFd::from(connection))
                .stdout(other);
            let mut server = server.stderr(Stdio::null()).spawn().expect("sshd");
            std::thread::spawn(move || server.wait());
        }
    });
    port
}

#[test]
fn ssh_does_without_an_api() {
    if require::missing(&[&TOOLS[..], &["sshd", "ssh", "ssh-keygen"]].concat()) {
        return;
    }
    let lab = Lab::up(&["overlay-blocked", "--seed", "5"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for key in ["host", "own"] {
        sh(&[
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            &path(key),
        ]);
    }
    fs::copy(path("own.pub"), path("authorized")).expect("copied");
    let server = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
         PidFile none\n",
        path("host"),
        path("authorized")
    );
    fs::write(path("sshd"), server).expect("written");
    fs::create_dir_all("/run/sshd").expect("made");
    let hosts = NODES.iter().zip(&lab.nodes).map(|(name, netns)| {
        format!(
            "Host {name}\n HostName 127.0.0.1\n Port {}\n IdentityFile {}\n User root\n \
             StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n",
            serving(netns, &path("sshd")),
            path("own")
        )
    });
    fs::write(path("config"), hosts.collect::<String>()).expect("written");
    let _traffic = lab.traffic();
    let (ssh, netdiag) = (
        format!("ssh -F {}", path("config")),
        binary().display().to_string(),
    );
    let ask = |hosts: &str| {
        let words = [
            "cluster",
            "diagnose",
            "--ssh",
            hosts,
            "--ssh-command",
            &ssh,
            "--ssh-netdiag",
            &netdiag,
            "--duration",
            "8s",
            "-o",
            "json",
            "--",
            "--cni-dir",
            &lab.cni_dirs[0],
        ];
        run(&mut command(&words))
    };
    let ended = ask("left,root@right");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let verdict = ended.json();
    assert_eq!(roots(&verdict), ["overlay-blocked"], "{verdict:#}");
    assert_eq!(nodes(&verdict).len(), 2);
    // One that is not there does not cost the other.
    let verdict = ask("left,nowhere.invalid").json();
    assert!(
        why(&verdict, "node nowhere.invalid").contains("nowhere.invalid"),
        "{verdict:#}"
    );
}

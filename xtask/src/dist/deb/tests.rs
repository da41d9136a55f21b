use std::{fs, path::Path, process::Command};

use super::*;
use crate::{
    paths,
    sh::{self, which},
};

fn payload() -> Payload {
    Payload {
        program: b"program".to_vec(),
        pages: vec![("netdiag.1".into(), b".TH netdiag 1\n".to_vec())],
        completions: ["bash", "zsh", "fish"].map(|it| it.as_bytes().to_vec()),
        documents: ["README.md", "docs/ci.md"]
            .map(|it| (it.into(), b"# netdiag\n".to_vec()))
            .to_vec(),
        changelog: b"# Changelog\n".to_vec(),
        licences: [
            ("LICENSE-APACHE", b"Apache".to_vec()),
            (
                "LICENSE-MIT",
                b"MIT License\n\nCopyright (c) 2026 us\n\nText.\n".to_vec(),
            ),
        ],
        third_party: b"others".to_vec(),
        settings: "# About.\nlisten = \"[::]:1\"\n\n# Keep.\n# history = \"/x\"\n".into(),
    }
}

fn unpacked(deb: &[u8], what: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("netdiag.deb");
    fs::write(&file, deb).expect("written");
    sh::text(Command::new("dpkg-deb").arg(what).arg(&file)).expect("dpkg-deb takes it")
}

fn made() -> Vec<u8> {
    package(&About::example(), &payload()).expect("a package")
}

#[test]
fn the_same_bytes_twice() {
    assert_eq!(made(), made());
}

#[test]
fn dpkg_reads_what_was_packed() {
    if which("dpkg-deb").is_none() {
        sh::say("skipped: dpkg-deb is not here");
        return;
    }
    let listed = unpacked(&made(), "--contents");
    let row = |path: &str| {
        let found = listed
            .lines()
            .find(|line| line.contains(&format!(" ./{path}")));
        found.unwrap_or_else(|| panic!("no {path} in {listed}"))
    };
    for (path, mode) in [
        ("usr/bin/netdiag", "-rwxr-xr-x root/root"),
        ("usr/bin/kubectl-netdiag -> netdiag", "lrwxrwxrwx root/root"),
        ("etc/netdiag/agent.toml", "-rw-r--r-- root/root"),
        ("usr/share/man/man1/netdiag.1.gz", "-rw-r--r-- root/root"),
        ("usr/share/doc/netdiag/README.md", "-rw-r--r-- root/root"),
        ("usr/share/doc/netdiag/docs/ci.md", "-rw-r--r-- root/root"),
        (
            "usr/lib/systemd/system/netdiag-agent.service",
            "-rw-r--r-- root/root",
        ),
    ] {
        assert!(row(path).starts_with(mode), "{}", row(path));
    }
    let told = unpacked(&made(), "--info");
    for wanted in [
        "Package: netdiag",
        "Version: 1.2.3-1",
        "postrm",
        "conffiles",
    ] {
        assert!(told.contains(wanted), "{wanted} is not in {told}");
    }
}

#[test]
fn settings_count_for_nothing_but_the_history() {
    let wanted = format!("# About.\n# listen = \"[::]:1\"\n\n# Keep.\nhistory = \"{HISTORY}\"\n");
    assert_eq!(settings(&payload().settings), wanted);
    assert!(
        POSTRM.contains("rm -rf /var/lib/netdiag\n") && HISTORY.starts_with("/var/lib/netdiag/")
    );
}

/// A shell must at least read them: they run as root in the middle of an upgrade.
#[test]
fn scripts_are_a_shells() {
    for script in [POSTINST, PRERM, POSTRM] {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("script");
        fs::write(&file, script).expect("written");
        sh::run(Command::new("sh").arg("-n").arg(&file)).expect("a shell reads it");
    }
}

/// systemd knows every setting. The program that it starts need not be here.
#[test]
fn systemd_takes_the_unit() {
    if which("systemd-analyze").is_none() {
        sh::say("skipped: systemd-analyze is not here");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("netdiag-agent.service");
    let here = "/usr/bin/env";
    assert!(Path::new(here).exists());
    let unit = UNIT
        .replace("/usr/bin/netdiag", here)
        .replace("man:netdiag-agent(1)", "man:env(1)");
    fs::write(&file, unit).expect("written");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(&file);
    let said = sh::output(&mut verify).expect("started");
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.status.success() && !told.contains("netdiag-agent"),
        "{told}"
    );
}

/// netdiag itself gives away all others: the unit must give it these.
#[test]
fn the_unit_keeps_what_a_trace_needs() {
    let source = paths::root().join("netdiag-user/crates/sys/src/capabilities.rs");
    let source = fs::read_to_string(source).expect("the list");
    let list = source.split_once("TRACING: &[Right] = &[").expect("it").1;
    let names = list.split_once(']').expect("its end").0.split(',');
    let names = names.map(str::trim).filter(|it| !it.is_empty());
    let known = |name: &str| {
        let line = source.split_once(&format!("const {name}: Right = "));
        line.expect("a right")
            .1
            .split('"')
            .nth(1)
            .expect("its name")
            .to_owned()
    };
    let wanted: Vec<_> = names.map(known).collect();
    assert!(wanted.len() > 4, "{wanted:?}");
    for key in ["CapabilityBoundingSet=", "AmbientCapabilities="] {
        let line = UNIT.lines().find_map(|it| it.strip_prefix(key));
        assert_eq!(line.expect("a line"), wanted.join(" "), "{key}");
    }
}

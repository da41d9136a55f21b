//! Programs of the host's that netdiag runs: who starts it, and where, chooses none of them.
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use netdiag_tests::{
    netdiag::command,
    process::{Ended, run},
    require,
};

/// Programs that it runs at one time or another.
const PROGRAMS: [&str; 6] = [
    "ip6tables-legacy-save",
    "ip6tables-nft-save",
    "iptables-legacy-save",
    "iptables-nft-save",
    "journalctl",
    "nft",
];

/// An audit of a node with a journal, started in `folder`, with that PATH.
fn audit(folder: &Path, path: &str) -> Ended {
    let root = folder.join("root");
    fs::create_dir_all(root.join("var/log/journal/0")).expect("made");
    let _ = symlink("/proc", root.join("proc"));
    let root = root.display().to_string();
    let mut command = command(&["audit", "-o", "json", "--root", &root]);
    command.current_dir(folder).env("PATH", path);
    run(&mut command)
}

#[test]
fn path_chooses_no_program() {
    if require::missing(&["journalctl", "nft"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let marker = folder.path().join("marker");
    for program in PROGRAMS {
        let script = format!("#!/bin/sh\necho {program} >> {}\n", marker.display());
        let file = folder.path().join(program);
        fs::write(&file, script).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("set");
    }
    let usual = "/usr/sbin:/usr/bin:/sbin:/bin";
    let own = folder.path().display();
    for path in [
        format!(".:{usual}"),
        format!(":{usual}"),
        format!("{own}:{usual}"),
    ] {
        let ended = audit(folder.path(), &path);
        assert!(ended.stdout.starts_with(b"{"), "{ended:?}");
        let ran = fs::read_to_string(&marker).unwrap_or_default();
        assert_eq!(ran, "", "PATH={path}");
    }
}

//! A package for Debian and what descends from it (deb(5)).
mod ar;
mod control;

use anyhow::Result;

use super::{
    About,
    tarball::Payload,
    tree::{Tree, gzip},
};

/// Of the package beside the program's own version.
pub const REVISION: &str = "1";

const UNIT: &str = include_str!("netdiag-agent.service");
const POSTINST: &str = include_str!("postinst");
const PRERM: &str = include_str!("prerm");
const POSTRM: &str = include_str!("postrm");

/// What lintian takes a static program that may lie anywhere for, and what only Debian's own need.
const OVERRIDES: &str = "netdiag: shared-library-lacks-prerequisites [usr/bin/netdiag]\n\
                         netdiag: initial-upload-closes-no-bugs [*]\n";

/// Where the agent keeps the last minutes: what a purge removes.
const HISTORY: &str = "/var/lib/netdiag/history";

pub fn package(about: &About, payload: &Payload) -> Result<Vec<u8>> {
    let data = files(about, payload)?;
    let mut control = Tree::default();
    control.file("control", control::control(about, data.kib()));
    control.file("conffiles", "/etc/netdiag/agent.toml\n");
    control.file("md5sums", control::md5sums(&data));
    for (name, script) in [("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)] {
        control.program(name, script);
    }
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.tar("./", about.time)?)?),
        ("data.tar.gz", gzip(&data.tar("./", about.time)?)?),
    ];
    Ok(ar::archive(&members, about.time))
}

fn files(about: &About, payload: &Payload) -> Result<Tree> {
    let mut tree = Tree::default();
    payload.install(&mut tree)?;
    tree.file("usr/lib/systemd/system/netdiag-agent.service", UNIT);
    tree.file("usr/share/lintian/overrides/netdiag", OVERRIDES);
    tree.file("etc/netdiag/agent.toml", settings(&payload.settings));
    let docs = "usr/share/doc/netdiag";
    let changes = control::changelog(about);
    for (name, text) in [
        ("changelog.gz", payload.changelog.as_slice()),
        ("changelog.Debian.gz", changes.as_bytes()),
        ("THIRD-PARTY.gz", payload.third_party.as_slice()),
    ] {
        tree.file(&format!("{docs}/{name}"), gzip(text)?);
    }
    // As they are: a link leads to no page that is packed.
    for (path, text) in &payload.documents {
        tree.file(&format!("{docs}/{path}"), text.as_slice());
    }
    tree.file(&format!("{docs}/copyright"), control::copyright(payload));
    Ok(tree)
}

/// What is usual is left to the program, so that a later one may choose better: all keys stand there
/// and count for nothing, but for the history.
fn settings(printed: &str) -> String {
    let quiet = |line: &str| match line {
        "" => String::new(),
        line if line.starts_with('#') => line.to_owned(),
        line => format!("# {line}"),
    };
    let line = |line: &str| match line.trim_start_matches("# ").split_once(" = ") {
        Some(("history", _)) => format!("history = \"{HISTORY}\""),
        _ => quiet(line),
    };
    printed.lines().map(|it| line(it) + "\n").collect()
}

#[cfg(test)]
mod tests;

//! Rules as the programs that write them have the kernel keep them.
use std::{io::Write as _, sync::Arc};

use nix::sched::{CloneFlags, unshare};

use super::{Most, whole};
use crate::{model::world::ruleset::Ruleset, sys::program::Program};

const ALL: Most = Most {
    rules: 10_000,
    elements: 10_000,
    comments: true,
};

/// What is read in a namespace of their own where that program loaded them; nothing where it is not here, or this kernel has
/// no such tables.
pub fn loaded(program: &'static str, rules: &str) -> Option<Arc<Ruleset>> {
    if netdiag_tests::require::missing(&[program]) {
        return None;
    }
    let rules = rules.to_owned();
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(rules.as_bytes()).expect("written");
        let path = file.path().display().to_string();
        let options: &[&str] = if program == "nft" { &["-f"] } else { &[] };
        let loaded = Program::new(program).text(&[options, &[path.as_str()]].concat());
        if let Err(error) = loaded {
            let says = error.to_string();
            assert!(says.contains("legacy"), "{program}: {says}");
            netdiag_tests::require::say(&format!("tables of iptables' own: {says}"));
            return None;
        }
        Some(whole(ALL).expect("readable"))
    };
    std::thread::spawn(inside).join().expect("no panic")
}

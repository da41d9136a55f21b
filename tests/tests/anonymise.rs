//! `replay --anonymise`: the same causes, and none of the names and addresses.
#[path = "anonymise/forms.rs"]
mod forms;
#[path = "anonymise/own.rs"]
mod own;
#[path = "anonymise/telling.rs"]
mod telling;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use netdiag_tests::{
    netdiag::{binary, sentence},
    process::run,
    workdir::Workdir,
};
use serde_json::Value;

use self::own::Own;

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut all: Vec<_> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read(path).expect("a recording"))
        })
        .collect();
    all.sort();
    all
}

/// The lines of a recording.
fn text(recording: &[u8]) -> String {
    let head = recording.iter().position(|b| *b == b'\n').expect("a head") + 1;
    let (mut text, mut rest) = (String::new(), &recording[head..]);
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let block = miniz_oxide::inflate::decompress_to_vec(&more[4..4 + length]);
        text += std::str::from_utf8(&block.expect("a block")).expect("text");
        rest = &more[4 + length..];
    }
    text
}

/// It stands in the text as a word of its own, or it is long enough to be nothing else.
fn has(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        let alone = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        name.len() >= 12 || alone(before) && alone(after)
    })
}

/// Addresses that name nobody, and the ranges that everybody uses.
fn is_nobodys(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let ranges = [
                [10, 0, 0, 0],
                [172, 16, 0, 0],
                [192, 168, 0, 0],
                [100, 64, 0, 0],
            ];
            v4.is_loopback()
                || v4.is_link_local()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 224
                || ranges.contains(&v4.octets())
        }
        IpAddr::V6(v6) => {
            v6.segments()[..6] == [0; 6]
                || v6.is_multicast()
                || *v6 == "fe80::".parse::<std::net::Ipv6Addr>().expect("one")
        }
    }
}

/// Cause, how bad it is, and what it follows from.
fn causes(verdict: &Value) -> BTreeMap<String, (String, String)> {
    let findings = verdict["findings"].as_array().expect("findings").iter();
    let told = findings.map(|it| {
        let of = |member: &str| it[member].to_string();
        (of("cause"), (of("severity"), of("consequence_of")))
    });
    told.collect()
}

/// A folder in which whoever replays may write.
fn writable(workdir: &Workdir) -> PathBuf {
    let folder = workdir.path("out");
    std::fs::create_dir(&folder).expect("made");
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&folder, mode).expect("set");
    folder
}

#[test]
fn causes_stay_and_names_go() {
    let workdir = Workdir::new();
    let folder = writable(&workdir);
    let mut wrong = Vec::new();
    for (name, bytes) in fixtures() {
        let old = workdir.put(&format!("{name}.ndr"), &bytes);
        let new = folder.join("new.ndr").display().to_string();
        let ended = workdir.replay(&[&old, "--anonymise", &new]);
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        if !ended.stderr.is_empty() {
            wrong.push(format!("{name}: {}", ended.stderr.join(" ")));
        }
        let verdict = |file: &str| workdir.replay(&[file, "-o", "json"]);
        let (before, after) = (verdict(&old), verdict(&new));
        if (before.code, causes(&before.json())) != (after.code, causes(&after.json())) {
            let (before, after) = (causes(&before.json()), causes(&after.json()));
            wrong.push(format!("{name}: {before:?} became {after:?}"));
        }
        let anonymous = text(&std::fs::read(&new).expect("written"));
        let own = Own::of(&text(&bytes));
        assert!(!own.addresses.is_empty(), "{name}");
        let addresses = own.addresses.iter().filter(|it| !is_nobodys(it));
        // As text, and as the tables have it.
        let forms = |it: &IpAddr| match it {
            IpAddr::V4(v4) => vec![
                it.to_string(),
                (0xffff << 32 | u64::from(u32::from(*v4))).to_string(),
            ],
            IpAddr::V6(_) => vec![it.to_string()],
        };
        let all = own.names.iter().cloned().chain(addresses.flat_map(forms));
        let all = all.chain(own.macs).chain(own.packets);
        let left: Vec<String> = all
            .filter(|it| !is_zero(it) && has(&anonymous, it))
            .collect();
        if !left.is_empty() {
            wrong.push(format!("{name} still says {left:?}"));
        }
        std::fs::remove_file(&new).expect("removed");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Link-layer addresses of everybody.
fn is_zero(mac: &str) -> bool {
    mac.starts_with("[0,0,0,0")
        || mac.starts_with("[255,")
        || mac.starts_with("[51,51,0")
        || mac.starts_with("[1,0,94")
}

#[test]
fn what_cannot_be_anonymised_is_told() {
    let workdir = Workdir::new();
    let (_, bytes) = fixtures().swap_remove(0);
    let file = workdir.put("a.ndr", &bytes);
    let out = workdir.path("b.ndr").display().to_string();
    let itself = workdir.replay(&[&file, "--anonymise", &file]);
    assert_eq!(itself.code, Some(2), "{itself:?}");
    assert!(sentence(&itself).contains("itself"));
    assert_eq!(std::fs::read(&file).expect("there"), bytes);
    let two = workdir.replay(&[&file, &file, "--anonymise", &out]);
    assert_eq!(two.code, Some(2), "{two:?}");
    let missing = workdir.replay(&["/nowhere.ndr", "--anonymise", &out]);
    assert_eq!(missing.code, Some(3), "{missing:?}");
    let cut = workdir.put("cut.ndr", &bytes[..bytes.len() - 9]);
    let out = writable(&workdir).join("c.ndr").display().to_string();
    let cut = workdir.replay(&[&cut, "--anonymise", &out]);
    assert_eq!(cut.code, Some(0), "{cut:?}");
    let again = workdir.replay(&[&out, "-o", "json"]);
    assert!(
        again.text().contains("the rest of the recording"),
        "{again:?}"
    );
}

impl Own {
    /// What of it can be found in any form.
    fn left(&self, said: &forms::Said) -> Vec<String> {
        let words = ["acme", "payroll"].map(str::to_owned);
        let mut left = forms::words_left(said, words.iter().chain(&self.names));
        let addresses = self.addresses.iter().filter(|it| !is_nobodys(it));
        left.extend(forms::addresses_left(said, addresses));
        let macs = self.macs.iter().filter(|it| !is_zero(it));
        left.extend(forms::macs_left(said, macs));
        left
    }
}

/// Everything in the recordings gets a telling name, and stands in texts in odd forms besides; then
/// it is looked for in every form that anybody may think of.
#[test]
fn nothing_is_found_in_any_form() {
    let workdir = Workdir::new();
    let folder = writable(&workdir);
    let mut wrong = Vec::new();
    for (name, bytes) in fixtures() {
        let old = telling::renamed(&bytes);
        let said = text(&old);
        let own = Own::of(&said);
        assert!(said.contains("acme") && own.names.len() > 2, "{name}");
        let file = workdir.put("old.ndr", &old);
        let new = folder.join("new.ndr").display().to_string();
        let left = || {
            let ended = workdir.replay(&[&file, "--anonymise", &new]);
            assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
            let said = forms::said(&text(&std::fs::read(&new).expect("written")));
            std::fs::remove_file(&new).expect("removed");
            own.left(&said)
        };
        let mut stays = left();
        if !stays.is_empty() {
            // Words are drawn anew each time: what chance put there once, backwards or in another
            // base, it does not put there twice. What leaks leaks always.
            let again = left();
            stays.retain(|it| again.contains(it));
        }
        if !stays.is_empty() {
            wrong.push(format!("{name} still says {stays:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whoever gives up leaves what was there, and nothing else.
#[test]
fn what_was_there_stays_where_it_fails() {
    let workdir = Workdir::new();
    let folder = writable(&workdir);
    let (_, bytes) = fixtures().swap_remove(0);
    let file = workdir.put("a.ndr", &bytes);
    let broken = workdir.put("broken.ndr", b"netdiag.recording/1\nno more");
    let names = || {
        let all = std::fs::read_dir(&folder).expect("listed");
        let mut all: Vec<_> = all.map(|it| it.expect("one").file_name()).collect();
        all.sort();
        all
    };
    let out = folder.join("out.ndr").display().to_string();
    // As root too, who opens what he writes before he gives his rights away.
    let replay = |arguments: &[&str]| {
        let root = run(Command::new(binary()).arg("replay").args(arguments));
        assert!(names().is_empty() || names() == ["out.ndr"], "{root:?}");
        let nobody = workdir.replay(arguments);
        assert_eq!(root.code, nobody.code, "{root:?} {nobody:?}");
        nobody
    };
    let failed = replay(&[&broken, "--anonymise", &out]);
    assert_eq!(failed.code, Some(3), "{failed:?}");
    assert!(names().is_empty(), "{:?}", names());
    std::fs::write(&out, "kept").expect("written");
    replay(&[&broken, "--anonymise", &out]);
    replay(&["/nowhere.ndr", "--anonymise", &out]);
    assert_eq!(std::fs::read(&out).expect("read"), b"kept");
    // What is read twice, or again, is no pipe: and nobody waits for its other end.
    let pipe = workdir.path("pipe");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::unistd::mkfifo(&pipe, mode).expect("made");
    let pipe = pipe.display().to_string();
    let read = replay(&[&pipe, "--anonymise", &out]);
    assert_eq!(read.code, Some(2), "{read:?}");
    assert!(sentence(&read).contains("is a pipe or a device"));
    assert_eq!(std::fs::read(&out).expect("read"), b"kept");
    for odd in [pipe.as_str(), "/dev/stdout", "/dev/fd/1", "/dev/null"] {
        let written = replay(&[&file, "--anonymise", odd]);
        assert_eq!(written.code, Some(2), "{odd}: {written:?}");
        assert!(sentence(&written).contains("is a pipe or a device"));
    }
    std::fs::remove_file(&out).expect("removed");
    let made = workdir.replay(&[&file, "--anonymise", &out]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let mode = |path: &str| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((names(), mode(&out)), (vec!["out.ndr".into()], 0o600));
    workdir.hand_over(&out);
    let again = workdir.replay(&[&file, "--anonymise", &out]);
    assert_eq!((again.code, mode(&out)), (Some(0), 0o644), "{again:?}");
}

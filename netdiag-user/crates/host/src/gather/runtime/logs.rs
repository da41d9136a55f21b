//! Where runtimes and kubelets log: files of their own, syslog's, the journal. Of each only the end
//! is read.
use std::{
    ffi::OsString,
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use crate::{
    gather::Places,
    model::runtime::Shown,
    sys::{capabilities, file, program::Program},
};

/// Files, as the node names them.
const FILES: [&str; 11] = [
    "/var/log/containerd.log",
    "/var/log/containerd/containerd.log",
    "/var/lib/rancher/k3s/agent/containerd/containerd.log",
    "/var/lib/rancher/rke2/agent/containerd/containerd.log",
    "/var/lib/rancher/rke2/agent/logs/kubelet.log",
    "/var/log/crio.log",
    "/var/log/crio/crio.log",
    "/var/log/kubelet.log",
    "/var/log/syslog",
    "/var/log/messages",
    "/var/log/daemon.log",
];
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
/// Who writes what is looked for.
const WRITERS: [&str; 7] = [
    "containerd",
    "crio",
    "dockerd",
    "cri-dockerd",
    "k3s",
    "kubelet",
    "rke2",
];

/// As much of a file's end as five minutes of a busy node's have.
const TAIL: u64 = 2 << 20;
/// The same of a journal, in lines.
const LINES: usize = 5000;
/// journald's lines may be 48 KiB each (journald.conf(5), LineMax).
const JOURNAL: usize = 16 << 20;

pub struct Log {
    pub name: String,
    pub show: Shown,
    pub text: Result<String, String>,
    /// How much of its end that is, where there is more before it.
    pub only: Option<&'static str>,
}

/// All that are there.
pub fn all(places: &Places, since: Duration) -> Vec<Log> {
    let files = FILES.iter().filter_map(|name| file(places, name));
    let journals = JOURNALS
        .iter()
        .filter_map(|name| journal(places, name, since));
    files.chain(journals).collect()
}

fn file(places: &Places, name: &str) -> Option<Log> {
    let path = places.under_root(Path::new(name));
    // Not a pipe, nor a device.
    let meta = std::fs::metadata(&path)
        .ok()
        .filter(|meta| meta.is_file())?;
    let text = end(&path, meta.len());
    Some(Log {
        name: name.to_owned(),
        show: Shown::File(name.to_owned()),
        text: text.map_err(|e| e.to_string()),
        only: (meta.len() > TAIL).then_some("2 MiB"),
    })
}

fn end(path: &Path, length: u64) -> std::io::Result<String> {
    let mut file = file::plain(path)?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// journalctl(1) reads a node's from anywhere.
fn journal(places: &Places, name: &str, since: Duration) -> Option<Log> {
    let folder = places.under_root(Path::new(name));
    let filled = !file::entries(&folder, 1).is_empty();
    let text = filled.then(|| read(&folder, since))?;
    let lines = text.as_ref().map_or(0, |text| text.lines().count());
    Some(Log {
        name: format!("the journal in {name}"),
        show: Shown::Journal,
        text,
        only: (lines >= LINES).then_some("5000 lines"),
    })
}

fn read(folder: &Path, since: Duration) -> Result<String, String> {
    let mut arguments: Vec<OsString> = vec!["--no-pager".into(), "--quiet".into()];
    arguments.extend([
        "--output=short-unix".into(),
        format!("--lines={LINES}").into(),
    ]);
    arguments.push(format!("--since=@{}", since.as_secs()).into());
    arguments.extend(["--directory".into(), folder.into()]);
    // Who writes to the journal chooses by what name; his user he does not.
    arguments.push("_UID=0".into());
    for writer in WRITERS {
        arguments.extend(["-t".into(), writer.into()]);
    }
    let journal = Program::new("journalctl").at_most(JOURNAL);
    let journal = journal.with(capabilities::FILES);
    journal.text(&arguments).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_file_is_read() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("var/log");
        std::fs::create_dir_all(&folder).expect("made");
        let text = [vec![b'x'; TAIL as usize + 10], b"\n\xff last".to_vec()].concat();
        std::fs::write(folder.join("syslog"), text).expect("written");
        let places = Places {
            root: root.path().to_owned(),
            ..Places::default()
        };
        let all = all(&places, Duration::ZERO);
        let text = all[0].text.as_deref().expect("read");
        assert_eq!(
            (all.len(), text.len()),
            (1, TAIL as usize + 2),
            "one byte became three"
        );
        assert!(text.ends_with("\u{fffd} last"));
        assert_eq!(all[0].only, Some("2 MiB"));
    }
}

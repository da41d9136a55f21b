//! A recording as it comes, in a file of bounded length.
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{model::text, sys::output_file};

/// A node's recording of a quarter of an hour in an incident has some megabytes.
const MOST: u64 = 1 << 30;
/// Of what a node says beside it.
const MOST_SAID: usize = 64 << 10;
/// Of one line.
const LINE: usize = 1000;

pub struct Kept {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Kept {
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: output_file::create(path)?,
            bytes: 0,
        })
    }

    /// Fails with a sentence.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > MOST {
            return Err(format!(
                "its recording has more than {} MiB, and the rest is left out",
                MOST >> 20
            ));
        }
        let cannot = |e| format!("cannot write {}: {e}", self.path.display());
        self.file.write_all(bytes).map_err(cannot)
    }

    /// The file, where anything came.
    pub fn file(self) -> Option<PathBuf> {
        (self.bytes > 0).then_some(self.path)
    }
}

/// What a node says on stderr, line by line.
pub struct Said {
    node: String,
    rest: Vec<u8>,
    had: usize,
    last: Option<String>,
}

impl Said {
    pub fn of(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            rest: Vec::new(),
            had: 0,
            last: None,
        }
    }

    pub fn put(&mut self, bytes: &[u8]) {
        let room = MOST_SAID.saturating_sub(self.had);
        let some = &bytes[..bytes.len().min(room)];
        self.had += some.len();
        self.rest.extend_from_slice(some);
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(&line);
        }
    }

    /// The last thing that it said.
    pub fn last(mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        self.line(&rest);
        self.last
    }

    fn line(&mut self, line: &[u8]) {
        let line = text::line(String::from_utf8_lossy(line).trim(), LINE);
        if line.is_empty() {
            return;
        }
        match line.strip_prefix("[WARN ] ") {
            Some(warning) => log::warn!("{}: {warning}", self.node),
            None => log::info!("{}: {line}", self.node),
        }
        let own = line.strip_prefix("netdiag: ");
        self.last = Some(own.map_or(line.clone(), str::to_owned));
    }
}

/// Takes all that comes, as long as it is wanted.
pub async fn each(
    from: Option<impl AsyncRead + Unpin>,
    mut take: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await {
            // A connection that broke is told by the status that does not come.
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => take(&buffer[..read])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_says_nothing_has_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.ndr");
        assert_eq!(Kept::create(&path).expect("made").file(), None);
        let mut kept = Kept::create(&path).expect("made");
        kept.put(b"x").expect("written");
        kept.bytes = MOST;
        assert!(kept.put(b"x").is_err_and(|why| why.contains("1024 MiB")));
        assert_eq!(kept.file(), Some(path));
    }

    #[test]
    fn what_it_says_is_bounded_and_harmless() {
        let mut said = Said::of("a");
        said.put(b"netdiag: no \x1b[2Jroot");
        said.put(b" here\n\n");
        let last = said.last.clone().expect("a line");
        assert!(
            last.starts_with("no ") && last.ends_with("root here"),
            "{last}"
        );
        assert!(!last.contains('\x1b'), "{last}");
        said.put(&vec![b'x'; 2 * MOST_SAID]);
        assert_eq!(said.had, MOST_SAID);
        assert!(said.last().is_some_and(|it| it.len() <= LINE + 4));
    }
}

//! A recording as it comes, in a file of bounded length.
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};

use crate::{model::text, sys::output_file};

/// A node's recording of a quarter of an hour in an incident has some megabytes.
const MOST: u64 = 64 << 20;
/// Of what a node says beside it.
const MOST_SAID: usize = 64 << 10;
/// Of one line.
const LINE: usize = 1000;
/// Codes of a netdiag that did what it was asked to: nothing found, findings, not enough seen.
const FINE: [i32; 3] = [0, 1, 4];

pub struct Kept {
    path: PathBuf,
    /// Made with the first byte: what was there before stays where nothing comes.
    file: Option<File>,
    bytes: u64,
}

impl Kept {
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            bytes: 0,
        }
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
        let path = &self.path;
        let cannot = |e: io::Error| format!("cannot write {}: {e}", path.display());
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(output_file::create(path).map_err(cannot)?),
        };
        file.write_all(bytes).map_err(cannot)
    }

    /// The file, where anything came.
    pub fn file(self) -> Option<PathBuf> {
        self.file.map(|_| self.path)
    }
}

/// What a node says on stderr, line by line.
pub struct Said {
    node: String,
    rest: Vec<u8>,
    had: usize,
    last: Option<String>,
    /// That was what is wrong in what was typed.
    usage: bool,
}

impl Said {
    pub fn of(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            rest: Vec::new(),
            had: 0,
            last: None,
            usage: false,
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
        // clap goes on after its sentence.
        let usage = line.strip_prefix("error: ");
        let own = usage.or_else(|| line.strip_prefix("netdiag: "));
        if !self.usage {
            self.last = Some(own.map_or(line.clone(), str::to_owned));
        }
        self.usage |= usage.is_some();
    }
}

/// Takes what a node gives and says until it ends both; fails with a sentence. Output that cannot be
/// kept ends both: nobody would take the rest.
pub async fn both(
    output: Option<impl AsyncRead + Unpin>,
    words: Option<impl AsyncRead + Unpin>,
    to: &mut Kept,
    said: &mut Said,
) -> Result<(), String> {
    let output = each(output, |bytes| to.put(bytes));
    let words = each(words, |bytes| {
        said.put(bytes);
        Ok(())
    });
    tokio::try_join!(output, words).map(|_| ())
}

/// Why that code of netdiag's is not all that was wanted.
pub fn failed(code: i32) -> Option<String> {
    let told = || format!("netdiag ended there with code {code}");
    (!FINE.contains(&code)).then(told)
}

/// Nothing, or why it did not end within that time.
pub async fn ended(within: Duration, it: impl Future<Output = Option<String>>) -> Option<String> {
    let silent = |_| {
        let seconds = within.as_secs();
        Some(format!("it fell silent: no end within {seconds} s"))
    };
    timeout(within, it).await.unwrap_or_else(silent)
}

/// Takes all that comes, as long as it is wanted.
async fn each(
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
        std::fs::write(&path, "yesterday's").expect("written");
        assert_eq!(Kept::new(&path).file(), None);
        assert_eq!(path.metadata().expect("there").len(), 11);
        let mut kept = Kept::new(&path);
        kept.put(b"x").expect("written");
        assert_eq!(path.metadata().expect("there").len(), 1);
        kept.bytes = MOST;
        assert!(kept.put(b"x").is_err_and(|why| why.contains("64 MiB")));
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
        said.put(b"error: unexpected\n\nFor more information, try '--help'.\n");
        assert_eq!(said.last.as_deref(), Some("unexpected"));
        said.put(&vec![b'x'; 2 * MOST_SAID]);
        assert_eq!(said.had, MOST_SAID);
        assert_eq!(said.last().as_deref(), Some("unexpected"));
    }
}

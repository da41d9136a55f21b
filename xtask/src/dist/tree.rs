//! What an archive is made of: files by their paths, in one order, everybody's owner root.
use std::{collections::BTreeMap, io::Write};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// Bytes of a name that a header has room for (tar(5)).
const NAME: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Dir,
    File {
        mode: u32,
        content: Vec<u8>,
    },
    /// A symbolic link, and where it leads.
    Link(String),
}

/// Paths without a slash at either end; the folders that they are in are always there.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    pub fn file(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        let content = content.into();
        self.put(
            path,
            Entry::File {
                mode: 0o644,
                content,
            },
        );
    }

    pub fn program(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        let content = content.into();
        self.put(
            path,
            Entry::File {
                mode: 0o755,
                content,
            },
        );
    }

    pub fn link(&mut self, path: &str, to: &str) {
        self.put(path, Entry::Link(to.to_owned()));
    }

    fn put(&mut self, path: &str, entry: Entry) {
        for (at, _) in path.match_indices('/') {
            self.entries
                .entry(path[..at].to_owned())
                .or_insert(Entry::Dir);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Files and what is in them, without folders and links.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File { content, .. } => Some((path.as_str(), content.as_slice())),
            Entry::Dir | Entry::Link(_) => None,
        })
    }

    /// How many KiB it takes on a disk, as Debian counts: a file in whole ones, all else one each.
    pub fn kib(&self) -> u64 {
        let kib = |entry: &Entry| match entry {
            Entry::File { content, .. } => (content.len() as u64).div_ceil(1024),
            Entry::Dir | Entry::Link(_) => 1,
        };
        self.entries.values().map(kib).sum()
    }

    /// A tar whose bytes depend on this tree and the time alone. Paths begin with `prefix`.
    pub fn tar(&self, prefix: &str, time: u64) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        if !prefix.is_empty() {
            append(&mut tar, prefix, &Entry::Dir, time)?;
        }
        for (path, entry) in &self.entries {
            append(&mut tar, &format!("{prefix}{path}"), entry, time)?;
        }
        tar.into_inner().context("end the tar")
    }
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, entry: &Entry, time: u64) -> Result<()> {
    let (kind, mode, content) = match entry {
        Entry::Dir => (EntryType::Directory, 0o755, &[][..]),
        Entry::File { mode, content } => (EntryType::Regular, *mode, content.as_slice()),
        Entry::Link(_) => (EntryType::Symlink, 0o777, &[][..]),
    };
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_size(content.len() as u64);
    if let Entry::Link(to) = entry {
        header.set_link_name(to)?;
    }
    let slash = match kind {
        EntryType::Directory if !path.ends_with('/') => "/",
        _ => "",
    };
    let name = format!("{path}{slash}");
    if name.len() < NAME {
        // The crate's own way would take the "./" away that Debian's packages have.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, content)
    } else {
        tar.append_data(&mut header, name, content)
    }
    .with_context(|| format!("pack {path}"))
}

/// Gzip without a name or a time in its head.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    gzip.write_all(bytes).context("compress")?;
    gzip.finish().context("compress")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn tree(names: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for name in names {
            tree.program(name, name.as_bytes());
        }
        tree.link("a/link", "one");
        tree
    }

    /// Path, mode, owner and time of each entry.
    fn listed(tar: &[u8]) -> Vec<(String, u32, u64, u64)> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive
            .entries()
            .expect("a tar")
            .map(|it| it.expect("whole"));
        let line = |entry: tar::Entry<'_, &[u8]>| {
            let header = entry.header();
            let path = String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8");
            let owner = header.uid().expect("a uid") + header.gid().expect("a gid");
            (
                path,
                header.mode().expect("a mode"),
                owner,
                header.mtime().expect("a time"),
            )
        };
        entries.map(line).collect()
    }

    #[test]
    fn bytes_depend_on_what_is_in_it_alone() {
        let there = tree(&["b", "a/two", "a/one"]);
        let back = tree(&["a/one", "a/two", "b"]);
        let packed = |tree: &Tree| gzip(&tree.tar("./", 7).expect("a tar")).expect("a gzip");
        assert_eq!(packed(&there), packed(&back));
        assert_ne!(packed(&there), packed(&tree(&["b", "a/one"])));
    }

    #[test]
    fn entries_are_sorted_and_roots() {
        let tar = tree(&["b", "a/one"]).tar("./", 7).expect("a tar");
        let row = |path: &str, mode| (path.to_owned(), mode, 0, 7);
        let wanted = [
            row("./", 0o755),
            row("./a/", 0o755),
            row("./a/link", 0o777),
            row("./a/one", 0o755),
            row("./b", 0o755),
        ];
        assert_eq!(listed(&tar), wanted);
    }

    #[test]
    fn a_path_longer_than_a_header_comes_back() {
        let long = format!("{}/end", "folder".repeat(30));
        let mut tree = Tree::default();
        tree.file(&long, "text");
        let tar = tree.tar("", 0).expect("a tar");
        assert_eq!(listed(&tar).last().map(|it| it.0.clone()), Some(long));
        assert_eq!(tree.kib(), 2);
    }

    #[test]
    fn gzip_has_no_time_and_comes_back() {
        let packed = gzip(b"text").expect("a gzip");
        assert_eq!(packed[3..8], [0; 5], "neither flags nor a time");
        let mut text = String::new();
        let mut reader = flate2::read::GzDecoder::new(packed.as_slice());
        reader.read_to_string(&mut text).expect("whole");
        assert_eq!(text, "text");
    }
}

//! The way to a file by its names, as the kernel goes it (path_resolution(7)).
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{Metadata, read_link, symlink_metadata},
    io,
    path::{Component, Path, PathBuf},
};

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// What lies on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Link,
    Folder,
    /// What the way leads to.
    End,
}

/// Goes from that root to that path below it, links and all, and shows each stop with what is known of it:
/// an error ends the way. Returns the path without any link, below the root. The root itself is no stop.
pub fn walk(
    root: &Path,
    path: &Path,
    mut look: impl FnMut(Stop, &Path, &Metadata) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let mut at = PathBuf::from("/");
    let mut rest = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        let real = root.join(next.strip_prefix("/").unwrap_or(&next));
        let mut meta = symlink_metadata(&real)?;
        // Where the kernel's own links lead only it knows, as /proc/1/root does.
        let by_kernel = meta.is_symlink() && next.starts_with("/proc");
        if by_kernel {
            meta = real.metadata()?;
        } else if meta.is_symlink() {
            look(Stop::Link, &real, &meta)?;
            links += 1;
            if links > LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = read_link(&real)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let mut leads = parts(&target);
            leads.append(&mut rest);
            rest = leads;
            continue;
        }
        let stop = match rest.is_empty() {
            true => Stop::End,
            false => Stop::Folder,
        };
        look(stop, &real, &meta)?;
        at = next;
    }
    Ok(at)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{create_dir, write},
        os::unix::fs::symlink,
    };

    use super::*;

    #[test]
    fn each_stop_is_shown_and_absolute_links_stay_below_the_root() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        create_dir(at("b")).expect("made");
        write(at("b/file"), "x").expect("written");
        symlink("/b/../b", at("a")).expect("linked");
        let mut stops = Vec::new();
        let end = walk(root.path(), Path::new("/a/file"), |stop, path, _| {
            let name = path.strip_prefix(root.path()).expect("below the root");
            stops.push((stop, name.display().to_string()));
            Ok(())
        });
        assert_eq!(end.expect("there"), Path::new("/b/file"));
        let shown = [
            (Stop::Link, "a"),
            (Stop::Folder, "b"),
            (Stop::Folder, "b"),
            (Stop::End, "b/file"),
        ];
        assert_eq!(stops, shown.map(|(stop, name)| (stop, name.to_owned())));
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = tempfile::tempdir().expect("a folder");
        symlink("round", root.path().join("round")).expect("linked");
        let why = walk(root.path(), Path::new("/round"), |_, _, _| Ok(())).err();
        assert_eq!(why.and_then(|it| it.raw_os_error()), Some(libc::ELOOP));
    }
}

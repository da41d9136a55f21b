//! Files that say what netdiag is to do, and where it sends what it knows: a kubeconfig, the agent's.
//! Taken only where nobody but root and whoever calls can have written them, or put others in
//! their place.
use std::{fs::Metadata, io, os::unix::fs::MetadataExt, path::Path};

use nix::sys::statvfs::{FsFlags, Statvfs, fstatvfs, statvfs};

use super::{
    file,
    output_file::is_trusted,
    way::{self, Stop},
};

const STICKY: u32 = 0o1000;

/// The whole file.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let held = file::plain(path)?;
    let meta = held.metadata()?;
    let others = is_writable(&meta) && !is_read_only(fstatvfs(&held));
    judge(path, &meta, others)?;
    way(&std::path::absolute(path)?)?;
    file::whole(&held, most)
}

/// The same as text.
pub fn text(path: &Path, most: usize) -> io::Result<String> {
    file::utf8(read(path, most)?)
}

/// Looks at each folder and link on the way to it.
fn way(path: &Path) -> io::Result<()> {
    let root = Path::new("/");
    folder(root, &root.metadata()?)?;
    let stop = |stop, path: &Path, meta: &Metadata| match stop {
        Stop::Link => judge(path, meta, false),
        Stop::Folder => folder(path, meta),
        // It is open already, whatever stands there now.
        Stop::End => Ok(()),
    };
    way::walk(root, path, stop).map(|_| ())
}

/// In a sticky folder, as /tmp is one, nobody puts anything in the place of another's file.
fn folder(path: &Path, meta: &Metadata) -> io::Result<()> {
    let sticky = meta.mode() & STICKY != 0;
    let others = is_writable(meta) && !sticky && !is_read_only(statvfs(path));
    judge(path, meta, others)
}

/// By others than its owner. A group that is the owner's alone (its number is his, as useradd(8)
/// makes them), or root's, is nobody else.
fn is_writable(meta: &Metadata) -> bool {
    let own = meta.gid() == 0 || meta.gid() == meta.uid();
    meta.mode() & 0o002 != 0 || meta.mode() & 0o020 != 0 && !own
}

/// kubelet makes a ConfigMap's folder for all to write, and mounts it so that nobody can.
fn is_read_only(of: nix::Result<Statvfs>) -> bool {
    of.is_ok_and(|of| of.flags().contains(FsFlags::ST_RDONLY))
}

fn judge(path: &Path, meta: &Metadata, others_write: bool) -> io::Result<()> {
    let why = match (is_trusted(meta.uid()), others_write) {
        (true, false) => return Ok(()),
        (false, _) => "belongs neither to root nor to you",
        (true, true) => "can be written by others than its owner (chmod go-w)",
    };
    let why = format!("{} {why}", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{Permissions, create_dir, set_permissions, write},
        os::unix::fs::{PermissionsExt, chown, symlink},
        path::PathBuf,
    };

    use super::*;

    /// nobody
    const OTHER: u32 = 65534;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().expect("a folder"));
            create_dir(place.at("in")).expect("made");
            write(place.at("in/config"), "x").expect("written");
            place.mode("in", 0o755).mode("in/config", 0o600)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn mode(self, name: &str, mode: u32) -> Self {
            set_permissions(self.at(name), Permissions::from_mode(mode)).expect("set");
            self
        }

        fn owner(self, name: &str, uid: u32, gid: u32) -> Self {
            chown(self.at(name), Some(uid), Some(gid)).expect("given away");
            self
        }

        fn why(&self, name: &str) -> String {
            match text(&self.at(name), 9) {
                Ok(read) => read,
                Err(why) => {
                    let why = why.to_string();
                    why.replace(&format!("{}/", self.0.path().display()), "")
                }
            }
        }
    }

    #[test]
    fn what_others_can_write_is_refused() {
        assert_eq!(Place::new().why("in/config"), "x");
        let by_others = Place::new().mode("in/config", 0o602);
        let why = "in/config can be written by others than its owner (chmod go-w)";
        assert_eq!(by_others.why("in/config"), why);
        let folder = Place::new().mode("in", 0o777);
        assert_eq!(
            folder.why("in/config"),
            "in can be written by others than its owner (chmod go-w)"
        );
        assert_eq!(
            Place::new().mode("in", 0o1777).why("in/config"),
            "x",
            "as /tmp is"
        );
        assert!(Place::new().why("none").contains("No such file"));
    }

    #[test]
    fn whose_it_is_counts_and_whose_group() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let own = Place::new().mode("in/config", 0o660);
        assert_eq!(own.why("in/config"), "x", "root's group");
        let of_group = Place::new()
            .mode("in/config", 0o660)
            .owner("in/config", 0, OTHER);
        let why = "in/config can be written by others than its owner (chmod go-w)";
        assert_eq!(of_group.why("in/config"), why);
        let of_other = Place::new().owner("in/config", OTHER, OTHER);
        let why = "in/config belongs neither to root nor to you";
        assert_eq!(of_other.why("in/config"), why);
        let in_others = Place::new().owner("in", OTHER, OTHER);
        assert_eq!(
            in_others.why("in/config"),
            "in belongs neither to root nor to you"
        );
        let sticky = Place::new().owner("in", OTHER, OTHER).mode("in", 0o1777);
        assert_eq!(
            sticky.why("in/config"),
            "in belongs neither to root nor to you"
        );
    }

    #[test]
    fn links_lead_where_only_the_trusted_led_them() {
        let place = Place::new();
        // As kubelet mounts a Secret's files.
        symlink("in", place.at("..data")).expect("linked");
        symlink("..data/config", place.at("config")).expect("linked");
        assert_eq!(place.why("config"), "x");
        let place = place.mode("in", 0o777);
        assert_eq!(
            place.why("config"),
            "in can be written by others than its owner (chmod go-w)"
        );
        let place = place.mode("in", 0o755);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(place.at("config"), Some(OTHER), None).expect("given away");
            assert_eq!(
                place.why("config"),
                "config belongs neither to root nor to you"
            );
        }
        symlink("round", place.at("round")).expect("linked");
        assert!(place.why("round").contains("symbolic links"));
        let by_kernel = PathBuf::from(format!(
            "/proc/self/root{}",
            place.at("in/config").display()
        ));
        assert_eq!(text(&by_kernel, 9).expect("read"), "x");
    }
}

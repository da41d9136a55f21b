//! Debian's programs for another processor, unpacked and never installed: what a VM that has it is
//! given in place of this machine's.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    arch::Arch,
    archive::Apt,
    cpio::{self, Mode},
    fetch, kernels,
};
use crate::{paths, sh::say};

/// What scenarios run, and what their scripts take for granted.
const PACKAGES: [&str; 23] = [
    "bash",
    "conntrack",
    "containernetworking-plugins",
    "coreutils",
    "dash",
    "dnsmasq-base",
    "etcd-client",
    "etcd-server",
    "ethtool",
    "findutils",
    "grep",
    "iproute2",
    "iptables",
    "ipset",
    "ipvsadm",
    "libc-bin",
    "mawk",
    "nftables",
    "openssl",
    "procps",
    "sed",
    "util-linux",
    "wireguard-tools",
];
/// The packages that are unpacked are not asked which of them is which: update-alternatives(1).
const CHOSEN: [(&str, &str); 7] = [
    ("usr/bin/awk", "mawk"),
    ("usr/sbin/iptables", "iptables-nft"),
    ("usr/sbin/iptables-restore", "iptables-nft-restore"),
    ("usr/sbin/iptables-save", "iptables-nft-save"),
    ("usr/sbin/ip6tables", "ip6tables-nft"),
    ("usr/sbin/ip6tables-restore", "ip6tables-nft-restore"),
    ("usr/sbin/ip6tables-save", "ip6tables-nft-save"),
];
/// Of what they hold, and what is weight in there.
const FOLDERS: [&str; 7] = [
    "bin", "sbin", "usr/bin", "usr/sbin", "lib", "usr/lib", "etc/ssl",
];
const WEIGHT: [&str; 4] = ["gconv", "perl", "perl-base", "perl5"];

/// The folder that they are unpacked in; from the cache when it was completed once.
pub fn unpacked(arch: Arch) -> Result<PathBuf> {
    let dir = paths::target().join(format!("vm/programs-{}", arch.name()));
    let root = dir.join("root");
    if root.is_dir() {
        return Ok(root);
    }
    say(&format!(
        "fetching Debian's programs for {} into {}",
        arch.debian(),
        dir.display()
    ));
    let apt = Apt::new(kernels::named(kernels::TESTED)?, arch, &dir)?;
    let partial = dir.join("root.partial");
    let _ = fs::remove_dir_all(&partial);
    for deb in apt.closure(&PACKAGES)? {
        fetch::unpack(&deb, &partial)?;
    }
    fs::rename(&partial, &root)?;
    Ok(root)
}

/// Puts them where they belong.
pub fn put(root: &Path, archive: &mut cpio::Archive) -> Result<()> {
    for folder in FOLDERS {
        walk(root, Path::new(folder), archive)?;
    }
    for (link, to) in CHOSEN {
        archive.put(link, Mode::Symlink, to.as_bytes())?;
    }
    Ok(())
}

fn walk(root: &Path, folder: &Path, archive: &mut cpio::Archive) -> Result<()> {
    let there = root.join(folder);
    let entries = there
        .read_dir()
        .with_context(|| there.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let inside = folder.join(entry.file_name());
        let name = inside.to_string_lossy();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let weighs = WEIGHT.iter().any(|it| entry.file_name() == *it);
            if !weighs {
                walk(root, &inside, archive)?;
            }
        } else if kind.is_symlink() {
            let to = fs::read_link(entry.path())?;
            // In a merged /usr it would lead to itself.
            if !to.is_absolute() || merged(&to) != merged(&inside) {
                archive.put(&name, Mode::Symlink, to.to_string_lossy().as_bytes())?;
            }
        } else {
            let bytes = fs::read(entry.path()).with_context(|| name.to_string())?;
            archive.put(&name, Mode::Program, &bytes)?;
        }
    }
    Ok(())
}

/// Where it is once /bin and /sbin are links (xtask/src/vm/initramfs.rs).
fn merged(path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    match path.starts_with("bin") || path.starts_with("sbin") {
        true => Path::new("usr").join(path),
        false => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_that_a_merged_usr_turns_on_itself_is_left_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder)).expect("made");
        }
        fs::create_dir(root.join("usr/lib/gconv")).expect("made");
        for file in ["bin/ip", "usr/lib/gconv/weight.so"] {
            fs::write(root.join(file), "").expect("written");
        }
        symlink("/bin/ip", root.join("sbin/ip")).expect("linked");
        symlink("/lib/x", root.join("usr/lib/x")).expect("linked");
        symlink("/bin/loop", root.join("usr/bin/loop")).expect("linked");
        let mut archive = cpio::Archive::default();
        put(root, &mut archive).expect("put");
        let bytes = archive.finish().expect("an archive");
        let has = |name: &str| bytes.windows(name.len()).any(|it| it == name.as_bytes());
        assert!(has("sbin/ip\0") && has("usr/lib/x\0"));
        assert!(!has("usr/bin/loop\0"));
        assert!(!has("weight.so\0"));
    }
}

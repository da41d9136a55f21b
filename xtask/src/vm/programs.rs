//! Programs of this machine that the lab's scenarios run, carried into the VM as they are, with
//! the shared libraries that they take. One that is not here is left out, and its scenarios are
//! skipped by name.
use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::sh;

/// Where they may be, beside PATH; a scenario looks there too.
const FOLDERS: &str = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/lib/cni:/opt/cni/bin";

/// What scenarios need by name, and what their scripts take for granted.
const WANTED: &[&str] = &[
    "ip bridge tc ss nft nsenter conntrack ethtool ipset ipvsadm wg dnsmasq etcd etcdctl openssl host-local",
    "iptables-legacy-restore ip6tables-legacy-restore iptables-legacy-save ip6tables-legacy-save",
    "iptables-nft-restore ip6tables-nft-restore iptables-nft-save ip6tables-nft-save",
    "iptables-save ip6tables-save iptables ip6tables",
    "sh bash awk cat chmod cp cut date dmesg env find getent grep head kill ln ls mkdir mount mv ps rm",
    "sed seq sleep sort stat sysctl tail timeout touch tr umount uniq wc xargs",
];
/// What programs open by themselves: xtables' matches and targets, and openssl's settings.
const OPENED: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/xtables",
    "/usr/lib/aarch64-linux-gnu/xtables",
    "/usr/lib64/xtables",
    "/usr/lib/ssl/openssl.cnf",
    "/etc/ssl/openssl.cnf",
];

/// Every file that goes along with netdiag, by its path on either machine.
pub fn files(netdiag: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::from_iter(libraries(netdiag).unwrap_or_default());
    for name in WANTED.iter().flat_map(|it| it.split(' ')) {
        if let Some(program) = find(name)
            && let Some(libraries) = libraries(&program)
        {
            files.extend(libraries);
            files.insert(program);
        }
    }
    for opened in OPENED.iter().map(Path::new) {
        match opened.read_dir() {
            Ok(inside) => files.extend(inside.flatten().map(|it| it.path())),
            Err(_) if opened.is_file() => _ = files.insert(opened.to_owned()),
            Err(_) => {}
        }
    }
    files
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    let folders = FOLDERS.split(':').chain(path.split(':'));
    let mut files = folders.map(|folder| Path::new(folder).join(name));
    files.find(|file| file.is_file())
}

/// What the loader would load beside it; nothing for one that cannot run here either.
fn libraries(program: &Path) -> Option<Vec<PathBuf>> {
    let said = sh::output(Command::new("ldd").arg(program)).ok()?;
    if !said.status.success() {
        // A static program, or a script: it goes alone.
        return Some(Vec::new());
    }
    loaded(&String::from_utf8_lossy(&said.stdout))
}

/// `libm.so.6 => /lib/libm.so.6 (0x…)`, the loader without the arrow; the vDSO has no path.
fn loaded(said: &str) -> Option<Vec<PathBuf>> {
    if said.contains("not found") {
        return None;
    }
    let words = said.lines().flat_map(str::split_whitespace);
    Some(
        words
            .filter(|it| it.starts_with('/'))
            .map(PathBuf::from)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x1)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x2)\n";
        let files = ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(loaded(said).expect("all there"), files);
        assert_eq!(loaded("\tlibx.so => not found\n"), None);
    }
}

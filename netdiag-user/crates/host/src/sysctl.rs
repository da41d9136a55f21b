//! Sysctls of this namespace, read under the root path.
use std::path::Path;

use crate::sys::file::{self, SMALL};

/// What the causes ask for: names as sysctl(8) writes them, `*` for each interface.
const WANTED: [&str; 9] = [
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.ipv4.conf.*.rp_filter",
    "net.ipv4.conf.*.forwarding",
    "net.ipv4.conf.*.proxy_arp",
    "net.ipv6.conf.*.accept_ra",
    "net.ipv4.tcp_mtu_probing",
];

/// Values of the sysctls that are there.
pub fn read(root: &Path, interfaces: &[String]) -> Vec<(String, String)> {
    let mut values = Vec::new();
    for wanted in WANTED {
        match wanted.split_once(".*.") {
            None => values.extend(one(root, &wanted.split('.').collect::<Vec<_>>())),
            Some((before, after)) => {
                let names = interfaces
                    .iter()
                    .map(String::as_str)
                    .chain(["all", "default"]);
                for name in names {
                    let mut parts: Vec<_> = before.split('.').collect();
                    parts.push(name);
                    parts.push(after);
                    values.extend(one(root, &parts));
                }
            }
        }
    }
    values
}

/// An interface's name may hold a dot (`eth0.100`), which sysctl(8) writes as a slash.
fn one(root: &Path, parts: &[&str]) -> Option<(String, String)> {
    let path = parts
        .iter()
        .fold(root.join("proc/sys"), |path, part| path.join(part));
    let value = file::kernel(&path, SMALL).ok()?;
    let name: Vec<_> = parts.iter().map(|p| p.replace('.', "/")).collect();
    Some((name.join("."), value.trim().to_owned()))
}

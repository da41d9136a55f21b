//! The modules that a node's network takes, decompressed and in load order.
//!
//! Packages carry no modules.dep, so dependencies are read from the modules themselves.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    setup::apt,
    sh::{self, which},
};

/// What is built in or not there is left out: `netdiag doctor` in the VM tells.
const WANTED: &[&str] = &[
    // Asked for by name at run time, which modules cannot say (softdep).
    "crc32c_generic crc32c_intel",
    // Links; those that make interfaces of their own too, as nodes have them (tunl0, gre0).
    "bridge br_netfilter vxlan ipip ip_gre veth netkit 8021q macvlan ipvlan bonding wireguard vrf tun",
    // Queueing and its programs.
    "sch_ingress cls_bpf act_bpf sch_netem sch_tbf sch_fq sch_fq_codel",
    // nftables and what a rule may use.
    "nf_tables nft_ct nft_counter nft_log nft_limit nft_nat nft_masq nft_redir nft_chain_nat",
    "nft_numgen nft_hash",
    "nft_reject nft_reject_inet nft_reject_ipv4 nft_reject_ipv6 nft_reject_netdev",
    "nft_fib nft_fib_inet nft_fib_ipv4 nft_fib_ipv6 nft_compat nft_meta_bridge nft_objref",
    "nf_conntrack nf_conntrack_netlink nf_nat nf_log_syslog nfnetlink_log nf_tables_bridge",
    // iptables.
    "ip_tables iptable_filter iptable_nat iptable_raw iptable_mangle",
    "ip6_tables ip6table_filter ip6table_nat ip6table_raw ip6table_mangle",
    "xt_conntrack xt_comment xt_mark xt_MASQUERADE xt_nat xt_REDIRECT xt_LOG xt_TCPMSS xt_limit",
    "xt_statistic xt_addrtype xt_multiport xt_tcpudp xt_set ip_set ipt_REJECT ip6t_REJECT",
    "xt_physdev xt_connmark xt_owner",
    // kube-proxy's other mode.
    "ip_vs ip_vs_rr xt_ipvs dummy",
    // What ss(8) and a capture ask.
    "inet_diag tcp_diag udp_diag unix_diag netlink_diag af_packet_diag",
    "drop_monitor",
];

pub fn in_load_order(tree: &Path, cache: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(cache)?;
    let mut files = BTreeMap::new();
    walk(tree, &mut files)?;
    if files.is_empty() {
        bail!("no modules under {}", tree.display());
    }
    let mut loader = Loader {
        files,
        cache,
        order: Vec::new(),
    };
    for name in WANTED.iter().flat_map(|it| it.split(' ')) {
        loader.add(name)?;
    }
    Ok(loader.order)
}

/// Modules by name, in which the kernel makes no difference between - and _.
fn walk(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else if let Some((stem, _)) = name.split_once(".ko") {
            files.insert(stem.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

struct Loader<'a> {
    files: BTreeMap<String, PathBuf>,
    cache: &'a Path,
    order: Vec<PathBuf>,
}

impl Loader<'_> {
    fn add(&mut self, name: &str) -> Result<()> {
        let plain = self.cache.join(format!("{name}.ko"));
        if self.order.contains(&plain) {
            return Ok(());
        }
        let Some(packed) = self.files.get(name) else {
            return Ok(());
        };
        if !plain.is_file() {
            let bytes = decompress(packed)?;
            fs::write(&plain, bytes).with_context(|| plain.display().to_string())?;
        }
        for other in depends(&fs::read(&plain)?) {
            self.add(&other.replace('-', "_"))?;
        }
        self.order.push(plain);
        Ok(())
    }
}

fn decompress(file: &Path) -> Result<Vec<u8>> {
    let tool = match file.extension().and_then(|it| it.to_str()) {
        Some("xz") => ("xz", "xz-utils"),
        Some("zst") => ("zstd", "zstd"),
        Some("gz") => ("gzip", "gzip"),
        _ => return Ok(fs::read(file)?),
    };
    let (program, package) = tool;
    if which(program).is_none() {
        apt::install(&[package], "the kernel's modules are compressed with it")?;
    }
    let output = sh::output(Command::new(program).arg("-dc").arg(file))?;
    if !output.status.success() {
        bail!("{program} could not decompress {}", file.display());
    }
    Ok(output.stdout)
}

/// `depends=a,b` of the module's .modinfo, whose entries are NUL-terminated strings.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|it| it == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let names = String::from_utf8_lossy(value).into_owned();
    names
        .split(',')
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn reads_depends() {
        assert_eq!(
            depends(b"\x7fELF\0license=GPL\0depends=llc,stp\0x"),
            ["llc", "stp"]
        );
        assert!(depends(b"\x7fELF\0depends=\0retpoline=Y\0").is_empty());
    }
}

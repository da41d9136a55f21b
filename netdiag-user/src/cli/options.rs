//! Options that several subcommands share.
use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, ValueEnum};

use crate::{
    host::gather::{Places, etcd::Named},
    model::filter::Filter,
    pods::Source,
};

#[derive(Args, Debug, Clone, Default)]
pub struct Global {
    /// More of netdiag's own messages on stderr: -v shows the verifier's log, -vv those of the
    /// programs in the kernel.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// No messages on stderr but errors, no countdown.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// No colour; the environment variable NO_COLOR does the same.
    #[arg(long, global = true)]
    pub no_color: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with wide terminals: nothing is shortened.
    Wide,
    /// One document at the end.
    Json,
    /// One object an event, flushed as it happens.
    Ndjson,
    Yaml,
}

/// What to watch, and where to look.
#[derive(Args, Debug, Clone)]
pub struct Scope {
    /// Watch these interfaces only (repeatable; * and ? match).
    #[arg(short, long, value_name = "NAME")]
    pub iface: Vec<String>,
    /// Count these addresses only: '[src|dst] host ADDRESS' or '[src|dst] net PREFIX', joined by
    /// 'or'.
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<Filter>,
    #[command(flatten)]
    pub place: Place,
    /// Attach programs that do nothing: what the hooks alone cost.
    #[arg(long, hide = true)]
    pub empty: bool,
}

/// Where to look, and by which names.
#[derive(Args, Debug, Clone)]
pub struct Place {
    /// Where pods' names come from: auto, cni, or a JSON file
    /// [{"namespace":…,"name":…,"addresses":[…],"interface":…}].
    #[arg(long, value_name = "SOURCE", default_value = "auto", value_parser = source)]
    pub pods: Source,
    /// The CNI result cache, where it is not in its usual place.
    #[arg(long, value_name = "DIR")]
    pub cni_dir: Option<PathBuf>,
    /// The node's root, as a container sees it: prefix of /proc, /sys, /var, /etc and /run.
    #[arg(long, value_name = "DIR", default_value = "/", value_parser = root)]
    pub root: PathBuf,
    /// This node's name in the cluster [default: the host's name].
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node_name: Option<String>,
    /// The address by which the cluster knows this node (kubelet's --node-ip).
    #[arg(long, value_name = "ADDRESS")]
    pub node_ip: Vec<std::net::IpAddr>,
    #[command(flatten)]
    pub etcd: Etcd,
}

/// How to reach etcd; found by itself on kubeadm's nodes, and where etcd runs beside netdiag.
#[derive(Args, Debug, Clone, Default)]
pub struct Etcd {
    /// Ask these members of etcd [default: the one on this node, if any].
    #[arg(long, value_name = "URL", num_args = 1.., value_delimiter = ',')]
    pub etcd: Vec<String>,
    /// The CA that signed etcd's certificate.
    #[arg(long, value_name = "FILE")]
    pub etcd_cacert: Option<PathBuf>,
    /// The certificate to show to etcd.
    #[arg(long, value_name = "FILE", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,
}

impl Place {
    /// Where evidence is looked for.
    pub fn places(&self) -> Places {
        let etcd = &self.etcd;
        Places {
            root: self.root.clone(),
            cni_dir: self.cni_dir.clone(),
            etcd: Named {
                endpoints: etcd.etcd.clone(),
                cacert: etcd.etcd_cacert.clone(),
                cert: etcd.etcd_cert.clone(),
                key: etcd.etcd_key.clone(),
            },
        }
    }
}

/// What to keep of a trace beside its output.
#[derive(Args, Debug, Clone, Default)]
pub struct Keep {
    /// Write everything that is seen to this file, for `netdiag replay`.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Write samples of dropped, oversize and retransmitted packets to this file (pcapng), each
    /// with what is known of it as its comment.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

fn source(text: &str) -> Result<Source, String> {
    text.parse()
}

/// A node's root: a folder with a /proc in it.
fn root(text: &str) -> Result<PathBuf, String> {
    let root = PathBuf::from(text);
    match root.join("proc").is_dir() {
        true => Ok(root),
        false => Err(format!("there is no {text}/proc: it is no node's root")),
    }
}

/// A duration as people type it: `15s`, `2m`, `1.5h`, or bare seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is no duration like 15s, 2m or 1h");
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let seconds = number * factor;
    // A year is longer than any run; the bound keeps the arithmetic in range.
    if !(0.0..=31_536_000.0).contains(&seconds) {
        return Err(bad());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "s", "-1", "1d", "nan", "inf", "1e300"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}

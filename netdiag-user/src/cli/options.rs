//! Options that several subcommands share.
use std::{
    os::unix::fs::MetadataExt,
    path::{Path as FilePath, PathBuf},
    time::Duration,
};

use anyhow::Result;
use clap::{ArgAction, Args};

use super::{Usage, cluster, language::Language, level::Keeping, node_root};
use crate::{
    causes,
    host::{
        cgroups,
        gather::{Places, etcd::EtcdArgs},
    },
    kernel::reading::Reading,
    model::{
        filter::Filter,
        level::Level,
        pod::Origin,
        selection::{Labels, Owned, Path, Selection},
    },
    output::Sink,
    pipeline::asked::Asked,
    pods::{self, Source},
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
    /// The language of verdicts, reports, top and manuals [default: the locale's]. JSON, metrics and
    /// messages on stderr are English.
    #[arg(long, global = true, value_name = "LANG")]
    pub lang: Option<Language>,
}

/// What to watch, and where to look.
#[derive(Args, Debug, Clone)]
pub struct Scope {
    /// Watch these interfaces only (repeatable; * and ? match).
    #[arg(short, long, value_name = "NAME")]
    pub iface: Vec<String>,
    #[command(flatten)]
    pub only: SelectionArgs,
    #[command(flatten)]
    pub place: NodeRootArgs,
    /// How much to keep of what passes the links: light (what opens and ends connections, DNS, ICMP,
    /// oversize packets), flows (every flow at every hop), full (TCP's sequences at every hop, too)
    /// [default: full; of run: flows, of agent: light].
    #[arg(long, value_name = "LEVEL", env = "NETDIAG_LEVEL")]
    pub level: Option<Level>,
    /// Keep less when what netdiag costs is more than this of one CPU, as 2%, and more again when
    /// it is little.
    #[arg(long, value_name = "SHARE", value_parser = share, env = "NETDIAG_MAX_CPU")]
    pub max_cpu: Option<f64>,
    /// How programs at tracepoints read the kernel's structures: auto (by plain loads where this kernel
    /// is known to survive them on a stale pointer, which `netdiag doctor` tells), or helper (always by
    /// bpf_probe_read_kernel, which costs more).
    #[arg(long, value_name = "WAY", env = "NETDIAG_READ")]
    pub read: Option<Reading>,
    /// Attach programs that do nothing: what the hooks alone cost.
    #[arg(long, hide = true)]
    pub empty: bool,
    /// Bytes of the ring that records come through, a power of two: tests fill it.
    #[arg(long, hide = true, value_name = "BYTES")]
    pub ring: Option<u32>,
}

/// Whose packets, and which. Each kind of condition must hold; of the same kind, given several
/// times, any one is enough.
#[derive(Args, Debug, Clone, Default)]
pub struct SelectionArgs {
    /// Only packets of these namespaces' pods (repeatable; * and ? match).
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Vec<String>,
    /// Only packets of these pods, those that come later too (repeatable; * and ? match).
    #[arg(short, long, value_name = "[NAMESPACE/]NAME")]
    pub pod: Vec<Path>,
    /// Only packets of these Services and of the pods behind them (repeatable; * and ? match).
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub service: Vec<Path>,
    /// Only packets of pods with these labels, as kubectl takes them: app=cart,tier!=db.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Vec<Labels>,
    /// Only packets of pods that this made: deployment/cart (repeatable; * and ? match).
    #[arg(long, value_name = "[KIND/]NAME")]
    pub owner: Vec<Owned>,
    /// Count these packets only, in pcap's words: 'host 10.0.0.1 and tcp port 80 or 443'. Known are
    /// [src|dst] host, net, port and portrange, tcp, udp, sctp, icmp, icmp6, ip, ip6, proto N, and,
    /// or, not, ( ). It speaks of the innermost packet where a tunnel carries one.
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<Filter>,
}

impl SelectionArgs {
    /// With the links that are to be watched.
    pub fn asked(&self, links: &[String], causes: &Causes) -> Asked {
        Asked {
            filter: self.filter.clone(),
            pods: Selection {
                namespaces: self.namespace.clone(),
                pods: self.pod.clone(),
                services: self.service.clone(),
                labels: self.selector.clone(),
                owners: self.owner.clone(),
            },
            links: links.to_vec(),
            causes: causes.cause.clone(),
        }
    }
}

impl Scope {
    pub fn keeping(&self, unless_asked: Level) -> Keeping {
        Keeping::new(self.level.unwrap_or(unless_asked), self.max_cpu)
    }
}

/// A part of one processor, in percent: "2%" or "2".
pub fn share(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim_end_matches('%').parse().unwrap_or(0.0);
    if number > 0.0 && number <= 100.0 {
        return Ok(number);
    }
    Err(format!("'{text}' is no share of a CPU: 2% is one"))
}

fn namespace(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, _)) => Err(format!(
            "'{text}' is no namespace: -p {text} is a pod, -n {namespace} its namespace"
        )),
        None if text.is_empty() => Err("no namespace has an empty name".into()),
        None => Ok(text.to_owned()),
    }
}

/// Which causes count.
#[derive(Args, Debug, Clone, Default)]
pub struct Causes {
    /// Judge by these causes only (repeatable; `netdiag explain` lists them).
    #[arg(long, value_name = "ID", value_parser = cause)]
    pub cause: Vec<String>,
}

fn cause(text: &str) -> Result<String, String> {
    let id = text.to_ascii_lowercase();
    if let Some(known) = causes::find(&id) {
        return Ok(known.id.to_owned());
    }
    Err(format!("'{text}' is no cause; {}", like(&id)))
}

/// Causes that share words with what was typed.
fn like(id: &str) -> String {
    let near = near(id, causes::ALL.iter().map(|it| it.id));
    near.unwrap_or_else(|| "`netdiag explain` lists them".into())
}

/// The names that share most words with what was typed.
pub fn near<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let typed = typed.to_ascii_lowercase();
    let words: Vec<&str> = typed.split(['-', '_']).filter(|w| w.len() > 2).collect();
    let shared = |name: &str| {
        let name = name.to_ascii_lowercase();
        words.iter().filter(|it| name.contains(**it)).count()
    };
    let mut near: Vec<&str> = names.filter(|it| shared(it) > 0).collect();
    near.sort_by_key(|it| std::cmp::Reverse(shared(it)));
    near.truncate(3);
    (!near.is_empty()).then(|| format!("like it: {}", near.join(", ")))
}

/// Where to look, and by which names.
#[derive(Args, Debug, Clone)]
pub struct NodeRootArgs {
    /// Where pods' names come from: auto (all that is there), kubernetes, cri, cni, cgroup, none, or a JSON
    /// file [{"namespace":…,"name":…,"addresses":[…],"interface":…}].
    #[arg(long, value_name = "SOURCE", default_value = "auto", value_parser = source)]
    pub pods: Source,
    /// The CNI result cache, where it is not in its usual place.
    #[arg(long, value_name = "DIR")]
    pub cni_dir: Option<PathBuf>,
    /// The node's root, as a container sees it: prefix of /proc, /sys, /var, /etc and /run [default:
    /// /host in a container where the node's root is mounted there, else /].
    #[arg(long, value_name = "DIR", default_value = node_root::AUTO, hide_default_value = true)]
    #[arg(value_parser = node_root::parse)]
    pub root: PathBuf,
    /// The cgroup that this node's pods are below, where several nodes share a machine and its
    /// processes, or kubelet has a --cgroup-root (kind's /kubelet is known).
    #[arg(long, value_name = "PATH")]
    pub cgroup_root: Option<String>,
    /// This node's name in the cluster [default: the host's name].
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node_name: Option<String>,
    /// The address by which the cluster knows this node (kubelet's --node-ip).
    #[arg(long, value_name = "ADDRESS")]
    pub node_ip: Vec<std::net::IpAddr>,
    /// How to reach the Kubernetes API [default: what $KUBECONFIG names, else the service account
    /// of the pod that netdiag runs in].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Let root run the program that the kubeconfig names to log in.
    #[arg(long)]
    pub allow_exec_plugin: bool,
    /// The container runtime's CRI socket [default: the first of the usual ones that is there].
    #[arg(long, value_name = "PATH")]
    pub cri_socket: Option<PathBuf>,
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

impl NodeRootArgs {
    /// Before anything is looked for by its cgroup.
    pub fn know_cgroups(&self) {
        if let Some(named) = &self.cgroup_root {
            cgroups::pods_are_below(named);
        }
    }

    /// Where pods' names are looked for.
    pub fn pods(&self, api: &cluster::Source) -> pods::Options {
        pods::Options {
            source: self.pods.clone(),
            root: self.root.clone(),
            cni_dir: self.cni_dir.clone(),
            cgroup_root: self.cgroup_root.clone(),
            cri_socket: self.cri_socket.clone(),
            node_name: self.node_name.clone(),
            api: Some(api.pictures()),
        }
    }

    /// Where the Kubernetes API is, where it is to be asked at all.
    pub fn api(&self) -> Option<cluster::Place<'_>> {
        let named = self.kubeconfig.is_some();
        let wanted = [Source::Auto, Source::One(Origin::Kubernetes)].contains(&self.pods);
        (named || wanted).then_some(cluster::Place {
            kubeconfig: self.kubeconfig.as_deref(),
            node_name: self.node_name.as_deref(),
            allow_exec_plugin: self.allow_exec_plugin,
        })
    }

    /// Where evidence is looked for.
    pub fn places(&self) -> Places {
        let etcd = &self.etcd;
        Places {
            root: self.root.clone(),
            cni_dir: self.cni_dir.clone(),
            cri_socket: self.cri_socket.clone(),
            etcd: EtcdArgs {
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
pub struct RecordArgs {
    /// Write everything that is seen to this file, for `netdiag replay`. Files that netdiag makes
    /// are readable by their owner alone; it follows no symbolic link there and writes to nothing
    /// of somebody else's.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Write samples of dropped, oversize and retransmitted packets to this file (pcapng), each
    /// with what is known of it as its comment.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Keep so many bytes of each sample, its payload too [default: its headers alone, those of
    /// tunnels' inner packets and of packets that ICMP quotes with them].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(64..))]
    pub snaplen: Option<u16>,
}

impl RecordArgs {
    /// A file that is to be two of all that is written.
    pub fn clash<'a>(&'a self, output: Option<&'a FilePath>) -> Option<&'a FilePath> {
        let files = [self.record.as_deref(), self.pcap.as_deref(), output];
        let files: Vec<&FilePath> = files.into_iter().flatten().collect();
        let again = |(at, file): (usize, &&'a FilePath)| {
            let mut before = files[..at].iter();
            before.any(|other| are_one(file, other)).then_some(*file)
        };
        files.iter().enumerate().find_map(again)
    }

    /// Opens what is written beside them, unless two of all would be one file.
    pub fn sink(&self, output: Option<&FilePath>) -> Result<Sink> {
        if let Some(file) = self.clash(output) {
            let why = format!(
                "two outputs are one file, {}, and one would empty the other: name another",
                file.display()
            );
            return Err(Usage(why).into());
        }
        Sink::open(output)
    }
}

/// By whatever name; what is no plain file (a pipe, /dev/null) takes any number.
fn are_one(one: &FilePath, other: &FilePath) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => {
            one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
        }
        (Err(_), Err(_)) => std::path::absolute(one).ok() == std::path::absolute(other).ok(),
        _ => false,
    }
}

fn source(text: &str) -> Result<Source, String> {
    text.parse()
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
    let time = Duration::from_secs_f64(seconds);
    match time.is_zero() {
        true => Err(format!("'{text}' is no time at all: nothing would be seen")),
        false => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for bad in [
            "", "s", "-1", "1d", "nan", "inf", "1e300", "0", "0s", "0.0m", "-0",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}

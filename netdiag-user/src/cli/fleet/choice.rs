//! Which nodes, and how they are reached.
use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    cli::{Usage, options::duration},
    fleet::{Choice, Remote},
    manifests::{Profile, Seccomp},
    model::path::{Wanted, Who},
};

#[derive(Args, Debug, Clone)]
pub struct Where {
    /// These nodes (repeatable, or with commas).
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub nodes: Vec<String>,
    /// Nodes with these labels, as kubectl takes them: node-role.kubernetes.io/worker=.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// The nodes of this pod, or of all pods of this workload (repeatable).
    #[arg(short, long, value_name = "[NAMESPACE/]NAME")]
    pub pod: Vec<String>,
    /// All nodes of the cluster.
    #[arg(long)]
    pub all_nodes: bool,
    /// Ask so many nodes at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 16)]
    pub most: usize,
    /// These hosts, by ssh, where there is no API (repeatable, or with commas).
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = host)]
    #[arg(conflicts_with_all = ["nodes", "selector", "pod", "all_nodes", "kubeconfig", "context"])]
    pub ssh: Vec<String>,
    /// How ssh is called.
    #[arg(long, value_name = "COMMAND", default_value = "ssh")]
    pub ssh_command: String,
    /// How netdiag is called on a host: 'sudo -n netdiag'.
    #[arg(long, value_name = "COMMAND", default_value = "netdiag")]
    pub ssh_netdiag: String,
    /// The namespace of pods that are named without one [default: the kubeconfig's].
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// How to reach the Kubernetes API [default: what $KUBECONFIG names, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Let root run the program that the kubeconfig names to log in.
    #[arg(long)]
    pub allow_exec_plugin: bool,
    /// The namespace that agents run in.
    #[arg(long, value_name = "NAMESPACE", default_value = "netdiag")]
    pub agents_in: String,
    /// The namespace for pods on nodes without an agent; it must allow privileged ones
    /// (pod-security.kubernetes.io/enforce), and whoever may exec there is root on the nodes meanwhile
    /// [default: the one of --agents-in].
    #[arg(long, value_name = "NAMESPACE")]
    pub run_in: Option<String>,
    /// Their image [default: that of the agents, where there are any].
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// What they may do: minimal (BPF, PERFMON, NET_ADMIN) or full, which looks into pods too.
    #[arg(long, value_name = "PROFILE", default_value = "full")]
    pub profile: Profile,
    /// Their seccomp profile: runtime-default, or localhost/FILE of `netdiag manifests seccomp`.
    #[arg(long, value_name = "PROFILE", default_value_t)]
    pub seccomp_profile: Seccomp,
    /// How long they may take to run.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub start_within: Duration,
}

impl Where {
    /// Nothing says which nodes.
    pub fn is_silent(&self) -> bool {
        let named = !self.nodes.is_empty() || !self.pod.is_empty() || !self.ssh.is_empty();
        !named && self.selector.is_none() && !self.all_nodes
    }

    /// Where nothing says which nodes, those of the ends of a way are meant.
    pub fn choice(&self, namespace: &str, ends: &[Wanted]) -> Choice {
        let own = self.namespace.as_deref().unwrap_or(namespace);
        let ends = match self.is_silent() {
            true => ends.iter().map(|end| readings(end, own)).collect(),
            false => Vec::new(),
        };
        let pods = self.pod.iter().map(|pod| match pod.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (own.to_owned(), pod.clone()),
        });
        Choice {
            names: self.nodes.clone(),
            selector: self.selector.clone(),
            pods: pods.collect(),
            ends,
            all: self.all_nodes,
        }
    }

    pub fn remote(&self) -> Result<Remote, Usage> {
        let words = |what: &str, text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            match words.is_empty() {
                true => Err(Usage(format!("{what} is no command"))),
                false => Ok(words),
            }
        };
        Ok(Remote {
            ssh: words("--ssh-command", &self.ssh_command)?,
            netdiag: words("--ssh-netdiag", &self.ssh_netdiag)?,
        })
    }

    /// Hosts by the names of their recordings.
    pub fn hosts(&self) -> Result<Vec<(String, String)>, Usage> {
        let mut hosts: Vec<(String, String)> = Vec::new();
        for host in &self.ssh {
            // The user is not part of the name.
            let name = host.rsplit('@').next().unwrap_or_default().to_owned();
            match hosts.iter().find(|(known, _)| *known == name) {
                None if name.is_empty() => return Err(Usage(format!("'{host}' is no host"))),
                None => hosts.push((name, host.clone())),
                Some((_, known)) if known == host => {}
                Some((_, known)) => {
                    return Err(Usage(format!("{known} and {host} are the same host")));
                }
            }
        }
        Ok(hosts)
    }

    /// Too many are a mistake more often than a wish.
    pub fn bounded(&self, nodes: usize) -> Result<(), Usage> {
        match nodes > self.most {
            false => Ok(()),
            true => Err(Usage(format!(
                "that are {nodes} nodes: choose fewer, or raise --most"
            ))),
        }
    }
}

/// The pods, or workloads, that an end may mean.
fn readings(end: &Wanted, namespace: &str) -> Vec<(String, String)> {
    let Who::Named(names) = &end.who else {
        return Vec::new();
    };
    let no_pods = |kind: &&str| ["service", "node"].contains(kind);
    let pods = names
        .iter()
        .filter(|it| !it.kind.as_ref().is_some_and(no_pods));
    let named = pods.map(|it| {
        let own = it.namespace.as_deref().unwrap_or(namespace);
        (own.to_owned(), it.name.clone())
    });
    named.collect()
}

/// What ssh takes as a host, and for nothing else.
fn host(text: &str) -> Result<String, String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    match text.is_empty() || text.starts_with('-') || text.chars().any(odd) {
        true => Err(format!("'{text}' is no host")),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_all_that_its_name_may_mean() {
        let of = |text: &str| readings(&text.parse().expect(text), "own");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(of("cart:80"), [pair("own", "cart")]);
        assert_eq!(of("shop/cart"), [pair("shop", "cart")]);
        assert_eq!(of("pod/cart"), [pair("pod", "cart"), pair("own", "cart")]);
        assert_eq!(
            of("deploy/cart"),
            [pair("deploy", "cart"), pair("own", "cart")]
        );
        // A Service is behind no pod of its name, and svc may be a namespace.
        assert_eq!(of("svc/cart"), [pair("svc", "cart")]);
        assert_eq!(of("10.0.0.1:80"), []);
    }

    #[test]
    fn no_host_is_an_option() {
        for odd in ["", "-oProxyCommand=x", "a b", "../a", "a\nb"] {
            assert!(host(odd).is_err(), "{odd:?}");
        }
        assert_eq!(host("root@192.0.2.1"), Ok("root@192.0.2.1".into()));
    }
}

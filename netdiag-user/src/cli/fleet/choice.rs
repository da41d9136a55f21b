//! Which nodes, and how they are reached.
use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    cli::{Usage, options::duration},
    fleet::{Choice, Remote},
    manifests::{IMAGE, Profile},
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
    /// (pod-security.kubernetes.io/enforce) [default: the kubeconfig's].
    #[arg(long, value_name = "NAMESPACE")]
    pub run_in: Option<String>,
    /// Their image.
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    pub image: String,
    /// What they may do: minimal (BPF, PERFMON, NET_ADMIN) or full, which looks into pods too.
    #[arg(long, value_name = "PROFILE", default_value = "full")]
    pub profile: Profile,
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

    /// The nodes of these pods are meant.
    pub fn pods_of(&mut self, ends: &[Wanted]) {
        for end in ends {
            let Who::Named(names) = &end.who else {
                continue;
            };
            let pod = names
                .iter()
                .find(|it| it.kind.is_none_or(|kind| kind != "service"));
            if let Some(pod) = pod {
                let namespace = pod.namespace.as_ref();
                let prefix = namespace.map_or_else(String::new, |it| format!("{it}/"));
                self.pod.push(format!("{prefix}{}", pod.name));
            }
        }
    }

    pub fn choice(&self, namespace: &str) -> Choice {
        let own = self.namespace.as_deref().unwrap_or(namespace);
        let pods = self.pod.iter().map(|pod| match pod.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (own.to_owned(), pod.clone()),
        });
        Choice {
            names: self.nodes.clone(),
            selector: self.selector.clone(),
            pods: pods.collect(),
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

    /// Too many are a mistake more often than a wish.
    pub fn bounded(&self, nodes: &[String]) -> Result<(), Usage> {
        match nodes.len() > self.most {
            false => Ok(()),
            true => Err(Usage(format!(
                "that are {} nodes: choose some with --nodes, -l or --pod, or raise --most",
                nodes.len()
            ))),
        }
    }
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
    fn no_host_is_an_option() {
        for odd in ["", "-oProxyCommand=x", "a b", "../a", "a\nb"] {
            assert!(host(odd).is_err(), "{odd:?}");
        }
        assert_eq!(host("root@192.0.2.1"), Ok("root@192.0.2.1".into()));
    }
}

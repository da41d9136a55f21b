//! A stand-in for kubelet: it asks a real container runtime for the sandboxes of pods, again and
//! again until it has them, and takes them away when it ends.
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::cri::Client;
use crate::cri::messages::{LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata};

/// kubelet itself waits ten seconds and more; here nobody wants to.
const PAUSE: Duration = Duration::from_millis(400);

/// What it is to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Orders {
    #[arg(long)]
    pub socket: PathBuf,
    /// Cgroup below which the runtime puts the sandboxes; `{uid}` in it stands for the pod's UID.
    #[arg(long)]
    pub cgroup: String,
    /// Where it notes how often it has gone through all pods.
    #[arg(long)]
    pub rounds: PathBuf,
    /// `NAMESPACE/NAME`.
    pub pods: Vec<String>,
}

struct Pod {
    config: PodSandboxConfig,
    sandbox: Option<String>,
}

impl Orders {
    /// Until SIGTERM.
    pub async fn follow(self) -> Result<()> {
        let mut ended = signal(SignalKind::terminate())?;
        let mut client = Client::open(&self.socket).await?;
        let numbered = self.pods.iter().enumerate();
        let mut pods: Vec<_> = numbered.filter_map(|(n, pod)| self.pod(n, pod)).collect();
        for round in 1.. {
            let all = self.round(&mut client, &mut pods);
            tokio::select! {
                // What is under way would be left behind.
                biased;
                () = all => {}
            }
            std::fs::write(&self.rounds, round.to_string())?;
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = ended.recv() => break,
            }
        }
        for id in pods.into_iter().filter_map(|pod| pod.sandbox) {
            if let Err(error) = client.remove(&id).await {
                log::warn!("{error:#}");
            }
        }
        Ok(())
    }

    fn pod(&self, number: usize, pod: &str) -> Option<Pod> {
        let (namespace, name) = pod.split_once('/')?;
        let uid = uid(number, pod);
        let labels = [("name", name), ("namespace", namespace), ("uid", &uid)];
        let label =
            |(key, value): (&str, &str)| (format!("io.kubernetes.pod.{key}"), value.to_owned());
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                uid: uid.clone(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            labels: labels.map(label).into(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup.replace("{uid}", &uid),
            }),
            ..PodSandboxConfig::default()
        };
        Some(Pod {
            config,
            sandbox: None,
        })
    }

    async fn round(&self, client: &mut Client, pods: &mut [Pod]) {
        for pod in pods.iter_mut().filter(|pod| pod.sandbox.is_none()) {
            match client.run(pod.config.clone()).await {
                Ok(id) => pod.sandbox = Some(id),
                Err(error) => {
                    log::info!("{error:#}");
                    if let Some(of) = &mut pod.config.metadata {
                        of.attempt += 1;
                    }
                }
            }
        }
    }
}

/// The same for the same pod, another for each other one (FNV-1a).
fn uid(number: usize, pod: &str) -> String {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = pod.bytes().fold(0x811c_9dc5, mix);
    format!("{hash:08x}-0000-4000-8000-{number:012}")
}

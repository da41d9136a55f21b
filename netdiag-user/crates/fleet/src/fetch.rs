//! All nodes at once, each into its own file.
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::sync::watch;

use super::{
    Came,
    cluster::{Cluster, InPod},
    exec,
    kept::{Kept, Said},
    ssh::Remote,
    wanted::Wanted,
};

/// Where netdiag is in the images that it is packed into.
const PROGRAM: &str = "/usr/bin/netdiag";

/// A node, and how netdiag is reached on it.
#[derive(Clone, Debug)]
pub struct Source {
    pub node: String,
    pub way: Way,
}

#[derive(Clone, Debug)]
pub enum Way {
    Pod(InPod),
    Ssh(String),
}

/// Where all of them are asked.
pub struct Asking<'a> {
    pub cluster: Option<&'a Cluster>,
    pub remote: &'a Remote,
    pub wanted: &'a Wanted,
    /// For the recordings.
    pub folder: &'a Path,
}

/// Brings a recording of each; those that are under way when it is told to stop end there, and what
/// came of them is kept.
pub async fn fetch(
    asking: &Asking<'_>,
    sources: &[Source],
    stop: &watch::Receiver<bool>,
) -> Vec<Came> {
    let each = sources.iter().map(|it| one(asking, it, stop.clone()));
    join_all(each).await
}

async fn one(asking: &Asking<'_>, source: &Source, mut stop: watch::Receiver<bool>) -> Came {
    let node = source.node.clone();
    let mut kept = Kept::new(&file_of(asking.folder, &node));
    let trouble = tokio::select! {
        trouble = stream(asking, source, &mut kept) => trouble,
        // Whoever could tell it to is gone.
        _ = stop.wait_for(|it| *it) => Some("it was ended by a signal".to_owned()),
    };
    Came {
        node,
        file: kept.file(),
        trouble,
    }
}

async fn stream(asking: &Asking<'_>, source: &Source, to: &mut Kept) -> Option<String> {
    let (wanted, said) = (asking.wanted, Said::of(&source.node));
    match &source.way {
        Way::Pod(at) => {
            let client = asking.cluster?.client.clone();
            let pods: Api<Pod> = Api::namespaced(client, &at.namespace);
            let mut command = vec![PROGRAM.to_owned()];
            command.extend(wanted.command(&source.node));
            exec::run(&pods, at, command, to, said, wanted.limit()).await
        }
        Way::Ssh(host) => {
            // By the name that the user knows it by, whatever it calls itself.
            let (remote, command) = (asking.remote, wanted.command(&source.node));
            remote.run(host, &command, to, said, wanted.limit()).await
        }
    }
}

/// The recording of the node of that name.
fn file_of(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("{node}.ndr"))
}

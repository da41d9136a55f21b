//! What the container runtime, its logs and the CNI's configuration say of pods' networks.
use serde::{Deserialize, Serialize};

/// Everything that a node tells about setting up pods' networks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Runtime {
    /// The runtime's socket, and what it said; nothing where there is none.
    pub cri: Option<(String, Result<Cri, String>)>,
    /// By pod, as far back as logs are read.
    pub setups: Vec<Setups>,
    pub networks: Vec<Network>,
    /// Logs that are there and could not be read, and why.
    pub unread: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cri {
    /// Why the runtime says that pods can have no network, when asked twice. One that nobody ever
    /// asked for a pod needs none.
    pub network_not_ready: Option<String>,
}

/// How often a pod's sandbox was to be set up, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setups {
    pub namespace: String,
    pub name: String,
    /// The log that says so, as the node names it, and a command that shows it.
    pub log: String,
    pub show: String,
    /// Failures since the last success: how many, when the first and the last (ns since 1970).
    pub failures: u32,
    pub first: i64,
    pub last: i64,
    /// What the last of them was for.
    pub message: String,
    /// When it succeeded last.
    pub succeeded: Option<i64>,
}

/// A CNI configuration, as far as it says on whom its addresses depend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub name: String,
    pub file: String,
    /// Kinds of its plugins, and of its IPAM.
    pub plugins: Vec<String>,
    pub ipam: Option<String>,
    /// Where it says that etcd is.
    pub etcd: Vec<String>,
}

impl Runtime {
    /// For the list of what could not be checked.
    pub fn failures(&self) -> impl Iterator<Item = (String, &str)> {
        let cri = self.cri.iter().filter_map(|(socket, said)| {
            let why = said.as_ref().err()?;
            Some((format!("the container runtime at {socket}"), why.as_str()))
        });
        let logs = self.unread.iter();
        cri.chain(logs.map(|(what, why)| (what.clone(), why.as_str())))
    }
}

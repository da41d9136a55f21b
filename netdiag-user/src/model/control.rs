//! What the node's control plane says of itself: etcd, the CNI's daemons and files.
use serde::{Deserialize, Serialize};

/// A member of etcd that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdMember {
    /// `https://127.0.0.1:2379`.
    pub endpoint: String,
    /// What etcdctl(1) needs to be let in, as it is typed.
    pub credentials: Vec<String>,
    pub answer: Result<EtcdStatus, String>,
}

impl EtcdMember {
    /// For the list of what could not be checked.
    pub fn failure(&self) -> Option<(String, &str)> {
        let why = self.answer.as_ref().err()?;
        Some((format!("etcd at {}", self.endpoint), why.as_str()))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdStatus {
    pub version: String,
    /// The store's revision: what compaction is given.
    pub revision: u64,
    /// The backend's file, and what of it is in use, where the member tells (3.4 and newer).
    pub size: u64,
    pub in_use: Option<u64>,
    /// `--quota-backend-bytes`, where its metrics tell.
    pub quota: Option<u64>,
    /// Alarms of the whole cluster: member and kind.
    pub alarms: Vec<(String, String)>,
    /// What GET /health says: false under an alarm.
    pub healthy: Option<bool>,
}

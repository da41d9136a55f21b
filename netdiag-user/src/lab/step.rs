//! A fault as data: one change to a lab that stands.
use anyhow::Result;

use super::cluster::Cluster;
use super::nft::{self, Chain};

#[derive(Clone, Debug)]
pub enum Step {
    /// Installs firewall rules in the namespace.
    Firewall { netns: String, chain: Chain },
    /// Writes sysctls in the namespace, as paths below /proc/sys.
    Sysctl {
        netns: String,
        key: String,
        value: String,
    },
}

impl Step {
    pub fn apply(&self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Firewall { netns, chain } => nft::install(cluster.netns(netns)?, chain),
            Self::Sysctl { netns, key, value } => cluster.netns(netns)?.sysctls(&[(key, value)]),
        }
    }
}

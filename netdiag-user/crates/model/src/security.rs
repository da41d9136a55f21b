//! What may deny packets beside netfilter: security modules, and programs on cgroups.
use serde::{Deserialize, Serialize};

/// For the processes of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Active modules, `selinux`, `apparmor`, `bpf`; none where the kernel does not tell.
    pub modules: Vec<String>,
    /// Programs that are asked about packets of these processes' sockets.
    pub programs: Vec<CgroupProgram>,
}

/// A program of the type cgroup_skb that is attached to a process's cgroup or to one above it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupProgram {
    pub id: u32,
    /// Empty where it was given none.
    pub name: String,
    /// It is asked about what is sent; else about what is received.
    pub egress: bool,
    /// The cgroup's folder, as a node has it.
    pub cgroup: String,
    /// The user that loaded it.
    pub user: u32,
    /// Processes that hold it, `systemd[1]`; none where it is only attached.
    pub holders: Vec<String>,
    /// Processes of the namespace in that cgroup or below.
    pub processes: Vec<String>,
}

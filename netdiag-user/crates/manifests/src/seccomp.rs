//! A seccomp profile for netdiag's containers, and which one they go by. The runtime's default depends
//! on the runtime: a strict one, or one that was made before the capability BPF was, refuses bpf()
//! whatever a container may do (containerd's tied it to SYS_ADMIN at first:
//! contrib/seccomp/seccomp_default.go).
//!
//! What is allowed was seen with strace in the agent and each command that a pod runs, with the node's
//! nft and iptables; beside it stand the calls by which other versions of the C library and of those
//! programs do the same, and what runc calls until the container's program has begun.
mod calls;

use std::{fmt, str::FromStr};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::SeccompProfile;
use serde::{Deserialize, Serialize};

use crate::{names::shown, profile::Profile};
use calls::{FULL, Group, MINIMAL};

/// CLONE_NEW… of namespaces, as clone(2) takes them (include/uapi/linux/sched.h).
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// errno(3): what libraries take for a kernel without that call, and do without it.
const ENOSYS: u32 = 38;
/// A longer path names no file (PATH_MAX).
const LONGEST: usize = 4095;

/// Which profile a container goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    #[default]
    RuntimeDefault,
    /// A file below the kubelet's folder of them.
    Localhost(String),
}

const DEFAULT: &str = "runtime-default";
const LOCALHOST: &str = "localhost/";

impl Seccomp {
    pub(crate) fn object(&self) -> SeccompProfile {
        let (kind, file) = match self {
            Self::RuntimeDefault => ("RuntimeDefault", None),
            Self::Localhost(file) => ("Localhost", Some(file.clone())),
        };
        SeccompProfile {
            localhost_profile: file,
            type_: kind.to_owned(),
        }
    }
}

impl FromStr for Seccomp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == DEFAULT {
            return Ok(Self::RuntimeDefault);
        }
        // The API refuses a path that leads out of the folder.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
        let is_file = |file: &&str| {
            let mut parts = file.split('/');
            file.bytes().all(plain)
                && file.len() <= LONGEST
                && !parts.any(|part| ["", ".", ".."].contains(&part))
        };
        match text.strip_prefix(LOCALHOST).filter(is_file) {
            Some(file) => Ok(Self::Localhost(file.to_owned())),
            None => Err(format!(
                "'{}' is no seccomp profile: {DEFAULT} and {LOCALHOST}netdiag.json are",
                shown(text)
            )),
        }
    }
}

impl fmt::Display for Seccomp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RuntimeDefault => f.write_str(DEFAULT),
            Self::Localhost(file) => write!(f, "{LOCALHOST}{file}"),
        }
    }
}

/// As the OCI's runtime-spec has it (config-linux.md, Seccomp), which containerd and CRI-O read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    default_action: Action,
    architectures: Vec<String>,
    syscalls: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Action {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    /// With EPERM, unless another is named.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Refuse,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    /// Runtimes pass it over.
    comment: String,
    names: Vec<String>,
    action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    value_two: u64,
    op: String,
}

/// The profile as a file for the kubelet's folder.
pub fn seccomp(profile: Profile) -> Result<String> {
    let text = serde_json::to_string_pretty(&filter(profile)).context("encoding JSON")?;
    Ok(text + "\n")
}

fn filter(profile: Profile) -> Filter {
    let mut syscalls: Vec<Rule> = MINIMAL.iter().map(allowed).collect();
    match profile {
        Profile::Minimal => syscalls.push(threads_alone()),
        Profile::Full => syscalls.extend(FULL.iter().map(allowed)),
    }
    syscalls.push(Rule {
        comment:
            "Its flags stand in memory, where no filter sees them: the C library uses clone() then"
                .to_owned(),
        names: vec!["clone3".to_owned()],
        action: Action::Refuse,
        errno_ret: Some(ENOSYS),
        args: Vec::new(),
    });
    Filter {
        default_action: Action::Refuse,
        // As the image, and the pods' node selector.
        architectures: vec!["SCMP_ARCH_X86_64".to_owned()],
        syscalls,
    }
}

fn allowed(group: &Group) -> Rule {
    Rule {
        comment: group.why.to_owned(),
        names: group.names.iter().map(|it| (*it).to_owned()).collect(),
        action: Action::Allow,
        errno_ret: None,
        args: Vec::new(),
    }
}

/// Threads and processes, but no namespace.
fn threads_alone() -> Rule {
    Rule {
        args: vec![Argument {
            index: 0,
            value: NEW_NAMESPACES,
            value_two: 0,
            op: "SCMP_CMP_MASKED_EQ".to_owned(),
        }],
        ..allowed(&Group {
            why: "starts threads and programs, in the namespaces where it is",
            names: &["clone"],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(profile: Profile) -> Vec<String> {
        let rules = filter(profile).syscalls.into_iter();
        rules.flat_map(|it| it.names).collect()
    }

    #[test]
    fn each_call_is_named_once_and_has_its_reason() {
        for profile in Profile::ALL {
            let all = names(profile);
            let once: BTreeSet<_> = all.iter().collect();
            assert_eq!(all.len(), once.len(), "{profile}: {all:?}");
            let rules = filter(profile).syscalls;
            assert!(rules.iter().all(|it| !it.comment.is_empty()));
        }
    }

    #[test]
    fn namespaces_are_for_full_alone() {
        let (minimal, full) = (names(Profile::Minimal), names(Profile::Full));
        assert!(minimal.iter().all(|it| full.contains(it)));
        for call in ["setns", "unshare", "chroot"] {
            let call = call.to_owned();
            assert!(full.contains(&call) && !minimal.contains(&call), "{call}");
        }
        // What changes the node, or others' processes, is for nobody.
        for call in [
            "mount",
            "ptrace",
            "init_module",
            "finit_module",
            "kexec_load",
            "reboot",
            "process_vm_writev",
            "perf_event_open",
            "open_by_handle_at",
        ] {
            assert!(!full.contains(&call.to_owned()), "{call}");
        }
    }

    #[test]
    fn files_stay_below_the_kubelets_folder() {
        for good in ["runtime-default", "localhost/netdiag.json", "localhost/a/b"] {
            let read: Seccomp = good.parse().expect(good);
            assert_eq!(read.to_string(), good);
        }
        for bad in [
            "",
            "unconfined",
            "localhost/",
            "localhost//etc/x",
            "localhost/../x",
            "localhost/a/./b",
            "localhost/a b",
            "netdiag.json",
        ] {
            assert!(bad.parse::<Seccomp>().is_err(), "{bad}");
        }
    }
}

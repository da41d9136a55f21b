//! What a pod of netdiag may do on its node. Never privileged: each capability has its reason.
use std::{fmt, str::FromStr};

use k8s_openapi::api::core::v1::{AppArmorProfile, Capabilities, SecurityContext};

use crate::{
    seccomp::Seccomp,
    sys::capabilities::{BPF, CONTAINED, NET_ADMIN, PERFMON, Right},
};

/// How much of the node netdiag may look into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Traces all packets of the node's links; pods' names come from the Kubernetes API alone, and
    /// what is inside pods (their sockets, counters and rules) stays unseen.
    #[default]
    Minimal,
    /// Looks into pods' network namespaces and other processes too, as root on the node does.
    Full,
}

/// What attaches and reads the programs; the kernel asks for no more.
const MINIMAL: &[Right] = &[BPF, PERFMON, NET_ADMIN];

impl Profile {
    pub const ALL: [Self; 2] = [Self::Minimal, Self::Full];

    pub fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Full => "full",
        }
    }

    /// Those that are added after all were dropped.
    pub fn rights(self) -> &'static [Right] {
        match self {
            Self::Minimal => MINIMAL,
            Self::Full => CONTAINED,
        }
    }

    /// Capabilities as Kubernetes spells them, each with its reason.
    pub fn capabilities(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let rights = self.rights().iter();
        rights.map(|right| (spelling(right), right.why))
    }

    /// What the container's security context says.
    pub fn security(self, seccomp: &Seccomp) -> SecurityContext {
        let added = self.capabilities().map(|(name, _)| name.to_owned());
        // The usual AppArmor profile of container runtimes keeps every process from looking at
        // those outside the container, whatever its capabilities.
        let app_armor = (self == Self::Full).then(|| AppArmorProfile {
            type_: "Unconfined".to_owned(),
            ..AppArmorProfile::default()
        });
        SecurityContext {
            allow_privilege_escalation: Some(false),
            app_armor_profile: app_armor,
            capabilities: Some(Capabilities {
                add: Some(added.collect()),
                drop: Some(vec!["ALL".to_owned()]),
            }),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            // Capabilities are a process's of root's from the start, and of nobody else's.
            run_as_user: Some(0),
            seccomp_profile: Some(seccomp.object()),
            ..SecurityContext::default()
        }
    }
}

fn spelling(right: &Right) -> &'static str {
    right.name.trim_start_matches("CAP_")
}

/// Why a capability of that spelling is asked for.
pub fn reason(spelt: &str) -> Option<&'static str> {
    let known = CONTAINED.iter().find(|right| spelling(right) == spelt);
    known.map(|right| right.why)
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|it| it.name() == text);
        known.ok_or_else(|| format!("'{text}' is no profile: minimal and full are"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimal_profile_has_three_capabilities_and_full_has_them_too() {
        let names = |profile: Profile| profile.capabilities().map(|(name, _)| name);
        let minimal: Vec<_> = names(Profile::Minimal).collect();
        assert_eq!(minimal, ["BPF", "PERFMON", "NET_ADMIN"]);
        let full: Vec<_> = names(Profile::Full).collect();
        assert!(minimal.iter().all(|name| full.contains(name)), "{full:?}");
        assert!(full.iter().all(|name| reason(name).is_some()), "{full:?}");
        for needed in ["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "SYSLOG"] {
            assert!(full.contains(&needed), "{needed}");
        }
    }

    #[test]
    fn nothing_is_privileged() {
        for profile in Profile::ALL {
            let security = profile.security(&Seccomp::default());
            assert_eq!(security.privileged, Some(false));
            assert_eq!(security.allow_privilege_escalation, Some(false));
            assert_eq!(security.read_only_root_filesystem, Some(true));
            let capabilities = security.capabilities.expect("some");
            assert_eq!(capabilities.drop, Some(vec!["ALL".to_owned()]));
            let seccomp = security.seccomp_profile.expect("one");
            assert_eq!(seccomp.type_, "RuntimeDefault");
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
    }
}

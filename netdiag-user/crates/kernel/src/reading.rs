//! How the programs at tracepoints read the kernel's structures.
//!
//! A plain load from a stale pointer faults, and the kernel looks the fault up in the table of the
//! program's exceptions. In a program that has functions of its own it may look in another's, which
//! has none, and panics. Mended by 0108a4e9f358 ("bpf: ensure main program has an extable"): Linux
//! 6.4, 6.3.10, 6.1.36 and 5.15.120, Red Hat's 5.14 from 9.4 on; never in 5.10. The helper
//! `bpf_probe_read_kernel` faults inside the kernel's own code on every kernel, and costs a call.
use std::{fmt, path::Path, str::FromStr};

use netdiag_lang::t;
use nix::sys::utsname::uname;

use super::version;
use crate::sys::file;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// By plain loads where they are known to be safe.
    #[default]
    Auto,
    /// By the helper everywhere.
    Helper,
}

impl FromStr for Reading {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "helper" => Ok(Self::Helper),
            _ => Err(format!("'{text}' is neither auto nor helper")),
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Helper => "helper",
        })
    }
}

impl Reading {
    /// Whether plain loads are taken on the running kernel.
    pub fn is_plain(self, root: &Path) -> bool {
        self == Self::Auto && is_mended(&Kernel::running(root))
    }
}

/// Which way is taken, and why, in one sentence.
pub fn told(root: &Path) -> String {
    let kernel = Kernel::running(root);
    let release = &kernel.release;
    match is_mended(&kernel) {
        true => t!("by plain loads, which Linux {release} survives on a stale pointer"),
        false => t!(
            "by bpf_probe_read_kernel: Linux {release} is not known to survive a plain load from a stale \
             pointer (mended in 6.4, 6.3.10, 6.1.36, 5.15.120 and Red Hat's 9.4)"
        ),
    }
}

/// What a kernel says of itself.
#[derive(Clone, Debug, Default)]
struct Kernel {
    /// `uname -r`.
    release: String,
    /// `uname -v`: Debian has the number of the stable kernel there.
    version: String,
    /// /proc/version_signature: Ubuntu's.
    signature: String,
}

impl Kernel {
    fn running(root: &Path) -> Self {
        let signature = root.join("proc/version_signature");
        Self {
            release: version::release(),
            version: uname().map_or(String::new(), |it| it.version().to_string_lossy().into()),
            signature: file::text(&signature, file::SMALL).unwrap_or_default(),
        }
    }

    /// The number of the upstream kernel that it is made of, as far as it tells.
    fn upstream(&self) -> Option<[u32; 3]> {
        let of_ubuntu = self.signature.split_whitespace().last();
        let mut of_debian = self
            .version
            .split_whitespace()
            .skip_while(|word| *word != "Debian");
        // Debian's and Ubuntu's releases end with 0 in that place, whatever they are made of.
        let told = of_ubuntu.or_else(|| of_debian.nth(1));
        numbers(told.unwrap_or(&self.release))
    }

    /// Red Hat's minor release, where it is one's: `5.14.0-427.13.1.el9_4.x86_64`; without one CentOS'
    /// builds from 427 on are what 9.4 has.
    fn has_el9_4(&self) -> bool {
        let Some(rest) = self.release.strip_prefix("5.14.0-") else {
            return false;
        };
        let minor = rest.split_once(".el9_").map(|(_, after)| leading(after));
        let build = rest.contains(".el9.").then(|| leading(rest));
        match (minor, build) {
            (Some(minor), _) => minor.is_some_and(|n| n >= 4),
            (None, Some(build)) => build.is_some_and(|n| n >= 427),
            (None, None) => false,
        }
    }
}

fn is_mended(kernel: &Kernel) -> bool {
    if kernel.has_el9_4() {
        return true;
    }
    // A candidate of the kernel that has it may lack it.
    let candidate = kernel.release.contains("-rc");
    match kernel.upstream() {
        Some([6, 4, _]) if candidate => false,
        Some([6, 3, patch]) => patch >= 10,
        Some([6, 1, patch]) => patch >= 36,
        Some([5, 15, patch]) => patch >= 120,
        Some([major, minor, _]) => (major, minor) >= (6, 4),
        None => false,
    }
}

/// `6.1.36-1`, `6.18.44-fc`: three numbers, of which the last may be missing.
fn numbers(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split('.').map(leading);
    let (major, minor) = (parts.next()??, parts.next()??);
    Some([major, minor, parts.next().flatten().unwrap_or(0)])
}

fn leading(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.get(..end.unwrap_or(text.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(release: &str, version: &str, signature: &str) -> bool {
        is_mended(&Kernel {
            release: release.into(),
            version: version.into(),
            signature: signature.into(),
        })
    }

    #[test]
    fn what_is_known_to_be_mended_reads_plainly() {
        let debian =
            |upstream: &str| format!("#1 SMP PREEMPT_DYNAMIC Debian {upstream} (2026-07-01)");
        assert!(mended("6.1.0-50-cloud-amd64", &debian("6.1.175-1"), ""));
        assert!(mended(
            "6.12.30+bpo-amd64",
            &debian("6.12.30-1~bpo12+1"),
            ""
        ));
        assert!(mended(
            "5.15.0-101-generic",
            "#111-Ubuntu SMP",
            "Ubuntu 5.15.0-101.111-generic 5.15.143\n"
        ));
        assert!(mended(
            "6.5.0-14-generic",
            "#14-Ubuntu",
            "Ubuntu 6.5.0-14.14-generic 6.5.3"
        ));
        for release in [
            "6.18.44-fc-v657",
            "7.2.1-amd64",
            "6.4.0-150600.21-default",
            "6.1.102-108.177.amzn2023.x86_64",
            "6.3.10",
            "5.15.120-cos",
            "5.14.0-427.13.1.el9_4.x86_64",
            "5.14.0-570.12.1.el9_6.x86_64",
            "5.14.0-496.el9.x86_64",
            "6.12.0-55.9.1.el10_0.x86_64",
        ] {
            assert!(mended(release, "#1 SMP", ""), "{release}");
        }
    }

    #[test]
    fn what_is_exposed_or_unknown_reads_by_the_helper() {
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.27-1 (2023-05-08)";
        assert!(!mended("6.1.0-9-amd64", debian, ""));
        let ubuntu = "Ubuntu 5.15.0-60.66-generic 5.15.78";
        assert!(!mended("5.15.0-60-generic", "#66-Ubuntu SMP", ubuntu));
        assert!(!mended(
            "6.2.0-39-generic",
            "#40",
            "Ubuntu 6.2.0-39.40-generic 6.2.16"
        ));
        for release in [
            "5.10.0-32-cloud-amd64",
            "5.10.262",
            "5.17.0",
            "5.19.17",
            "6.0.9",
            "6.1.35",
            "6.2.16-20-pve",
            "6.3.9",
            "6.4.0-rc1",
            "5.15.0-200.131.27.el8uek.x86_64",
            "5.15.119",
            "5.14.0-362.8.1.el9_3.x86_64",
            "5.14.0-284.el9.x86_64",
            "5.14.21-150500.55.7-default",
            "4.18.0-553.el8_10.x86_64",
            "6",
            "next",
            "",
        ] {
            assert!(!mended(release, "#1 SMP", ""), "{release}");
        }
    }

    #[test]
    fn what_is_asked_for_is_one_of_two_words() {
        for reading in [Reading::Auto, Reading::Helper] {
            assert_eq!(reading.to_string().parse(), Ok(reading));
        }
        assert!("plain".parse::<Reading>().is_err());
        assert!(!Reading::Helper.is_plain(Path::new("/")));
    }
}

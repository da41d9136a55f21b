//! What the container runtime, its logs and the CNI's configuration say of pods' networks.
use netdiag_lang::english;
use serde::{Deserialize, Deserializer, Serialize};

use super::either::either;

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
    /// The log that says so, as the node names it, and where it is.
    pub log: String,
    pub show: Shown,
    /// Failures since the last success: how many, when the first and the last (ns since 1970).
    pub failures: u32,
    pub first: i64,
    pub last: i64,
    /// What the last of them was for.
    pub message: String,
    /// When it succeeded last.
    pub succeeded: Option<i64>,
}

/// Where a log is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Shown {
    File(String),
    Journal,
    /// A recording says something else.
    #[default]
    Unknown,
}

#[derive(Deserialize)]
enum Named {
    File(String),
    Journal,
    Unknown,
}

/// Earlier recordings have the command that shows it.
impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let now = |named| match named {
            Named::File(path) => Self::File(path),
            Named::Journal => Self::Journal,
            Named::Unknown => Self::Unknown,
        };
        either(from, now, Self::of_command)
    }
}

impl Shown {
    fn of_command(command: &str) -> Self {
        let file = || {
            let (_, rest) = command.split_once("|set up pod' ")?;
            let path = rest.strip_suffix(" | tail")?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let path = path.starts_with('/').then_some(path)?;
            path.chars().all(plain).then(|| Self::File(path.to_owned()))
        };
        match command.starts_with("journalctl ") {
            true => Self::Journal,
            false => file().unwrap_or_default(),
        }
    }
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
    /// The runtime that is there and does not answer, and why not.
    pub fn refusal(&self) -> Option<(String, &str)> {
        let (socket, said) = self.cri.as_ref()?;
        let why = said.as_ref().err()?;
        Some((english!("the container runtime at {socket}"), why.as_str()))
    }

    /// For the list of what could not be checked.
    pub fn failures(&self) -> impl Iterator<Item = (String, &str)> {
        let logs = self.unread.iter();
        self.refusal()
            .into_iter()
            .chain(logs.map(|(what, why)| (what.clone(), why.as_str())))
    }
}

/// Logs that any program of the node can write to, by any name (syslog(3)).
const SHARED_LOGS: [&str; 3] = [
    "/var/log/syslog",
    "/var/log/messages",
    "/var/log/daemon.log",
];

/// Whether what it says need not be the word of whom it names.
pub fn is_shared(log: &str) -> bool {
    SHARED_LOGS.contains(&log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_recordings_say_by_a_command_where_a_log_is() {
        let read = |json: &str| serde_json::from_str::<Shown>(json).expect("known");
        let grep =
            r#""grep -E 'network for sandbox|to CNI network|set up pod' /var/log/a.log | tail""#;
        assert_eq!(read(grep), Shown::File("/var/log/a.log".into()));
        assert_eq!(
            read(r#""journalctl -u containerd | grep -E 'x'""#),
            Shown::Journal
        );
        for odd in [
            r#""""#,
            r#""grep -E 'x|set up pod' /a;id | tail""#,
            r#""id""#,
        ] {
            assert_eq!(read(odd), Shown::Unknown, "{odd}");
        }
        for now in [Shown::File("/a b".into()), Shown::Journal, Shown::Unknown] {
            let json = serde_json::to_string(&now).expect("written");
            assert_eq!(read(&json), now);
        }
    }
}

//! Processes that call themselves a daemon of the node's and may not be believed.
use netdiag_lang::{english, mark};
use serde::{Deserialize, Serialize};

use super::text;

/// One of each name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impostors {
    pub all: Vec<Impostor>,
    /// Daemons of whose command line only the beginning was read.
    pub cut: Vec<String>,
    /// Processes that were not looked at, for there are too many.
    pub unseen: u64,
    /// Those that may not be looked at.
    #[serde(default)]
    pub closed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impostor {
    pub name: String,
    pub pid: u32,
    /// Nothing where that cannot be read.
    pub uid: Option<u32>,
    /// How many others call themselves the same.
    pub more: u64,
    pub doubt: Doubt,
}

/// Why it is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doubt {
    /// Not root's, or not where root's services run.
    NoService,
    SetUid,
    /// A pod's of that namespace.
    OtherPod(String),
    /// Of a pod that kubelet keeps no logs of.
    UnknownPod,
}

/// Longest of a name that is told.
const NAME: usize = 64;
/// Which right that takes, and what for.
const CLOSED: &str = mark!(
    "without CAP_SYS_PTRACE they may not be looked at: which of them are flanneld, \
                      etcd, kube-proxy or an API server, and what those were started with, is not \
                      known"
);
/// Lines about command lines.
const MOST_CUT: usize = 16;

impl Impostors {
    /// For the list of what could not be checked: what, and why.
    pub fn failures(&self) -> impl Iterator<Item = (String, String)> {
        let all = self.all.iter().map(Impostor::failure);
        let cut = self.cut.iter().take(MOST_CUT).map(|who| {
            let what = english!("the command line of {}", text::line(who, NAME));
            (what, mark!("only its first 64 KiB were read").to_owned())
        });
        let unseen = (self.unseen > 0).then(|| {
            let what = match self.unseen {
                1 => mark!("1 process").to_owned(),
                n => english!("{n} processes"),
            };
            let why = mark!("there are too many to look at each");
            (what, why.to_owned())
        });
        let closed = (self.closed > 0).then(|| {
            let what = match self.closed {
                1 => mark!("1 process of others").to_owned(),
                n => english!("{n} processes of others"),
            };
            (what, CLOSED.to_owned())
        });
        all.chain(cut).chain(unseen).chain(closed)
    }

    /// Whether a daemon may be among what was not looked at: then nobody knows what it was started
    /// with.
    pub fn is_partial(&self) -> bool {
        self.unseen > 0 || self.closed > 0
    }
}

impl Impostor {
    fn failure(&self) -> (String, String) {
        let more = match self.more {
            0 => String::new(),
            n => format!(", and {n} more"),
        };
        let (name, pid) = (text::line(&self.name, NAME), self.pid);
        let what = match self.uid {
            Some(uid) => {
                english!("a process of uid {uid} that calls itself {name} (pid {pid}{more})")
            }
            None => {
                english!("a process of an unknown uid that calls itself {name} (pid {pid}{more})")
            }
        };
        (what, english!("not believed: {}", self.doubt.why()))
    }
}

impl Doubt {
    fn why(&self) -> String {
        match self {
            Self::NoService => {
                mark!("it is no system service of root's and no pod of kube-system").to_owned()
            }
            Self::SetUid => {
                mark!("its program is set-uid, and its user chose its words").to_owned()
            }
            Self::OtherPod(namespace) => {
                let namespace = text::line(namespace, NAME);
                english!("its pod is in the namespace {namespace}, which is not the cluster's own")
            }
            Self::UnknownPod => {
                mark!("no folder of root's under /var/log/pods says whose pod it is").to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_tells_who_and_why() {
        let impostor = |doubt| Impostor {
            name: "etcd".into(),
            pid: 42,
            uid: Some(1000),
            more: 2,
            doubt,
        };
        let impostors = Impostors {
            all: vec![
                impostor(Doubt::NoService),
                impostor(Doubt::OtherPod("shop\x1b[2J".into())),
            ],
            cut: Vec::new(),
            unseen: 1,
            closed: 3,
        };
        let told: Vec<_> = impostors
            .failures()
            .map(|(what, why)| format!("{what}: {why}"))
            .collect();
        assert_eq!(
            told,
            [
                "a process of uid 1000 that calls itself etcd (pid 42, and 2 more): not believed: \
                 it is no system service of root's and no pod of kube-system",
                "a process of uid 1000 that calls itself etcd (pid 42, and 2 more): not believed: \
                 its pod is in the namespace shop [2J, which is not the cluster's own",
                "1 process: there are too many to look at each",
                "3 processes of others: without CAP_SYS_PTRACE they may not be looked at: which of them are \
                 flanneld, etcd, kube-proxy or an API server, and what those were started with, is \
                 not known",
            ]
        );
        assert!(impostors.is_partial() && !Impostors::default().is_partial());
    }
}

//! What can be attached, and what loads there are.
use std::fmt::{self, Display};

use serde::{Serialize, Serializer};

/// What is attached to node A.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    Nothing,
    /// Programs that do nothing, at the hooks where netdiag's are.
    Empty,
    /// With its level, where it has such.
    Netdiag(Option<String>),
    BpftraceCounting,
    BpftracePrinting,
    Tcpdump,
}

impl Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Empty => f.write_str("empty"),
            Self::Netdiag(None) => f.write_str("netdiag"),
            Self::Netdiag(Some(level)) => write!(f, "netdiag {level}"),
            Self::BpftraceCounting => f.write_str("bpftrace counting"),
            Self::BpftracePrinting => f.write_str("bpftrace printing"),
            Self::Tcpdump => f.write_str("tcpdump"),
        }
    }
}

impl Serialize for Attached {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Other tools, beside which netdiag is measured.
pub const PEERS: [Attached; 3] = [
    Attached::BpftraceCounting,
    Attached::BpftracePrinting,
    Attached::Tcpdump,
];

/// netdiag at each of its levels.
#[derive(Clone, Debug)]
pub struct Levels {
    pub all: Vec<Attached>,
    /// What it runs at when nobody says.
    pub usual: Attached,
}

impl Levels {
    /// From what `--level` takes and what it is by default; from nothing where there is no such option.
    pub fn new(names: &[String], usual: Option<&str>) -> Self {
        let of = |name: &String| Attached::Netdiag(Some(name.clone()));
        let all: Vec<_> = match names {
            [] => vec![Attached::Netdiag(None)],
            names => names.iter().map(of).collect(),
        };
        let named =
            |it: &&Attached| matches!(it, Attached::Netdiag(name) if name.as_deref() == usual);
        let first = all.iter().find(named).or(all.first());
        let usual = first.cloned().unwrap_or(Attached::Netdiag(None));
        Self { all, usual }
    }

    /// The empty programs and each level.
    pub fn with_empty(&self) -> Vec<Attached> {
        [&[Attached::Empty], self.all.as_slice()].concat()
    }

    /// The empty programs and the usual level.
    pub fn usual_with_empty(&self) -> Vec<Attached> {
        vec![Attached::Empty, self.usual.clone()]
    }
}

/// Traffic as fast as one sender can make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// Small packets through the overlay to a pod on the other node.
    Udp,
    /// A bulk transfer the same way.
    Tcp,
    /// Small packets into a rule of node A that drops them.
    Storm,
}

impl Load {
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Storm];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_levels_there_is_one_netdiag() {
        let levels = Levels::new(&[], None);
        assert_eq!(levels.all, [Attached::Netdiag(None)]);
        assert_eq!(levels.usual.to_string(), "netdiag");
    }

    #[test]
    fn the_usual_level_is_the_default() {
        let levels = Levels::new(&["light".to_owned(), "flows".to_owned()], Some("flows"));
        assert_eq!(levels.all.len(), 2);
        assert_eq!(levels.usual.to_string(), "netdiag flows");
        assert_eq!(levels.with_empty()[0], Attached::Empty);
    }
}

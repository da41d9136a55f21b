//! What can be attached, and what loads there are.
use std::fmt::{self, Display};

use netdiag_model::level::Level;
use serde::{Serialize, Serializer};

/// What is attached to node A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    Nothing,
    /// Programs that do nothing, at the hooks where netdiag's are.
    Empty,
    Netdiag(Level),
    BpftraceCounting,
    BpftracePrinting,
    Tcpdump,
}

impl Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Empty => f.write_str("empty"),
            Self::Netdiag(level) => write!(f, "netdiag {level}"),
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
    pub fn new(usual: Level) -> Self {
        Self {
            all: Level::ALL.map(Attached::Netdiag).to_vec(),
            usual: Attached::Netdiag(usual),
        }
    }

    /// The empty programs and each level.
    pub fn with_empty(&self) -> Vec<Attached> {
        [&[Attached::Empty], self.all.as_slice()].concat()
    }

    /// The empty programs and the usual level.
    pub fn usual_with_empty(&self) -> Vec<Attached> {
        vec![Attached::Empty, self.usual]
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
    fn levels_are_told_by_name() {
        let levels = Levels::new(Level::Flows);
        assert_eq!(levels.usual.to_string(), "netdiag flows");
        let all = levels.with_empty();
        assert_eq!((all.len(), all[0]), (1 + Level::ALL.len(), Attached::Empty));
        assert!(levels.all.contains(&levels.usual));
    }
}

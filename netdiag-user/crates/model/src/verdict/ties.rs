//! What ties a finding to others, as values: what it says is at fault, what its packets depend on,
//! and whose suffering it tells. The arbiter compares these; it reads no sentence.
use std::net::IpAddr;

use super::Subject;

/// A subject, and the sentence by which it explains a consequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    pub subject: Subject,
    /// Nothing where the other finding has the better words.
    pub because: Option<String>,
}

/// What an effect tells of: packets that something else takes, which may have a finding too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suffers {
    /// Lookups that these name servers leave unanswered, or cannot answer.
    Lookups {
        servers: Vec<IpAddr>,
        /// The servers, and the next hops on the way to them.
        by: Vec<IpAddr>,
    },
    /// A proxy that waits for these hosts.
    Proxy { waits_for: Vec<IpAddr> },
    /// What is sent to another node, and what it should send back.
    OtherNode,
}

/// All ties of a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    /// What is at fault.
    pub at_fault: Vec<Tie>,
    /// What its packets, or its work, depend on; the nearest first.
    pub rests_on: Vec<Tie>,
    pub suffers: Option<Suffers>,
}

impl Ties {
    pub fn blame(&mut self, subject: Subject, because: String) {
        self.at_fault.push(Tie {
            subject,
            because: Some(because),
        });
    }

    pub fn rest_on(&mut self, subject: Subject) {
        self.rests_on.push(Tie {
            subject,
            because: None,
        });
    }

    pub fn rest_because(&mut self, subject: Subject, because: String) {
        self.rests_on.push(Tie {
            subject,
            because: Some(because),
        });
    }

    /// The first of what the other rests on that is at fault here, in one sentence. Links and the like
    /// are a node's own, whatever another one calls its.
    pub fn explains(&self, other: &Self, same_node: bool) -> Option<String> {
        let known = |rest: &&Tie| same_node || !rest.subject.is_a_nodes();
        other.rests_on.iter().filter(known).find_map(|rest| {
            let at_fault = self.at_fault.iter().find(|f| f.subject == rest.subject)?;
            rest.because.clone().or_else(|| at_fault.because.clone())
        })
    }

    /// Another node's copy of the same finding.
    pub fn extend(&mut self, other: Self) {
        self.at_fault.extend(other.at_fault);
        self.rests_on.extend(other.rests_on);
        self.suffers = self.suffers.take().or(other.suffers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str) -> Subject {
        Subject::Link { name: name.into() }
    }

    #[test]
    fn what_is_nearest_and_at_fault_explains() {
        let (mut root, mut effect) = (Ties::default(), Ties::default());
        root.blame(link("bond0"), "bond0 has no carrier".into());
        root.blame(link("eth1"), "eth1 has no carrier".into());
        assert_eq!(root.explains(&effect, true), None);
        for name in ["vlan7", "eth1", "bond0"] {
            effect.rest_on(link(name));
        }
        assert_eq!(
            root.explains(&effect, true).as_deref(),
            Some("eth1 has no carrier")
        );
        assert_eq!(root.explains(&effect, false), None, "another node's eth1");
        assert_eq!(effect.explains(&root, true), None);
    }

    #[test]
    fn the_words_of_what_suffers_come_first() {
        let (mut root, mut effect) = (Ties::default(), Ties::default());
        root.blame(Subject::Etcd, "etcd is full".into());
        effect.rest_because(Subject::Etcd, "etcd refused the plugin".into());
        let told = root.explains(&effect, false);
        assert_eq!(told.as_deref(), Some("etcd refused the plugin"));
    }
}

//! What a cause must find out before it can tell, and what hangs on the answer.
use std::{mem::discriminant, net::IpAddr};

use netdiag_lang::say;

use crate::{
    model::{
        gather::Want,
        verdict::{Confidence, Finding, Subject},
    },
    pipeline::connection_groups::ConnectionGroup,
};

/// What a finding of a cause is worth beside another about the same packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It says why.
    Why,
    /// It says why where it names a culprit; else it has the kernel's reason alone.
    Culprit,
    /// It names what is suffered, and takes nothing from whatever is behind it.
    Effect,
}

/// How close to the culprit an explanation comes, not how loud the kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Nothing but silence points there.
    Possible,
    /// The kernel's reason alone: a class without a culprit.
    Mechanism,
    /// State or configuration of this very subject explains these packets.
    Fits,
    /// The subject was seen doing it, or it leads these packets where they die.
    Acted,
}

impl Strength {
    /// How strong a finding of a cause with that role is; nothing for what names an effect.
    pub fn of(finding: &Finding, role: Option<Role>) -> Option<Self> {
        match (role, finding.confidence) {
            (Some(Role::Effect), _) => None,
            _ if finding.subject.as_ref().is_some_and(is_a_culprit) => Some(Self::Acted),
            (_, Confidence::Suspected) => Some(Self::Possible),
            (Some(Role::Culprit), _) => Some(Self::Mechanism),
            _ => Some(Self::Fits),
        }
    }
}

/// Where kube-proxy refuses what goes to Services without endpoints.
pub const REFUSALS: [&str; 4] = [
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-SERVICES",
    "kube-proxy",
];

/// A rule that counts did it; one of kube-proxy's stands for what it was told of a Service.
fn is_a_culprit(subject: &Subject) -> bool {
    match subject {
        Subject::Rule { place, .. } => !place.split(' ').any(|word| REFUSALS.contains(&word)),
        _ => true,
    }
}

/// A client's traffic with one server's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub protocol: u8,
    pub client: IpAddr,
    pub server: IpAddr,
    pub port: u16,
}

/// Who suffers while an answer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sufferer {
    /// Traffic that fails, with its packets so far.
    Flow(Asked, u64),
    /// The pod that has the namespace with that inode.
    Namespace(u32),
}

/// Whom a cause asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// Somebody has to look.
    Want(Want),
    /// Time tells it: it has begun and does not last long enough yet.
    Time(&'static str),
}

impl Query {
    pub fn want(&self) -> Option<&Want> {
        match self {
            Self::Want(want) => Some(want),
            Self::Time(_) => None,
        }
    }

    /// For the list of what could not be told.
    pub fn name(&self) -> String {
        match self {
            Self::Want(want) => want.name(),
            Self::Time(what) => say(what).to_owned(),
        }
    }

    /// Whether one line tells of both.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Want(one), Self::Want(other)) => discriminant(one) == discriminant(other),
            _ => self == other,
        }
    }
}

/// A question, and what its answer may explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub query: Query,
    /// How close to the culprit the answer may bring; nothing where it only adds to what is told
    /// without it.
    pub at_best: Option<Strength>,
    /// What is seen speaks for the cause. Else an answer is worth waiting for, and its lack means
    /// nothing.
    pub likely: bool,
    /// Nobody where the question is about the node itself.
    pub sufferers: Vec<Sufferer>,
}

impl From<Want> for Need {
    /// The cause hangs on it, whomever it affects.
    fn from(want: Want) -> Self {
        Self::of(want, Vec::new())
    }
}

impl Need {
    /// The answer shows state that explains what these suffer.
    pub fn of(want: Want, sufferers: Vec<Sufferer>) -> Self {
        Self {
            query: Query::Want(want),
            at_best: Some(Strength::Fits),
            likely: true,
            sufferers,
        }
    }

    /// What these suffer may have begun a moment ago: whether it lasts tells more than anything
    /// else that is known.
    pub fn time(what: &'static str, sufferer: Sufferer) -> Self {
        Self {
            query: Query::Time(what),
            at_best: Some(Strength::Acted),
            likely: true,
            sufferers: vec![sufferer],
        }
    }

    /// The answer adds to what is told without it.
    pub fn detail(want: Want) -> Self {
        Self {
            at_best: None,
            ..Self::of(want, Vec::new())
        }
    }

    /// The same where nothing may hang on it at all.
    pub fn only_if(self, hangs: bool) -> Self {
        Self {
            at_best: self.at_best.filter(|_| hangs),
            ..self
        }
    }
}

impl Sufferer {
    /// Traffic with a server's port.
    pub fn flow(protocol: u8, client: IpAddr, (server, port): (IpAddr, u16), packets: u64) -> Self {
        let asked = Asked {
            protocol,
            client,
            server,
            port,
        };
        Self::Flow(asked, packets)
    }

    /// Connections that fail.
    pub fn attempts(attempts: &ConnectionGroup<'_>) -> Self {
        let server = (attempts.server, attempts.port);
        Self::flow(
            attempts.protocol,
            attempts.client,
            server,
            attempts.packets(),
        )
    }
}

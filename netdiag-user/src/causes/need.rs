//! What a cause must find out before it can tell, and what hangs on the answer.
use std::net::IpAddr;

use super::attempts::Attempts;
use crate::model::{
    gather::Want,
    verdict::{Confidence, Finding},
};

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

/// Findings that name what is suffered: they take nothing from whatever is behind it.
const EFFECTS: [&str; 4] = [
    super::cni_add_failing::ID,
    super::dns_unreachable::ID,
    super::overlay_blocked::ID,
    super::sidecar_blocked::ID,
];

impl Strength {
    /// How strong a finding is; nothing for what names an effect.
    pub fn of(finding: &Finding) -> Option<Self> {
        let of_netfilter = finding.cause == super::firewall_drop::ID;
        match finding.confidence {
            _ if EFFECTS.contains(&finding.cause.as_str()) => None,
            _ if finding.subject.is_some() => Some(Self::Acted),
            Confidence::Suspected => Some(Self::Possible),
            _ if of_netfilter => Some(Self::Mechanism),
            _ => Some(Self::Fits),
        }
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

/// A question, and what its answer may explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub want: Want,
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
    /// The cause hangs on it, whomever it befalls.
    fn from(want: Want) -> Self {
        Self::of(want, Vec::new())
    }
}

impl Need {
    /// The answer shows state that explains what these suffer.
    pub fn of(want: Want, sufferers: Vec<Sufferer>) -> Self {
        Self {
            want,
            at_best: Some(Strength::Fits),
            likely: true,
            sufferers,
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
        match hangs {
            true => self,
            false => Self::detail(self.want),
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
    pub fn attempts(attempts: &Attempts<'_>) -> Self {
        let server = (attempts.server, attempts.port);
        Self::flow(
            attempts.protocol,
            attempts.client,
            server,
            attempts.packets(),
        )
    }
}

//! An address that nobody asks for himself: the rules of this node lead there what is for another one.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;
use netdiag_lang::t;

use crate::{
    model::{
        address::endpoint,
        flow::{ends, protocol},
        node::Link,
        roles::Role,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shared::{losses::DropGroup, restoring},
    shell,
};

/// Conversations of a pattern whose first packets are walked.
const WALKED: usize = 8;

pub struct Led {
    address: IpAddr,
    /// What its clients ask for.
    what: String,
}

impl Led {
    /// Where pods are looked for: another host may be down for a while.
    pub fn of(
        facts: &Facts<'_>,
        pattern: &DropGroup<'_>,
        address: IpAddr,
        link: Option<&Link>,
    ) -> Option<Self> {
        let pods = [Some(Role::Pod), Some(Role::Bridge)];
        link.filter(|link| pods.contains(&facts.role(link)))?;
        let nobodys = address == pattern.destination && facts.pod_side_of(address).is_none();
        let origins = pattern.losses.iter().filter(|_| nobodys);
        let mut origins = origins.filter_map(|l| Some(facts.legs().origin(l.flow())?.0));
        // Where some of them began nobody knows any more.
        let led = |asked: &FlowKey| facts.led_to(asked).is_some_and(|to| to.contains(&address));
        let asked = origins.by_ref().take(WALKED).find(led)?;
        let ((_, server), port) = (ends(&asked), asked.destination_port);
        let what = format!("{} {}", protocol(asked.protocol), endpoint(server, port));
        (server != address).then_some(Self { address, what })
    }

    pub fn text(&self) -> String {
        t!(
            "the rules of this node lead {} there, and no pod here has {}",
            self.what,
            self.address
        )
    }

    pub fn evidence(&self) -> Evidence {
        let mut line = Evidence::new(EvidenceKind::Rule, Origin::Configured, self.text());
        line.confirm = Some(shell!("conntrack -L --reply-src {}", self.address));
        line
    }

    pub fn fix(&self) -> Fix {
        Fix {
            summary: t!(
                "take away the rule that leads {} to {}, whom the pod that had it has left behind, or let it lead to the pod of now: whoever wrote it (kube-proxy, the portmap plugin) was not told that the pod is gone",
                self.what,
                self.address
            ),
            commands: restoring::translating(self.address),
        }
    }
}

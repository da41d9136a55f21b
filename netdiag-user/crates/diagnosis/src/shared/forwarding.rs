//! The switches that let a node forward, and what is told and done where one is off.
use netdiag_forwarding::{tables::No, way::Subject};
use netdiag_lang::t;

use crate::{
    model::{
        journal::Thing,
        node::Link,
        verdict::{Evidence, EvidenceKind, Fix, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

/// For all links that have no switch of their own.
pub const ALL_V4: &str = "net.ipv4.ip_forward";
pub const ALL_V6: &str = "net.ipv6.conf.all.forwarding";

/// The sysctl that forbids to forward IPv4 that comes in by `link`.
pub fn off_at(facts: &Facts<'_>, link: &Link) -> Option<String> {
    let off = |name: &str| facts.node.sysctl(name) == Some("0");
    let own = format!("net.ipv4.conf.{}.forwarding", link.name.replace('.', "/"));
    if off(&own) && !off(ALL_V4) {
        return Some(own);
    }
    off(ALL_V4).then(|| ALL_V4.to_owned())
}

/// The sysctl by which that step refuses to.
pub fn switch(facts: &Facts<'_>, no: &No<'_>) -> Option<String> {
    match no.by? {
        Subject::Setting(_, Some(device)) => off_at(facts, facts.link(device.index)?),
        _ => Some(ALL_V6.to_owned()),
    }
}

pub fn evidence(facts: &Facts<'_>, name: &str) -> Evidence {
    let before = facts.start.sysctl(name).filter(|v| *v != "0");
    let since = before.map_or_else(String::new, |v| {
        t!("; it was {v} when this run began: something resets it")
    });
    let text = t!("{name} is 0{since}");
    let mut line = Evidence::new(EvidenceKind::Sysctl, Origin::Configured, text);
    line.at = Some(name.to_owned());
    line.confirm = Some(shell!("sysctl {}", name));
    line.of([Thing::Setting {
        sysctl: name.into(),
    }])
}

pub fn fix(names: &[String]) -> Fix {
    let set = names.iter().map(|n| shell!("sysctl -w {}=1", n));
    let find = shell!(
        "grep -rsE 'ip_forward|forwarding' /etc/sysctl.conf /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d"
    );
    Fix {
        summary: t!(
            "switch forwarding on now, and for good in a file of /etc/sysctl.d that sorts after \
                  the one that sets 0 (often a hardening profile)"
        )
        .into(),
        commands: set.chain([find]).collect(),
    }
}

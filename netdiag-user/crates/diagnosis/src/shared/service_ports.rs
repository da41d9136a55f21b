//! What goes to a Service's address by a port that the Service does not have: kube-proxy rejects it,
//! or leaves it untranslated, and nothing on the node is wrong.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_lang::t;

use super::{losses::DropGroup, services};
use crate::{
    model::{
        flow,
        services::Service,
        verdict::{Evidence, Fix},
    },
    pipeline::facts::Facts,
    shell,
};

/// The Service whose address a pattern goes to, as its rules have it; nothing where one of them is
/// for that port, or the address is the node's own and so of many.
pub struct Other<'a> {
    rules: Vec<&'a Service>,
}

impl<'a> Other<'a> {
    pub fn of(facts: &'a Facts<'_>, pattern: &DropGroup<'_>) -> Option<Self> {
        let to: IpAddr = pattern.destination;
        let known = facts.gathered.services()?;
        let rules = known.rules.iter().filter(|s| s.address == to);
        let rules: Vec<&Service> = rules.collect();
        let asked = (pattern.port, pattern.protocol);
        let other = rules.iter().all(|s| (s.port, s.protocol) != asked);
        let of_service = other && !pattern.reply && services::is_elsewhere(facts, to);
        (of_service && !rules.is_empty()).then_some(Self { rules })
    }

    /// `prod/web (10.96.0.10)`.
    fn title(&self, facts: &Facts<'_>) -> String {
        let path = self.rules.iter().find_map(|s| services::path(facts, s));
        let address = self.rules.first().map(|s| s.address.to_string());
        let address = address.unwrap_or_default();
        path.map_or(address.clone(), |path| format!("{path} ({address})"))
    }

    fn ports(&self) -> String {
        let port = |s: &&Service| format!("{} {}", flow::protocol(s.protocol), s.port);
        let all: BTreeSet<String> = self.rules.iter().map(port).collect();
        Vec::from_iter(all).join(t!(", "))
    }

    pub fn evidence(&self, facts: &Facts<'_>) -> Option<Evidence> {
        let first = self.rules.first()?;
        let list = first.engine.list(first.address);
        Some(services::rules(
            t!(
                "the Service {} has no such port: it has {}",
                self.title(facts),
                self.ports()
            ),
            list.pipe(shell!("grep -F -e {v}", first.address)),
        ))
    }

    pub fn fix(&self, facts: &Facts<'_>, asked: &str) -> Fix {
        let path = self.rules.iter().find_map(|s| services::path(facts, s));
        let show = path.as_deref().and_then(|p| p.split_once('/'));
        let show =
            show.map(|(namespace, name)| shell!("kubectl -n {v} get service {}", namespace, name));
        Fix {
            summary: t!(
                "ask the Service {} by a port that it has ({}), or add the port to it: {asked} is \
                 rejected because it is none of them",
                self.title(facts),
                self.ports()
            ),
            commands: show.into_iter().collect(),
        }
    }
}

//! Where conversations that are owed end alike: one finding, whatever their number.
use std::{collections::BTreeSet, net::IpAddr};

use netdiag_forwarding::way::{Does, How, Station, Step, Subject};
use netdiag_lang::t;

use super::{named, owed::Owed, whom::Whom};
use crate::{
    causes::{
        firewall_drop, forwarding_disabled, hairpin_off, neighbour_failed, no_route,
        overlay_blocked, path_broken, rp_filter_drop, service_local_only, service_no_endpoints,
    },
    model::{
        address::endpoint,
        node::Link,
        services::Service,
        shell::CommandLine,
        verdict::{
            self, Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, PodRole, Severity,
        },
    },
    pipeline::{facts::Facts, taker::taker},
    predicted::{self, behind::InVain, change},
    shared::{dead_end, ending},
    shell,
};

/// Pods that a finding names.
const PODS: usize = 20;

pub struct Ended {
    pub cause: &'static str,
    pub severity: Severity,
    pub count: usize,
    /// Where, in words.
    pub what: String,
    subject: Option<verdict::Subject>,
    evidence: Vec<Evidence>,
    fix: Option<Fix>,
    /// The first of them, and the command that walks it.
    example: String,
    walk: CommandLine,
    /// What is answered ends there.
    answer: bool,
    pods: BTreeSet<IpAddr>,
}

impl Ended {
    /// How bad it is that one ends there; nothing where somebody is known to mean it.
    pub fn severity(
        facts: &Facts<'_>,
        (step, partly): (&Step<'_>, bool),
        owed: &Owed,
    ) -> Option<Severity> {
        let refuser = Refuser::of(facts, step, owed);
        if matches!(refuser, Refuser::Policy) || !owed.is_told(facts, step, &refuser) {
            return None;
        }
        let whole = !partly || owed.whom.is_one();
        Some(match refuser.may_be_fault(step, owed) && whole {
            true => Severity::Warning,
            false => Severity::Info,
        })
    }

    /// The first one that ends there.
    pub fn of(facts: &Facts<'_>, (step, answer): (&Step<'_>, bool), owed: &Owed) -> Self {
        let refuser = Refuser::of(facts, step, owed);
        let told = dead_end::told(facts, step);
        let mut evidence: Vec<Evidence> = told.iter().map(|it| it.evidence.clone()).collect();
        if told.is_none()
            && let Some((text, shown)) = predicted::words::by(facts, step)
        {
            let kind = match step.station {
                Station::Neighbour => EvidenceKind::Neighbour,
                Station::Hook => EvidenceKind::Rule,
                _ => EvidenceKind::Link,
            };
            let mut line = Evidence::new(kind, Origin::Configured, text);
            line.confirm = Some(shown);
            evidence.push(line);
        }
        Self {
            cause: refuser.cause(facts, step, owed.whom),
            what: ending::said(facts, step),
            subject: told.and_then(|it| it.subject),
            evidence,
            fix: change::smallest(facts, step, &owed.question),
            answer,
            ..Self::met_first(facts, owed)
        }
    }

    /// What gets somewhere for nothing.
    pub fn in_vain(facts: &Facts<'_>, told: InVain, owed: &Owed) -> Self {
        Self {
            cause: told.cause,
            what: told.what,
            fix: Some(told.fix),
            answer: told.answer,
            ..Self::met_first(facts, owed)
        }
    }

    fn met_first(facts: &Facts<'_>, owed: &Owed) -> Self {
        let (from, (to, port)) = (owed.from, owed.to);
        Self {
            cause: path_broken::ID,
            severity: Severity::Info,
            count: 0,
            what: String::new(),
            subject: None,
            evidence: Vec::new(),
            fix: None,
            example: named(facts, owed),
            walk: shell!("netdiag path {} {} --predict", from, endpoint(to, port)),
            answer: false,
            pods: BTreeSet::new(),
        }
    }

    /// One that ends there: the worst of them tells how bad it is.
    pub fn meet(&mut self, owed: &Owed, severity: Severity) {
        self.severity = self.severity.max(severity);
        self.count += 1;
        self.pods.insert(owed.from);
    }

    /// All is how many conversations were walked.
    pub fn finding(self, facts: &Facts<'_>, all: usize) -> Finding {
        let (what, count, example) = (&self.what, self.count, &self.example);
        let summary = match self.answer {
            false => t!(
                "{what}: {count} of {all} conversations that this node owes end there, {example} for one"
            ),
            true => t!(
                "{what}: the answers of {count} of {all} conversations that this node owes end there, those of {example} for one"
            ),
        };
        let mut finding = Finding::new(self.cause, self.severity, Confidence::Configured, summary);
        finding.evidence = self.evidence;
        let text = t!("{example}: its computed way ends there");
        let mut line = Evidence::new(EvidenceKind::Path, Origin::Configured, text);
        line.confirm = Some(self.walk);
        finding.evidence.push(line);
        finding.fix = self.fix.unwrap_or_default();
        finding.subject = self.subject;
        let pods = self.pods.iter().take(PODS);
        finding.pods = pods
            .filter_map(|pod| facts.pod(*pod, PodRole::Source))
            .collect();
        finding.about = self.pods.into_iter().collect();
        let now = facts.clock.text(facts.now);
        finding.named_at = Some(now.clone());
        (finding.first_seen, finding.last_seen) = (now.clone(), now);
        finding
    }
}

impl Owed {
    /// Of ways that are walked for themselves no rule is told; and no pod whose own routes lead it nowhere: networks are made so.
    fn is_told(&self, facts: &Facts<'_>, step: &Step<'_>, refuser: &Refuser<'_>) -> bool {
        let closed = matches!(step.does, Does::Refuses(How::NoRoute));
        if closed && step.netns != facts.node.netns {
            return false;
        }
        self.whom.is_asked_by_port() || matches!(refuser, Refuser::State)
    }
}

/// Whose no it is.
enum Refuser<'a> {
    /// What is configured of links, routes, bridges.
    State,
    /// Nobody has the address, of all who were asked.
    Nobody,
    /// Whoever leads Services, for this one.
    Leader(Option<&'a Service>),
    /// A network policy.
    Policy,
    /// Another rule.
    Rule,
}

impl<'a> Refuser<'a> {
    fn of(facts: &Facts<'a>, step: &Step<'_>, owed: &Owed) -> Self {
        if dead_end::told(facts, step).is_some() {
            return Self::State;
        }
        match step.by {
            Some(Subject::Filter(filter)) if step.station == Station::Hook => {
                let taker = taker(filter, false);
                let (to, port) = owed.to;
                let services = facts.gathered.services();
                let service =
                    services.and_then(|all| all.rule(to, port, owed.question.flow.protocol));
                if change::leads_services(facts, &taker.chain, to) {
                    return Self::Leader(service);
                }
                match firewall_drop::engine_of(&taker.chain.chain) {
                    Some(_) => Self::Policy,
                    None => Self::Rule,
                }
            }
            // Nobody is asked by a tunnel: what it knows somebody entered.
            Some(by) if owed.whom == Whom::Others && is_at_tunnel(facts, by) => Self::State,
            _ => Self::Nobody,
        }
    }

    fn cause(&self, facts: &Facts<'_>, step: &Step<'_>, whom: Whom) -> &'static str {
        let here = step.netns == facts.node.netns;
        match (self, &step.does) {
            (Self::Leader(Some(service)), _) if service.local => service_local_only::ID,
            (Self::Leader(_), _) => service_no_endpoints::ID,
            (Self::Rule | Self::Policy, _) if whom == Whom::Tunnel => overlay_blocked::ID,
            (Self::Rule | Self::Policy, _) => firewall_drop::ID,
            (Self::State, Does::Refuses(How::NotForwarding)) if here => forwarding_disabled::ID,
            (Self::State, Does::Refuses(How::ReversePath)) => rp_filter_drop::ID,
            (Self::State, Does::Refuses(How::NoRoute)) if here => no_route::ID,
            (_, Does::Refuses(How::SamePort)) => hairpin_off::ID,
            (_, Does::Refuses(How::NoNeighbour(_) | How::NoRemote)) => neighbour_failed::ID,
            _ => path_broken::ID,
        }
    }

    /// Whether nobody can want it. A Service without endpoints, an address that nobody has any more, and a bridge that sends
    /// nothing back to whoever asks himself are everyday; a rule may be meant, but who is told of a name server is to reach it.
    fn may_be_fault(&self, step: &Step<'_>, owed: &Owed) -> bool {
        match self {
            Self::State => !matches!(step.does, Does::Refuses(How::SamePort)),
            Self::Leader(_) | Self::Nobody | Self::Policy => false,
            Self::Rule => owed.whom.is_needed(),
        }
    }
}

/// Whether it is about a tunnel of this node's, or an entry at one.
fn is_at_tunnel(facts: &Facts<'_>, by: Subject<'_>) -> bool {
    let index = match by {
        Subject::Device(device) => device.index,
        Subject::Neighbour(entry) => entry.device,
        _ => return false,
    };
    facts.link(index).is_some_and(Link::is_tunnel)
}

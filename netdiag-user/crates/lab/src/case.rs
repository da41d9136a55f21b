//! What a lab is made for: a scenario, or two in the same nodes.
use std::net::{IpAddr, SocketAddr};

use super::daemon::Daemon;
use super::needs::Need;
use super::parts::Part;
use super::plan::Plan;
use super::scenarios::{self, Scenario};
use super::state::Options;
use super::step::Step;
use super::timeline::Timeline;
use super::traffic::Flow;

/// A scenario, and another one beside it. Everything that a lab asks of a scenario, of both.
#[derive(Clone, Copy)]
pub struct Case {
    pub first: &'static Scenario,
    pub second: Option<&'static Scenario>,
    /// The one of the two whose own fault cannot be seen beside the other's.
    pub hidden: Option<Hidden>,
}

/// A scenario whose traffic another one's fault stops.
#[derive(Clone, Copy)]
pub struct Hidden {
    pub scenario: &'static Scenario,
    /// One of these is found all the same, but never as a root cause.
    pub found_as: &'static [&'static str],
}

impl Case {
    /// One scenario by itself.
    pub const fn alone(first: &'static Scenario) -> Self {
        Self {
            first,
            second: None,
            hidden: None,
        }
    }

    /// The case of a lab with these options. Fails with a sentence where there is no such
    /// scenario, or where the two cannot be in one node.
    pub fn of(options: &Options) -> Result<Self, String> {
        let find = |name: &str| {
            scenarios::find(name).ok_or_else(|| {
                format!("no scenario {name}: `netdiag lab list` shows those there are")
            })
        };
        let mut case = Self::alone(find(&options.scenario)?);
        if let Some(with) = &options.with {
            case.second = Some(find(with)?);
            case.hidden = case.joined(options)?;
        }
        Ok(case)
    }

    /// Every two scenarios that can be in one node with this seed, each once.
    pub fn pairs(seed: u64) -> impl Iterator<Item = (Self, Options)> {
        let each = scenarios::ALL.iter().enumerate();
        let both = each.flat_map(|(n, a)| scenarios::ALL[n + 1..].iter().map(move |b| (a, b)));
        both.filter_map(move |(first, second)| {
            let options = Options {
                scenario: first.name.to_owned(),
                seed,
                healthy: false,
                ipv6: false,
                offload: true,
                with: Some(second.name.to_owned()),
            };
            Some((Self::of(&options).ok()?, options))
        })
    }

    /// Which of the two hides the other, or why they cannot be in one node.
    fn joined(&self, options: &Options) -> Result<Option<Hidden>, String> {
        let (first, Some(second)) = (self.first, self.second) else {
            return Ok(None);
        };
        if first.name == second.name {
            return Err(format!("{} is in the node already", first.name));
        }
        let both = format!("{} and {} cannot be in one node", first.name, second.name);
        if first.topology != second.topology {
            return Err(format!("{both}: their overlays are of different kinds"));
        }
        if let Some(part) = Part::shared(first, second) {
            return Err(format!("{both}: both take {}", part.name()));
        }
        let plan = self.plan("", options.clone());
        let its_own = plan.of_second();
        if first.observer(&plan) != second.observer(&its_own) {
            return Err(format!("{both}: they are seen by different nodes"));
        }
        let (first, second) = ((first, &plan), (second, &its_own));
        let mut hidden = None;
        for (taker, user) in [(first, second), (second, first)] {
            let missing = Part::missing(taker.0, user.0);
            let Some(part) = missing.first() else {
                continue;
            };
            let stopped = |part| taker.0.stops(taker.1).contains(part);
            let found_as = user.0.hidden_as(user.1);
            if found_as.is_empty() || hidden.is_some() || !missing.iter().all(stopped) {
                let (taker, user, part) = (taker.0.name, user.0.name, part.name());
                return Err(format!("{both}: {taker} takes {part}, which {user} needs"));
            }
            let scenario = user.0;
            hidden = Some(Hidden { scenario, found_as });
        }
        Ok(hidden)
    }

    /// The lab's plan, in the shape that both give it.
    pub fn plan(&self, id: &str, options: Options) -> Plan {
        let mut plan = self.first.plan(id, options);
        if let Some(second) = self.second {
            let variant = std::mem::take(&mut plan.variant);
            second.shape(&mut plan);
            plan.second_variant = std::mem::replace(&mut plan.variant, variant);
        }
        plan
    }

    /// What of the machine both need.
    pub fn needs(&self) -> Vec<Need> {
        let all = self.scenarios().flat_map(|it| it.needs);
        all.copied().collect()
    }

    /// Why there is no IPv6 twin.
    pub fn no_ipv6(&self) -> Option<&'static str> {
        self.scenarios().find_map(|it| it.no_ipv6)
    }

    /// Why its fault cannot come while it is watched.
    pub fn no_late(&self) -> Option<&'static str> {
        self.scenarios().find_map(|it| it.no_late)
    }

    /// The causes that the node must name, and no others.
    pub fn expected(&self, healthy: bool) -> Vec<String> {
        let mut all = Vec::new();
        for cause in self.seen().flat_map(|it| it.expected(healthy)) {
            if !all.contains(&cause) {
                all.push(cause);
            }
        }
        all
    }

    /// Causes that must be found below those.
    pub fn leads_to(&self) -> impl Iterator<Item = &'static str> {
        self.seen().flat_map(|it| it.leads_to).copied()
    }

    /// What is done to the lab when it stands.
    pub fn faults(&self, plan: &Plan) -> Vec<Step> {
        self.each(plan, Scenario::faults)
    }

    /// What brings the fault over a lab that was built as its healthy twin.
    pub fn late(&self, plan: &Plan, twin: &Plan) -> Vec<Step> {
        let there = self.faults(twin);
        let mut steps = self.each(plan, Scenario::late);
        let faults = self.faults(plan).into_iter();
        steps.extend(faults.filter(|step| !there.contains(step)));
        steps
    }

    /// Real programs that run beside the traffic.
    pub fn daemons(&self, plan: &Plan) -> Vec<Daemon> {
        self.each(plan, Scenario::daemons)
    }

    /// The flows of both, each once, and with `background` those of a busy healthy cluster. One
    /// scenario's programs take the place of servers that another has for itself.
    pub fn traffic(&self, plan: &Plan, background: bool) -> Vec<Flow> {
        let mut flows = self.first.traffic(plan);
        let mut more = Vec::new();
        if let Some(second) = self.second {
            more.extend(second.traffic(&plan.of_second()));
        }
        if background {
            more.extend(scenarios::background(plan));
        }
        for flow in more {
            if !flows.contains(&flow) {
                flows.push(flow);
            }
        }
        let daemons = self.daemons(plan);
        flows.retain(|flow| {
            let server = flow.server_address(plan);
            server.is_none() || daemons.iter().all(|daemon| daemon.listens != server)
        });
        flows
    }

    /// What happens while the traffic goes on.
    pub fn timelines(&self, plan: &Plan) -> Vec<Timeline> {
        let mut all = self.each(plan, |it, plan| vec![it.timeline(plan)]);
        all.retain(|timeline| !timeline.steps.is_empty());
        all
    }

    /// Flows that the node translates, as [`Scenario::translated`].
    pub fn translated(&self, plan: &Plan) -> Vec<(IpAddr, SocketAddr)> {
        self.each(plan, |it, plan| match self.hides(it) {
            true => Vec::new(),
            false => it.translated(plan),
        })
    }

    /// Whether the commands of the fixes that are printed undo both faults in the lab. What is
    /// hidden shows when the other is fixed.
    pub fn fixable(&self, plan: &Plan) -> bool {
        if self.hidden.is_some() {
            return false;
        }
        let each = self.each(plan, |it, plan| vec![it.fixable(plan)]);
        each.into_iter().all(|fixable| fixable)
    }

    /// The index of the node that diagnoses.
    pub fn observer(&self, plan: &Plan) -> usize {
        self.first.observer(plan)
    }

    fn scenarios(&self) -> impl Iterator<Item = &'static Scenario> {
        [self.first].into_iter().chain(self.second)
    }

    fn hides(&self, scenario: &Scenario) -> bool {
        self.hidden
            .is_some_and(|it| it.scenario.name == scenario.name)
    }

    /// Those whose own causes can be told.
    fn seen(&self) -> impl Iterator<Item = &'static Scenario> {
        let this = *self;
        self.scenarios().filter(move |it| !this.hides(it))
    }

    fn each<T>(&self, plan: &Plan, of: impl Fn(&Scenario, &Plan) -> Vec<T>) -> Vec<T> {
        let mut all = of(self.first, plan);
        if let Some(second) = self.second {
            all.extend(of(second, &plan.of_second()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{A, Kind};
    use crate::scenarios::ALL;

    fn options(first: &str, second: &str, seed: u64) -> Options {
        Options {
            scenario: first.to_owned(),
            seed,
            healthy: false,
            ipv6: false,
            offload: true,
            with: Some(second.to_owned()),
        }
    }

    /// Every pair that may be, with its plan.
    fn pairs(seed: u64) -> impl Iterator<Item = (Case, Plan)> {
        Case::pairs(seed).map(|(case, options)| (case, case.plan("0000", options)))
    }

    #[test]
    fn a_refusal_names_both_and_what_they_take() {
        let refused = |first, second| Case::of(&options(first, second, 1)).err();
        assert_eq!(
            refused("etcd-nospace", "ipam-etcd-full").as_deref(),
            Some("etcd-nospace and ipam-etcd-full cannot be in one node: both take etcd")
        );
        assert_eq!(
            refused("not-listening", "no-route").as_deref(),
            Some(
                "not-listening and no-route cannot be in one node: no-route takes the way to the \
                 other node's pods, which not-listening needs"
            )
        );
        assert_eq!(
            refused("healthy", "ipip-mtu-too-large").as_deref(),
            Some(
                "healthy and ipip-mtu-too-large cannot be in one node: their overlays are of \
                 different kinds"
            )
        );
        assert!(refused("healthy", "nonsense").is_some_and(|why| why.contains("nonsense")));
        assert_eq!(refused("etcd-nospace", "firewall-drop"), None);
    }

    #[test]
    fn what_a_fault_stops_hides_what_relies_on_it() {
        for (first, second) in [
            ("no-route", "sidecar-blocked"),
            ("sidecar-blocked", "no-route"),
        ] {
            let options = options(first, second, 1);
            let case = Case::of(&options).expect("a pair");
            let hidden = case.hidden.map(|it| (it.scenario.name, it.found_as));
            assert_eq!(hidden, Some(("sidecar-blocked", &["sidecar-blocked"][..])));
            assert_eq!(case.expected(false), ["no-route"]);
            assert!(!case.fixable(&case.plan("0000", options)));
        }
        let hidden = |options: &Options| Case::of(options).map(|case| case.hidden.is_some());
        // A name server on the node that diagnoses is asked all the same; one on the other is not.
        assert!(hidden(&options("no-route", "dns-unreachable", 1)).is_err());
        assert_eq!(hidden(&options("no-route", "dns-unreachable", 2)), Ok(true));
        // A link that flaps lets through what comes between.
        assert_eq!(
            hidden(&options("link-failure", "sidecar-blocked", 1)),
            Ok(true)
        );
        assert!(hidden(&options("link-failure", "sidecar-blocked", 2)).is_err());
        // Some queries get through a short queue.
        assert!(hidden(&options("nic-queue-full", "sidecar-blocked", 1)).is_err());
        assert_eq!(hidden(&options("no-route", "etcd-nospace", 1)), Ok(false));
    }

    #[test]
    fn a_pair_is_one_whichever_comes_first() {
        for seed in 0..6 {
            for (case, _) in pairs(seed) {
                let second = case.second.expect("a pair").name;
                let turned = Case::of(&options(second, case.first.name, seed));
                let hidden = |case: &Case| case.hidden.map(|it| it.scenario.name);
                let turned = turned.as_ref().map(hidden);
                assert_eq!(turned, Ok(hidden(&case)), "{} {second}", case.first.name);
            }
        }
    }

    #[test]
    fn no_scenario_goes_with_itself_and_none_is_alone() {
        for scenario in ALL {
            let with = |other: &Scenario| Case::of(&options(scenario.name, other.name, 1));
            assert!(with(scenario).is_err(), "{}", scenario.name);
            let seen = scenario.observer(&scenario.plan("0000", options("", "", 1)));
            if (scenario.topology, seen) == (Kind::Vxlan, A) {
                let others = ALL.iter().filter(|it| with(it).is_ok()).count();
                assert!(others > 5, "{} goes with {others}", scenario.name);
            }
        }
    }

    #[test]
    fn each_of_two_keeps_its_form() {
        for seed in 0..6 {
            for (case, plan) in pairs(seed) {
                let alone = |of: &Scenario| of.plan("0000", plan.options.clone()).variant;
                let second = case.second.expect("a pair");
                assert_eq!(plan.variant, alone(case.first), "{}", case.first.name);
                assert_eq!(plan.of_second().variant, alone(second), "{}", second.name);
            }
        }
    }

    #[test]
    fn no_flow_is_there_twice_and_no_port_is_served_twice() {
        for (case, plan) in pairs(1) {
            let flows = case.traffic(&plan, true);
            let daemons = case.daemons(&plan);
            for (n, flow) in flows.iter().enumerate() {
                assert!(!flows[..n].contains(flow), "{flow:?}");
                let at = flow.server_address(&plan);
                let taken = daemons.iter().any(|d| at.is_some() && d.listens == at);
                assert!(!taken, "{} {flow:?}", case.first.name);
            }
        }
    }
}

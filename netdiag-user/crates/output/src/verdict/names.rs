//! What severities, confidences, roles and times are called.
use anstyle::Style;
use netdiag_lang::t;

use crate::{
    model::verdict::{Confidence, Finding, PodRef, PodRole, Severity, Verdict},
    style::{CYAN, RED, YELLOW},
};

/// How long it was watched.
pub fn watched(verdict: &Verdict) -> String {
    match verdict.observer.hooks {
        0 => t!("configuration only, no traffic watched").to_owned(),
        _ => t!("watched {:.1} s", verdict.duration),
    }
}

pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => t!("CRITICAL"),
        Severity::Warning => t!("WARNING"),
        Severity::Info => t!("INFO"),
    }
}

pub const fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Critical => RED,
        Severity::Warning => YELLOW,
        Severity::Info => CYAN,
    }
}

pub fn role_name(role: PodRole) -> &'static str {
    use PodRole::{Destination, Server, Source, Victim};
    match role {
        Source => t!("source"),
        Destination => t!("destination"),
        Server => t!("server"),
        Victim => t!("victim"),
    }
}

/// Each pod once, with all of its roles: a client may be its own server.
pub fn in_roles(pods: &[PodRef]) -> Vec<(String, &PodRef)> {
    let mut all: Vec<(Vec<&'static str>, PodRef, &PodRef)> = Vec::new();
    for pod in pods {
        let role = pod.role.map(role_name);
        let bare = PodRef {
            role: None,
            ..pod.clone()
        };
        match all.iter_mut().find(|(_, known, _)| *known == bare) {
            Some((roles, ..)) => roles.extend(role.filter(|role| !roles.contains(role))),
            None => all.push((role.into_iter().collect(), bare, pod)),
        }
    }
    let joined = |(roles, _, pod): (Vec<_>, _, _)| (roles.join(t!(", ")), pod);
    all.into_iter().map(joined).collect()
}

/// How sure it is.
pub fn confidence(finding: &Finding) -> &'static str {
    match finding.confidence {
        Confidence::Confirmed if by_traffic(finding) => t!("confirmed by traffic"),
        Confidence::Confirmed => t!("confirmed"),
        Confidence::Configured => t!("by configuration, not met by traffic yet"),
        Confidence::Suspected => t!("suspected"),
    }
}

/// What a control plane or a file says is confirmed without a packet.
fn by_traffic(finding: &Finding) -> bool {
    !finding.flows.is_empty() || finding.evidence.iter().any(|e| e.packets.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_with_two_roles_is_told_once() {
        let pod = |name: &str, role| PodRef {
            name: Some(name.into()),
            role: Some(role),
            ..PodRef::default()
        };
        let all = [
            pod("cart", PodRole::Source),
            pod("api", PodRole::Server),
            pod("cart", PodRole::Victim),
            pod("cart", PodRole::Source),
        ];
        let told = in_roles(&all);
        let told: Vec<_> = told
            .iter()
            .map(|(roles, it)| (roles.as_str(), *it))
            .collect();
        assert_eq!(told, [("source, victim", &all[0]), ("server", &all[1])]);
    }
}

//! What severities, confidences, roles and times are called.
use anstyle::Style;
use netdiag_lang::t;

use crate::{
    model::verdict::{Confidence, Finding, PodRole, Severity, Verdict},
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

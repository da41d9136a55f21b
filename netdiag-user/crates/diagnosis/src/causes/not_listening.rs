//! # Symptom
//! Connections to one port of a pod are refused at once: "connection refused". Other ports of that pod
//! answer.
//!
//! # Mechanism
//! The SYN reaches the pod, and no socket listens on that port: the pod's kernel answers with RST (RFC
//! 9293, 3.5.2), to a datagram with ICMP "port unreachable". The program crashed or has not started yet,
//! listens on another port than the Service's `targetPort` or the probe, or on another address of the
//! pod. A rule in the pod may lead the connection to another port (REDIRECT): to a proxy that does not run.
//!
//! The same at the node itself, for an address that somebody gave its `lo` or a dummy link: a name server of the node's that
//! is gone, or another host's address that was left there, for which the node takes what is sent to that one.
//!
//! # Signals
//! Observed: the pod refuses the same client again and again and has accepted no connection since; for
//! UDP, the pod's "port unreachable". Configured: the listening sockets of the pod's network namespace,
//! none of them on that port. Of the node: its own resets, its sockets, and which link has the address.
//!
//! # Look-alikes
//! `loopback-only-listener`: a program does listen on that port, on 127.0.0.1 or ::1.
//! `service-no-endpoints` and a `REJECT` rule: the refusal comes from the node, not from the pod.
//! `sidecar-blocked`: a proxy in the pod has not opened its ports yet. A program that restarts refuses
//! for a moment, and a client may try a port now and then: neither is a finding.
//!
//! # By hand
//! `tcpdump -nni VETH 'tcp[13] & 4 != 0'` shows the RST come out of the pod. `nsenter -t PID -n ss -ltnp`
//! with the PID of any process of the pod lists who listens there.
//!
//! # Fix
//! Start the program, or make its port and the Service's `targetPort` (or the probe's port) agree.
mod by_node;

use crate::{
    model::{
        interception::Redirect,
        pod::label,
        shell::CommandLine,
        verdict::{Confidence, Finding, Fix, Subject},
    },
    need::Need,
    pipeline::facts::Facts,
    shared::refusals::{self, Refusal},
};
use netdiag_lang::{mark, t};

pub const ID: &str = "not-listening";
pub const TITLE: &str = mark!("nothing listens on the pod's port that clients connect to");

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let of_node = refusals::by_node(facts);
    let of_node = of_node.iter().map(Refusal::need);
    refusals::wants(facts).into_iter().chain(of_node).collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Vec<Finding> {
    let by_node = by_node::evaluate(facts);
    let all = by_pods(facts).into_iter().chain(by_node);
    all.chain(by_node::closed(facts)).collect()
}

fn by_pods(facts: &Facts<'_>) -> Option<Finding> {
    let mut refusals = refusals::plain(facts);
    refusals.retain(|r| r.reaches_nobody(facts) == Some(true));
    let worst = refusals.first()?;
    let severity = refusals.iter().map(|r| r.severity(facts)).max()?;
    let (port, times) = (worst.attempts.port, worst.times);
    let pod = worst
        .pod(facts)
        .map_or_else(|| worst.endpoint(), |p| label(&p));
    let found = worst.found(facts)?;
    let redirect = worst.redirect(facts);
    let summary = match (worst.udp(), redirect) {
        (_, Some(redirect)) => t!(
            "nothing listens on port {} of {pod}, to which a rule in the pod leads port {port}: {times} \
             connections refused",
            redirect.port
        ),
        (true, _) => t!("nothing listens on UDP port {port} of {pod}: {times} datagrams refused"),
        (false, _) => t!("nothing listens on port {port} of {pod}: {times} connections refused"),
    };
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary);
    refusals::tell(&mut finding, facts, &refusals);
    for address in refusals.iter().map(|r| r.attempts.server) {
        finding.ties.rest_on(Subject::Address { address });
    }
    let text = t!(
        "no socket of {pod} takes what is sent to {}; {found}",
        worst.endpoint()
    );
    finding.evidence.push(refusals::sockets(facts, worst, text));
    if let Some(redirect) = redirect {
        let rule = refusals::led(facts, worst, redirect);
        finding.fix = fix_redirect(facts, worst, redirect, &pod, rule.confirm.clone());
        finding.evidence.push(rule);
        return Some(finding);
    }
    finding.fix = Fix {
        summary: t!(
            "let the program in {pod} listen on port {port}, or point its clients (the Service's \
             targetPort, the probe) at the right one: {found}"
        ),
        commands: vec![worst.list_sockets(facts)],
    };
    Some(finding)
}

fn fix_redirect(
    facts: &Facts<'_>,
    refusal: &Refusal<'_>,
    redirect: &Redirect,
    pod: &str,
    list: Option<CommandLine>,
) -> Fix {
    let (port, to) = (refusal.attempts.port, redirect.port);
    Fix {
        summary: t!(
            "start the program that takes port {to} in {pod} (a proxy, beside the pod's own program), \
             or take away the rule that leads port {port} to it"
        ),
        commands: [Some(refusal.list_sockets(facts)), list]
            .into_iter()
            .flatten()
            .collect(),
    }
}

//! # Symptom
//! Connections to a pod are refused at once. Inside the pod `curl localhost` works, and the program's log
//! says that it listens.
//!
//! # Mechanism
//! The program is bound to 127.0.0.1 or ::1 (the default of many development servers and administration
//! ports). Packets to the pod's own address find no socket, and the kernel answers with RST. Daemons of
//! the node have the same default: kube-proxy's metrics (port 10249) are its own until told otherwise.
//!
//! # Signals
//! Observed: the pod refuses the same client again and again and has accepted no connection since.
//! Configured: a socket of the pod's network namespace listens on that port, on a loopback address only.
//!
//! # Look-alikes
//! `not-listening`: nothing listens on that port at all. A sidecar (Istio's) that redirects to localhost
//! makes such a program reachable: then nothing is refused.
//!
//! # By hand
//! `nsenter -t PID -n ss -ltnp` with the PID of any process of the pod: the local address is
//! `127.0.0.1:PORT` or `[::1]:PORT`.
//!
//! # Fix
//! Bind the program to `0.0.0.0` or `[::]`, or to the pod's address (the downward API's `status.podIP`).
use crate::{
    model::{
        gather::{Listener, Reach},
        pod::label,
        verdict::{Confidence, Finding, Fix},
    },
    need::Need,
    pipeline::facts::Facts,
    shared::refusals::{self, Refusal},
};
use netdiag_lang::{mark, t};

pub const ID: &str = "loopback-only-listener";
pub const TITLE: &str = mark!("the program listens on 127.0.0.1 or ::1 only");

pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let of_node = refusals::by_node(facts);
    let of_node = of_node.iter().map(Refusal::need);
    refusals::wants(facts).into_iter().chain(of_node).collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut refusals = refusals::plain(facts);
    refusals.extend(refusals::by_node(facts));
    refusals.retain(|r| listener(facts, r).is_some());
    let worst = refusals.first()?;
    let listener = listener(facts, worst)?;
    let severity = refusals.iter().map(|r| r.severity(facts)).max()?;
    let (port, tries) = (worst.attempts.port, worst.attempts.tries.len());
    let by_us = worst.netns == facts.node.netns;
    let pod = match worst.pod(facts).filter(|_| !by_us) {
        Some(pod) => label(&pod),
        None if by_us => t!("this node ({})", worst.attempts.server),
        None => worst.endpoint(),
    };
    let address = listener.address;
    let summary = match by_us {
        true => t!("port {port} of {pod} is served on {address} only: {tries} connections refused"),
        false => t!(
            "port {port} of {pod} is served on {address} only: {tries} connections from outside the \
         pod refused"
        ),
    };
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary);
    refusals::tell(&mut finding, facts, &refusals);
    let found = refusals::describe(listener);
    let text = t!(
        "{pod} listens on {found} and not on {}",
        worst.attempts.server
    );
    finding.evidence.push(refusals::sockets(facts, worst, text));
    finding.fix = fix(listener, &pod);
    Some(finding)
}

fn listener<'a>(facts: &Facts<'a>, refusal: &Refusal<'_>) -> Option<&'a Listener> {
    match refusal.reach(facts)? {
        Reach::Loopback(listener) => Some(listener),
        _ => None,
    }
}

fn fix(listener: &Listener, pod: &str) -> Fix {
    let any = if listener.address.is_ipv4() {
        "0.0.0.0"
    } else {
        "[::]"
    };
    let who = listener.owner.as_deref().unwrap_or(t!("the program"));
    let port = listener.port;
    Fix {
        summary: t!(
            "bind {who} in {pod} to {any}:{port} in place of {}: an option such as --host or \
             --bind, or its configuration",
            listener.address,
        ),
        commands: Vec::new(),
    }
}

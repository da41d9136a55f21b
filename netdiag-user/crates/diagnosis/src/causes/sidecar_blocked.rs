//! # Symptom
//! Pods with a sidecar (Istio, Linkerd, Kuma) do not become ready: health checks of the proxy's ports
//! (15021, 15020) and of the program's own are refused, although the program listens.
//!
//! # Mechanism
//! Rules in the pod's network namespace redirect all of its connections to the proxy (REDIRECT, TPROXY).
//! The proxy opens its ports only after its control plane has configured it. Until it has resolved and
//! reached the control plane, the pod's kernel answers every connection with RST.
//!
//! # Signals
//! Observed: the pod refuses the same client again and again and has accepted no connection since. In
//! addition its own lookups of cluster names get no answer, its control plane's name does not exist, or
//! its own connections fail. Configured: such rules in the pod's namespace, or a proxy that runs there;
//! no socket of the proxy on the port that the rules redirect to, or on the refused port if the rules
//! leave it to the proxy. No port number decides by itself.
//!
//! # Look-alikes
//! `not-listening`: the program itself does not listen, or the pod has no such rules, or the proxy waits
//! for nothing. `dns-unreachable`, and any other cause that stops the lookups or the connections, is the
//! root if it is found: then this cause appears below it.
//!
//! # By hand
//! `nsenter -t PID -n iptables-save -t nat` (or `nsenter -t PID -n nft list ruleset`) and `nsenter -t PID -n
//! ss -ltn`, with the PID of any process of the pod. `kubectl -n NAMESPACE logs POD -c istio-proxy`
//! (`linkerd-proxy` for Linkerd) says what the proxy cannot resolve or reach.
//!
//! # Fix
//! Let the proxy resolve and reach its control plane. Its ports then open by themselves.
use crate::{
    model::{
        pod::label,
        verdict::{Confidence, Evidence, EvidenceKind, Finding, Fix, Origin, Subject, Suffers},
    },
    need::{Need, Strength},
    pipeline::facts::Facts,
    shared::{
        refusals::{self, Refusal},
        sidecar::{self, Closed, Waits},
    },
    shell,
};
use netdiag_lang::{mark, t};

pub const ID: &str = "sidecar-blocked";
pub const TITLE: &str =
    mark!("a sidecar keeps its ports closed while it waits for its control plane");

/// Rules of the pods that refuse; their sockets are asked for by the other causes about them.
pub fn wants(facts: &Facts<'_>) -> Vec<Need> {
    let refusals = refusals::by_pods(facts);
    let each = refusals.iter().flat_map(|refusal| {
        let waits = sidecar::may_wait(facts, refusal);
        let mut rules = Need::of(sidecar::want(refusal), vec![refusal.sufferer()]);
        // A rule that leads these packets to a closed port says more than that nobody listens.
        (rules.at_best, rules.likely) = (Some(Strength::Acted), waits);
        let begins = sidecar::begins_to_wait(facts, refusal);
        let lasts = begins.then(|| Need::time(sidecar::LASTS, refusal.sufferer()));
        let known = [rules, refusal.need().only_if(waits)];
        known.into_iter().chain(lasts)
    });
    each.collect()
}

pub fn evaluate(facts: &Facts<'_>) -> Option<Finding> {
    let mut refusals = refusals::by_pods(facts);
    refusals.retain(|r| sidecar::explains(facts, r));
    let worst = refusals.first()?;
    let (closed, waits) = (
        sidecar::closed(facts, worst)?,
        sidecar::waits(facts, worst)?,
    );
    let severity = refusals.iter().map(|r| r.severity(facts)).max()?;
    let summary = summary(facts, worst, &refusals, &waits);
    let mut finding = Finding::new(ID, severity, Confidence::Confirmed, summary);
    finding.evidence.push(waiting(worst, &waits));
    finding.evidence.push(shut(facts, worst, &closed));
    refusals::tell(&mut finding, facts, &refusals);
    let all = refusals.iter().filter_map(|r| sidecar::waits(facts, r));
    let waits_for: Vec<_> = all.map(|waits| waits.server()).collect();
    for address in &waits_for {
        let address = *address;
        finding.ties.rest_on(Subject::NameServer { address });
    }
    finding.about.extend(&waits_for);
    finding.ties.suffers = Some(Suffers::Proxy { waits_for });
    finding.fix = fix(facts, worst, &waits);
    Some(finding)
}

fn name(facts: &Facts<'_>, refusal: &Refusal<'_>) -> String {
    let pod = refusal.pod(facts);
    pod.map_or_else(|| refusal.attempts.server.to_string(), |pod| label(&pod))
}

fn summary(
    facts: &Facts<'_>,
    worst: &Refusal<'_>,
    refusals: &[Refusal<'_>],
    waits: &Waits<'_>,
) -> String {
    let mut ports: Vec<_> = refusals.iter().map(|r| r.attempts.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let of_ports = if ports.len() == 1 {
        t!("port")
    } else {
        t!("ports")
    };
    let tries: usize = refusals.iter().map(|r| r.attempts.tries.len()).sum();
    t!(
        "the sidecar of {} keeps {of_ports} {} closed, {tries} connections refused: {}",
        name(facts, worst),
        ports.join(t!(" and ")),
        waits.text()
    )
}

fn waiting(refusal: &Refusal<'_>, waits: &Waits<'_>) -> Evidence {
    let kind = match waits.about_names() {
        true => EvidenceKind::Dns,
        false => EvidenceKind::Reset,
    };
    let text = t!(
        "the proxy waits: {}, {} packets so far",
        waits.text(),
        waits.asked()
    );
    let mut line = Evidence::new(kind, Origin::Observed, text);
    let link = &refusal.link.name;
    line.at = Some(link.clone());
    line.packets = Some(waits.asked());
    line.confirm = Some(waits.capture(link));
    line
}

/// The rule, or the proxy's own port.
fn shut(facts: &Facts<'_>, refusal: &Refusal<'_>, closed: &Closed<'_>) -> Evidence {
    let port = refusal.attempts.port;
    let proxy = sidecar::interception(facts, refusal);
    match closed {
        Closed::Led(redirect) => refusals::led(facts, refusal, redirect),
        Closed::Own => {
            let led = proxy.and_then(|p| p.inbound.first().or(p.outbound.first()));
            let who = match (led, proxy.and_then(|p| p.proxies.first())) {
                (Some(led), _) => t!("the rules lead other ports to {}", led.port),
                (None, Some(proxy)) => t!("{proxy} runs there"),
                (None, None) => t!("a proxy runs there").into(),
            };
            let text = t!("port {port} is the proxy's own ({who}), and nobody listens on it");
            refusals::sockets(facts, refusal, text)
        }
    }
}

fn fix(facts: &Facts<'_>, refusal: &Refusal<'_>, waits: &Waits<'_>) -> Fix {
    let summary = match waits {
        Waits::Silence(_) => t!(
            "bring name resolution back ({} does not answer the pod); the sidecar opens by itself",
            waits.target()
        ),
        Waits::NoName(question) => t!(
            "make {} exist (the control plane's Service), or correct the address that the sidecar \
             was injected with; it opens by itself then",
            question.name
        ),
        Waits::Refused(_) | Waits::Unanswered(_) => t!(
            "bring the control plane at {} back (its Deployment and Service); the sidecar opens by \
             itself",
            waits.target()
        ),
    };
    let mut commands = Vec::new();
    if let Some((Some(namespace), Some(name))) = refusal.pod(facts).map(|p| (p.namespace, p.name)) {
        let container = sidecar::interception(facts, refusal).and_then(|p| p.container());
        commands.push(match container {
            Some(proxy) => shell!(
                "kubectl -n {v} logs {} -c {v} --tail=20",
                namespace,
                name,
                proxy
            ),
            None => shell!(
                "kubectl -n {v} logs {} --all-containers --prefix --tail=20",
                namespace,
                name
            ),
        });
    }
    commands.push(refusals::list_sockets(facts, refusal.netns));
    Fix { summary, commands }
}

#[cfg(test)]
mod tests {
    use netdiag_common::hop::{self, ACK, RST, SYN};

    use super::*;
    use crate::{
        findings as evaluate,
        model::{
            gather::{Piece, Want},
            interception::{Interception, Redirect},
            netfilter::Listing,
            observation::Observation,
        },
        testing::{
            self, OVERLAY, POD, POD_NETNS, at, from_pod, overlay_node, question, silent, tcp,
            with_gathered,
        },
    };

    const SECOND: u64 = 1_000_000_000;
    const NAME: &str = "istiod.istio-system.svc.cluster.local";

    /// The pod refuses a client's port six times, and asks for a name without an answer.
    fn refused(port: u16, asks: bool) -> Observation {
        let mut observation = Observation {
            now: 60 * SECOND,
            ..Observation::default()
        };
        for n in 0..6 {
            let mut flow = tcp("172.20.2.9", "172.20.1.5", port);
            flow.source_port = 50_000 + n;
            let time = SECOND * u64::from(n + 1);
            let note = |flags: u32, time| {
                move |hop: &mut hop::FlowHop| {
                    (hop.first, hop.last, hop.flags) = (time, time, flags);
                    hop.syns = u32::from(flags == SYN);
                }
            };
            let request = at(flow, OVERLAY, false, 0, note(SYN, time));
            let answer = from_pod(flow.reversed(), note(RST | ACK, time + 1));
            observation.flows.extend([request, answer]);
        }
        if asks {
            let asked = question("172.20.1.5", "172.20.2.53", NAME, POD, silent);
            observation.dns.push(asked);
        }
        observation
    }

    fn named(observation: &Observation, listens: &[u16], of: &[u16]) -> Vec<String> {
        let listener = |port: &u16| testing::listener("0.0.0.0", *port);
        let redirect = Redirect {
            port: 15006,
            of: of.to_vec(),
            rule: "-A X -p tcp -j REDIRECT --to-ports 15006".into(),
            list: Listing::Unknown,
        };
        let rules = Interception {
            inbound: vec![redirect],
            exempt: vec![15021],
            ..Interception::default()
        };
        let listeners = Piece::Listeners(listens.iter().map(listener).collect());
        let known = [
            (Want::Listeners(POD_NETNS), Ok(listeners)),
            (
                Want::Interception(POD_NETNS),
                Ok(Piece::Interception(rules)),
            ),
        ];
        let node = overlay_node(1450, 1450, 1500);
        with_gathered(&node, observation, known, |facts| {
            let found = evaluate(facts).into_iter();
            let roots = found.filter(|f| f.consequence_of.is_none());
            roots.map(|f| f.cause).collect()
        })
    }

    #[test]
    fn lookups_without_an_answer_are_its_root() {
        // The program itself listens; the rules lead its clients to the closed proxy.
        assert_eq!(named(&refused(80, true), &[80], &[]), ["dns-unreachable"]);
        assert_eq!(
            named(&refused(15021, true), &[80], &[]),
            ["dns-unreachable"]
        );
    }

    #[test]
    fn a_proxy_that_waits_for_nothing_is_another_fault() {
        assert_eq!(named(&refused(15021, false), &[80], &[]), ["not-listening"]);
        // Its rules lead to a port that nobody has.
        assert_eq!(named(&refused(80, false), &[80], &[]), ["not-listening"]);
        assert_eq!(named(&refused(80, false), &[80, 15006], &[]), [""; 0]);
    }

    #[test]
    fn one_port_led_elsewhere_is_no_proxy() {
        let found = named(&refused(80, true), &[], &[80]);
        assert_eq!(found, ["dns-unreachable", "not-listening"]);
    }

    #[test]
    fn a_control_plane_without_a_name_is_told() {
        let unknown = |dns: &mut netdiag_common::dns::Dns| {
            (dns.queries, dns.nxdomain, dns.answers) = (5, 5, 5);
            dns.last_query = dns.first_query + 4 * SECOND;
            dns.last_answer = dns.last_query + 1;
        };
        let mut observation = refused(15021, false);
        let asked = question("172.20.1.5", "172.20.2.53", NAME, POD, unknown);
        observation.dns.push(asked);
        assert_eq!(named(&observation, &[], &[]), [ID]);
    }
}

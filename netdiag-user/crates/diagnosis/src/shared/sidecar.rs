//! What the causes about refused connections share about sidecars: whether a refused port is one
//! that a proxy in the pod has, or is led to, and what that proxy waits for.
use netdiag_common::dns::PORT;
use netdiag_lang::{mark, t};

use super::{
    dns::{self, PATTERN},
    refusals::Refusal,
};
use crate::{
    model::{
        address::endpoint,
        flow,
        gather::{Reach, Want, reach},
        interception::{Interception, Redirect},
        shell::CommandLine,
        total::Total,
    },
    pipeline::{
        connection_groups::{self, ConnectionGroup},
        facts::{Facts, Question},
    },
    shell,
};

/// What proxies ask their configuration of: the first parts of its name.
const CONTROL_PLANES: [&str; 9] = [
    "consul-server.",
    "dataplane-api.",
    "istio-pilot.",
    "istiod",
    "kuma-control-plane.",
    "linkerd-dst",
    "linkerd-identity",
    "linkerd-policy",
    "xds.",
];
/// A proxy that starts asks at once, and is answered within milliseconds.
const WAITS: u64 = 3_000_000_000;

/// A closed port of a pod with a proxy.
pub enum Closed<'a> {
    /// The proxy's own: health, metrics, its tunnel.
    Own,
    /// Connections to it are led to the proxy's port, which is closed.
    Led(&'a Redirect),
}

/// What the proxy of a pod waits for.
pub enum Waits<'a> {
    /// No answer from that server to its lookups, of these names.
    Silence(dns::Silence<'a>),
    /// Its control plane's name does not exist, or cannot be told.
    NoName(&'a Question),
    /// Its own connections fail.
    Refused(ConnectionGroup<'a>),
    Unanswered(ConnectionGroup<'a>),
}

/// Rules and proxies of the pods that refuse.
pub fn want(refusal: &Refusal<'_>) -> Want {
    Want::Interception(refusal.netns)
}

/// What is known of the pod's proxy; nothing where it has none.
pub fn interception<'a>(facts: &Facts<'a>, refusal: &Refusal<'_>) -> Option<&'a Interception> {
    let found = facts.gathered.interception(refusal.netns)?;
    found.is_proxy().then_some(found)
}

/// Whether it is refused because the pod's proxy has not opened its ports.
pub fn closed<'a>(facts: &Facts<'a>, refusal: &Refusal<'_>) -> Option<Closed<'a>> {
    let proxy = interception(facts, refusal)?;
    let listeners = facts.gathered.listeners(refusal.netns)?;
    let (server, port) = (refusal.attempts.server, refusal.attempts.port);
    let open = |port| matches!(reach(listeners, server, port), Reach::Served(_));
    let led = proxy.leads(port, server.is_ipv6());
    match led {
        Some(redirect) => (!open(redirect.port)).then_some(Closed::Led(redirect)),
        // Without rules for what comes in, all its ports may be the proxy's.
        None => {
            let own = proxy.exempt.contains(&port) || proxy.inbound.is_empty();
            (own && !open(port)).then_some(Closed::Own)
        }
    }
}

/// Whether the cause that is about sidecars tells of it.
pub fn explains(facts: &Facts<'_>, refusal: &Refusal<'_>) -> bool {
    closed(facts, refusal).is_some() && waits(facts, refusal).is_some()
}

pub fn is_control_plane(name: &str) -> bool {
    CONTROL_PLANES.iter().any(|known| name.starts_with(known))
}

/// What the proxy's own packets say: a lookup that fails again and again, else a connection. While
/// it is closed, no other program of the pod gets a connection out.
pub fn waits<'a>(facts: &Facts<'a>, refusal: &Refusal<'_>) -> Option<Waits<'a>> {
    let proxy = interception(facts, refusal)?;
    asks_in_vain(facts, refusal.netns, only_its_own(proxy))
}

/// Whether a proxy may be what waits, as far as its rules are known.
pub fn may_wait(facts: &Facts<'_>, refusal: &Refusal<'_>) -> bool {
    match facts.gathered.interception(refusal.netns) {
        Some(_) => waits(facts, refusal).is_some(),
        None => asks_in_vain(facts, refusal.netns, true).is_some(),
    }
}

/// For the list of what could not be told.
pub const LASTS: &str = mark!("whether the pod's proxy goes on without an answer");

/// Whether what the proxy of a closed port asks has gone unanswered for a moment only.
pub fn begins_to_wait(facts: &Facts<'_>, refusal: &Refusal<'_>) -> bool {
    let shut = closed(facts, refusal).is_some() && waits(facts, refusal).is_none();
    let proxy = interception(facts, refusal).filter(|_| shut);
    let side = facts.node.pod_side(refusal.netns);
    let (Some(proxy), Some(side)) = (proxy, side) else {
        return false;
    };
    let young = |since: u64| facts.now.saturating_sub(since) < WAITS;
    let picture = facts.picture();
    let askings = picture.askings.iter();
    let mut own = askings.filter(|a| side.addresses.contains(&a.client));
    let name = |q: &&Question| picture.is_cluster_name(&q.name) || is_control_plane(&q.name);
    let begins = |a: &dns::Asking<'_>| {
        let silent = a.silence().filter(|s| s.begins(facts.now));
        let unknown = |q: &&Question| q.dns.noerror == 0 && young(q.dns.first_query);
        silent.is_some_and(|s| s.questions.iter().copied().any(|q| name(&q)))
            || a.questions.iter().copied().any(|q| name(&q) && unknown(&q))
    };
    let fails = |all: &[ConnectionGroup<'_>]| {
        all.iter().any(|a| {
            let own = a.protocol == flow::TCP && side.addresses.contains(&a.client);
            own && young(a.first())
        })
    };
    own.any(begins)
        || only_its_own(proxy)
            && (fails(connection_groups::refused(facts))
                || fails(connection_groups::unanswered(facts)))
}

/// Whether no other program of the pod gets a connection out while it is closed.
fn only_its_own(proxy: &Interception) -> bool {
    proxy.inbound.is_empty() || proxy.outbound.iter().any(|r| r.of.is_empty())
}

/// What a pod does not get; its connections count where they are `only` the proxy's.
fn asks_in_vain<'a>(facts: &Facts<'a>, netns: u32, only: bool) -> Option<Waits<'a>> {
    let side = facts.node.pod_side(netns)?;
    let picture = facts.picture();
    let askings = picture.askings.iter();
    let own: Vec<_> = askings
        .filter(|a| side.addresses.contains(&a.client))
        .collect();
    let silences = own.iter().filter_map(|a| a.silence());
    let silences = silences.filter(|s| {
        let cluster = |q: &&Question| picture.is_cluster_name(&q.name) || is_control_plane(&q.name);
        s.lasts(facts.now) && s.questions.iter().any(cluster)
    });
    // The more of it is about the control plane, the surer.
    let about = |s: &dns::Silence<'_>| {
        s.questions
            .iter()
            .filter(|q| is_control_plane(&q.name))
            .count()
    };
    if let Some(silence) = silences.max_by_key(about) {
        return Some(Waits::Silence(silence));
    }
    let questions = || own.iter().flat_map(|a| a.questions.iter().copied());
    let unknown = questions().filter(|q| is_control_plane(&q.name) && fails(q));
    let answered = |q: &&Question| is_control_plane(&q.name) && q.dns.noerror > 0;
    if let Some(question) = unknown.max_by_key(|q| q.dns.queries)
        && !questions().any(|q| answered(&q))
    {
        return Some(Waits::NoName(question));
    }
    let failing = |all: &[ConnectionGroup<'a>]| {
        let all = all.iter().filter(|_| only);
        let own = all.filter(|a| a.protocol == flow::TCP && side.addresses.contains(&a.client));
        let lasting = own.filter(|a| a.packets() >= PATTERN && a.span() >= WAITS);
        lasting.max_by_key(|a| a.packets()).cloned()
    };
    let refused = failing(connection_groups::refused(facts)).map(Waits::Refused);
    refused.or_else(|| failing(connection_groups::unanswered(facts)).map(Waits::Unanswered))
}

/// Answers, again and again, and none with an address.
fn fails(question: &Question) -> bool {
    let dns = &question.dns;
    let bad = [dns.nxdomain, dns.servfail, dns.refused].iter().total();
    let lasts = dns.last_query.saturating_sub(dns.first_query) >= WAITS;
    dns.noerror == 0 && bad >= PATTERN && lasts
}

impl Waits<'_> {
    /// `its lookups of istiod.… at 10.0.0.10 get no answer`
    pub fn text(&self) -> String {
        match self {
            Self::Silence(silence) => {
                let mut names: Vec<_> = silence.questions.iter().map(|q| &q.name).collect();
                names.sort_by_key(|name| (!is_control_plane(name), name.as_str()));
                let name = names.first().map_or(t!("names"), |name| name.as_str());
                t!("its lookups of {name} at {} get no answer", silence.server)
            }
            Self::NoName(question) => {
                let dns = &question.dns;
                let code = match (dns.nxdomain, dns.servfail) {
                    (1.., _) => t!("no such name (NXDOMAIN)"),
                    (_, 1..) => "SERVFAIL",
                    _ => "REFUSED",
                };
                t!("{} answers to {}: {code}", question.server, question.name)
            }
            Self::Refused(attempts) => {
                t!("its connections to {} are refused", attempts.target())
            }
            Self::Unanswered(attempts) => {
                t!("its connections to {} get no answer", attempts.target())
            }
        }
    }

    /// Whom it asks in vain.
    pub fn server(&self) -> std::net::IpAddr {
        match self {
            Self::Silence(silence) => silence.server,
            Self::NoName(question) => question.server,
            Self::Refused(attempts) | Self::Unanswered(attempts) => attempts.server,
        }
    }

    /// How often it asked so far.
    pub fn asked(&self) -> u64 {
        match self {
            Self::Silence(silence) => silence.asked,
            Self::NoName(question) => question.dns.queries,
            Self::Refused(attempts) | Self::Unanswered(attempts) => attempts.packets(),
        }
    }

    /// What shows it on the pod's link.
    /// A capture of it on a link.
    pub fn capture(&self, link: &str) -> CommandLine {
        match self {
            Self::Silence(_) | Self::NoName(_) => {
                shell!(
                    "timeout 10 tcpdump -c 5 -lnni {v} 'udp port {}'",
                    link,
                    PORT
                )
            }
            Self::Refused(attempts) | Self::Unanswered(attempts) => shell!(
                "timeout 10 tcpdump -c 5 -lnni {v} 'host {} and tcp port {}'",
                link,
                attempts.server,
                attempts.port
            ),
        }
    }

    pub fn about_names(&self) -> bool {
        matches!(self, Self::Silence(_) | Self::NoName(_))
    }

    pub fn target(&self) -> String {
        match self {
            Self::Silence(_) | Self::NoName(_) => endpoint(self.server(), PORT),
            Self::Refused(attempts) | Self::Unanswered(attempts) => {
                endpoint(attempts.server, attempts.port)
            }
        }
    }
}

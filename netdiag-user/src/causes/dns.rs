//! What the DNS causes share: who asks whom, which names are the cluster's, and which servers are
//! the cluster's own. All of it from what is asked, answered and configured, never from an address.
mod told;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use netdiag_common::{dns::PORT, flow::FlowKey};

use super::{
    need::{Need, Sufferer},
    overlay,
};
use crate::{
    model::{
        address::endpoint,
        dns,
        flow::{UDP, ends},
        gather::{Gathered, Resolver, Want},
        node::Node,
        node::RouteKind,
        shell::CommandLine,
        total::{Total, add},
        verdict::{Evidence, EvidenceKind, FlowRef, Origin, PodRole, Suffers},
    },
    pipeline::facts::{Facts, Loss, Question},
    shell,
};

pub use super::losses::PATTERN;
pub use told::Right;
use told::{domains, most};

/// Clusters have it unless they were set up with another one.
const USUAL_DOMAIN: &str = "cluster.local";

/// A resolver asks again after 5 s (resolv.conf(5)): a silence of nearly that is one that a
/// person notices.
const SILENCE: u64 = 4_000_000_000;

/// One client's questions to one server, where they set out.
pub struct Asking<'a> {
    pub client: IpAddr,
    pub server: IpAddr,
    pub questions: Vec<&'a Question>,
}

/// What one client asked since the server's last answer to it, whatever that was about.
pub struct Silence<'a> {
    pub client: IpAddr,
    pub server: IpAddr,
    pub questions: Vec<&'a Question>,
    pub asked: u64,
    pub since: u64,
    pub last: u64,
}

impl<'a> Asking<'a> {
    pub fn last_answer(&self) -> u64 {
        let answers = self.questions.iter().map(|q| q.dns.last_answer);
        answers.max().unwrap_or(0)
    }

    pub fn silence(&self) -> Option<Silence<'a>> {
        let answered = self.last_answer();
        let silent = |q: &&&Question| q.dns.unanswered > 0 && q.dns.silent_since > answered;
        let questions: Vec<_> = self.questions.iter().filter(silent).copied().collect();
        Some(Silence {
            client: self.client,
            server: self.server,
            asked: questions
                .iter()
                .map(|q| u64::from(q.dns.unanswered))
                .total(),
            since: questions.iter().map(|q| q.dns.silent_since).min()?,
            last: questions.iter().map(|q| q.dns.last_query).max()?,
            questions,
        })
    }
}

impl Silence<'_> {
    /// Long and often enough to be no lost packet.
    pub fn lasts(&self, now: u64) -> bool {
        self.asked >= PATTERN && now.saturating_sub(self.since) >= SILENCE
    }

    /// It may last.
    pub fn begins(&self, now: u64) -> bool {
        now.saturating_sub(self.since) < SILENCE
    }

    pub fn refer(&self, at: Option<&str>) -> FlowRef {
        FlowRef {
            protocol: "udp".into(),
            source: self.client.to_string(),
            destination: endpoint(self.server, PORT),
            packets: self.asked,
            retransmits: 0,
            last_seen_at: at.map(str::to_owned),
            ..FlowRef::default()
        }
    }
}

/// All that this node sees of names.
pub struct Picture<'a> {
    node: &'a Node,
    gathered: &'a Gathered,
    questions: &'a [Question],
    pub domains: BTreeSet<String>,
    pub askings: Vec<Asking<'a>>,
    /// Servers that answered cluster names with records.
    proven: BTreeSet<IpAddr>,
}

impl<'a> Picture<'a> {
    pub fn of(facts: &Facts<'a>) -> Self {
        let mut picture = Self {
            node: facts.node,
            gathered: facts.gathered,
            questions: facts.dns,
            domains: domains(facts),
            askings: askings(facts),
            proven: BTreeSet::new(),
        };
        let good = |q: &&Question| q.dns.noerror > 0 && picture.is_cluster_name(&q.name);
        picture.proven = facts.dns.iter().filter(good).map(|q| q.server).collect();
        picture
    }

    pub fn is_cluster_name(&self, name: &str) -> bool {
        self.domains.iter().any(|d| dns::within(name, d))
    }

    /// Names that only a server outside can know: neither the cluster's, nor addresses', nor
    /// without a domain, nor cut.
    pub fn is_external_name(&self, name: &str) -> bool {
        let outside = name.contains('.') && !name.ends_with('…') && name != ".";
        outside && !dns::within(name, "arpa") && !self.is_cluster_name(name)
    }

    /// Whether the server is the cluster's own: it answers cluster names, or, while nobody does,
    /// most pods are told to ask it; where that is not known either, most clients do.
    pub fn is_cluster_dns(&self, server: IpAddr) -> bool {
        let told = self.named();
        if self.proven.contains(&server) || told.contains(&server) {
            return true;
        }
        self.proven.is_empty() && told.is_empty() && most(self.asked()).contains(&server)
    }

    /// Whether that is more than what clients seem to believe: it answered cluster names, or pods
    /// are told to ask it for them.
    pub fn is_known(&self, server: IpAddr) -> bool {
        self.proven.contains(&server) || self.named().contains(&server)
    }

    /// A server outside of the cluster that a client asks for itself, and that answers nobody: no
    /// upstream of a name server that is watched.
    pub fn is_dead_outside(&self, facts: &Facts<'_>, silence: &Silence<'_>) -> bool {
        let server = silence.server;
        let route = self.node.route_to(server);
        let outside = route
            .is_some_and(|r| r.kind == RouteKind::Unicast && r.destination.length == 0)
            && facts.pod(server, PodRole::Server).is_none()
            && self.behind(server).is_empty();
        let answers = |a: &Asking<'_>| a.server == server && a.last_answer() >= silence.since;
        let serves = self.questions.iter().any(|q| q.server == silence.client);
        outside
            && !serves
            && facts.pod(silence.client, PodRole::Source).is_some()
            && !self.askings.iter().any(answers)
    }

    /// Clients that ask each server for cluster names.
    fn asked(&self) -> BTreeMap<IpAddr, usize> {
        let mut counts = BTreeMap::new();
        let cluster = |a: &&Asking<'_>| a.questions.iter().any(|q| self.is_cluster_name(&q.name));
        for asking in self.askings.iter().filter(cluster) {
            *counts.entry(asking.server).or_default() += 1;
        }
        counts
    }

    /// Addresses that answer for `server` behind it: what its clients' questions turn into.
    pub fn behind(&self, server: IpAddr) -> BTreeSet<IpAddr> {
        let own: Vec<_> = self.askings.iter().filter(|a| a.server == server).collect();
        let asked: BTreeSet<_> = self.askings.iter().map(|a| (a.client, a.server)).collect();
        let turned = |q: &&Question| {
            let same = |a: &&Question| a.name == q.name && a.key.kind == q.key.kind;
            !asked.contains(&(q.client, q.server))
                && own
                    .iter()
                    .any(|a| a.client == q.client && a.questions.iter().any(&same))
        };
        self.questions
            .iter()
            .filter(turned)
            .map(|q| q.server)
            .collect()
    }

    pub fn resolver(&self, netns: u32) -> Option<&'a Resolver> {
        let all = self.gathered.resolvers()?;
        all.iter().find(|r| r.netns == netns && !r.kubelet)
    }
}

/// What pods are told to ask, where that may be why these fail.
pub fn need<'a>(questions: impl Iterator<Item = &'a Question>) -> Vec<Need> {
    let sufferer = |q: &Question| {
        let server = (q.server, PORT);
        Sufferer::flow(UDP, q.client, server, q.dns.queries)
    };
    let sufferers: BTreeSet<_> = questions.map(sufferer).collect();
    let any = !sufferers.is_empty();
    let need = || Need::of(Want::Resolvers, sufferers.into_iter().collect());
    any.then(need).into_iter().collect()
}

/// Questions at the link where each client's came from, by client and server: a pod's own link,
/// else the one that saw it first. Farther on the same question may have the address of another
/// server, put there by address translation, and its answer may take another way.
fn askings<'a>(facts: &Facts<'a>) -> Vec<Asking<'a>> {
    let mut origins: HashMap<(IpAddr, &str, u16), &Question> = HashMap::new();
    let asked = |q: &&Question| q.dns.first_query > 0;
    let rank = |q: &Question| (!is_own_link(facts, q), q.dns.first_query);
    for question in facts.dns.iter().filter(asked) {
        let key = (question.client, question.name.as_str(), question.key.kind);
        let first = origins.entry(key).or_insert(question);
        if rank(question) < rank(first) {
            *first = question;
        }
    }
    let mut groups: BTreeMap<(IpAddr, IpAddr), Vec<&Question>> = BTreeMap::new();
    for question in facts.dns.iter().filter(asked) {
        let key = (question.client, question.name.as_str(), question.key.kind);
        let place = |q: &Question| (q.key.ifindex, q.key.carried);
        if origins
            .get(&key)
            .is_some_and(|o| place(o) == place(question))
        {
            let pair = (question.client, question.server);
            groups.entry(pair).or_default().push(question);
        }
    }
    let asking = |((client, server), questions)| Asking {
        client,
        server,
        questions,
    };
    groups.into_iter().map(asking).collect()
}

/// Whether the link leads to the client itself: hooks are attached one after the other, so that
/// a link farther on may have seen an earlier question.
fn is_own_link(facts: &Facts<'_>, question: &Question) -> bool {
    let link = facts.node.link(question.key.ifindex);
    let side = link.and_then(|l| facts.node.pod_side(l.peer_netns?));
    side.is_some_and(|s| s.addresses.contains(&question.client))
}

/// A link that the questions passed while there was no answer.
pub struct Hop<'a> {
    pub at: &'a Question,
    pub asked: u64,
    /// An answer came back this far.
    pub answered: bool,
}

/// The links that a silence's questions passed, in that order.
pub fn way<'a>(facts: &Facts<'a>, silence: &Silence<'_>) -> Vec<Hop<'a>> {
    let names: BTreeSet<_> = silence
        .questions
        .iter()
        .map(|q| (&q.name, q.key.kind))
        .collect();
    let legs = legs(facts, silence);
    let masked = |q: &Question| legs.iter().any(|l| ends(l) == (q.client, q.server));
    let direct = others(facts, silence);
    let own = |q: &&Question| {
        (q.client == silence.client || masked(q))
            && !direct.contains(&q.server)
            && q.dns.last_query >= silence.since
            && names.contains(&(&q.name, q.key.kind))
    };
    // The node may ask for the same names by itself: that is answered, and no proof.
    let back = legs.iter().any(|leg| {
        let journey = facts.journeys().get(&leg.reversed());
        journey.is_some_and(|j| j.hops.iter().any(|h| h.hop.last >= silence.since))
    });
    let mut hops: BTreeMap<(u32, u8), Hop<'a>> = BTreeMap::new();
    for question in facts.dns.iter().filter(own) {
        let new = || Hop {
            at: question,
            asked: 0,
            answered: false,
        };
        let hop = hops
            .entry((question.key.ifindex, question.key.carried))
            .or_insert_with(new);
        add(&mut hop.asked, question.dns.unanswered.into());
        let answered = question.dns.last_answer >= silence.since;
        hop.answered |= answered && (question.client == silence.client || back);
        if question.dns.first_query > hop.at.dns.first_query {
            hop.at = question;
        }
    }
    let mut hops: Vec<_> = hops.into_values().collect();
    hops.sort_by_key(|h| h.at.dns.last_query);
    hops
}

/// Servers that the client asks too, by their own addresses, as its own link shows: what they
/// answer is no answer of this one's.
fn others(facts: &Facts<'_>, silence: &Silence<'_>) -> BTreeSet<IpAddr> {
    let sent = |q: &&Question| q.client == silence.client && q.server != silence.server;
    let all = facts.dns.iter().filter(sent);
    let all = all.filter(|q| is_own_link(facts, q));
    all.map(|q| q.server).collect()
}

/// What the node's masquerade makes of the questions: from then on they have another client.
fn legs(facts: &Facts<'_>, silence: &Silence<'_>) -> Vec<FlowKey> {
    let asks = |flow: &&FlowKey| {
        let asked = (silence.client, silence.server);
        flow.protocol == UDP && flow.destination_port == PORT && ends(flow) == asked
    };
    let asked = facts.journeys().values().map(|j| &j.flow).filter(asks);
    let legs = asked.filter_map(|flow| facts.legs().translated(flow));
    legs.map(|(leg, _)| leg)
        .filter(|leg| ends(leg).0 != silence.client)
        .collect()
}

/// Drops of these questions or of their answers on this node.
pub fn losses<'a>(facts: &Facts<'a>, servers: &BTreeSet<IpAddr>, since: u64) -> Vec<&'a Loss> {
    let about = |l: &&Loss| {
        let flow = l.flow();
        let (source, destination) = ends(flow);
        let asks = flow.destination_port == PORT && servers.contains(&destination);
        let answers = flow.source_port == PORT && servers.contains(&source);
        !l.harmless && l.dropped.last >= since && (asks || answers)
    };
    facts.losses.iter().filter(about).collect()
}

/// One line a place where they were dropped.
pub fn loss_evidence(losses: &[&Loss]) -> Vec<Evidence> {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for loss in losses {
        let sum = sums.entry((&loss.reason, loss.symbol())).or_default();
        add(sum, loss.dropped.packets);
    }
    let line = |((reason, symbol), packets): ((&str, &str), u64)| {
        let text = format!("{packets} of them dropped on this node: {reason} in {symbol}");
        let mut line = Evidence::new(EvidenceKind::Drop, Origin::Observed, text);
        line.packets = Some(packets);
        line.reason = Some(reason.to_owned());
        line.location = Some(symbol.to_owned());
        line.confirm = Some(shell!("perf trace -e skb:kfree_skb"));
        line
    };
    sums.into_iter().map(line).collect()
}

/// The servers, and where this node sends what is for them: by these other findings are about
/// the same thing.
pub fn about(facts: &Facts<'_>, servers: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let mut about: BTreeSet<IpAddr> = servers.clone();
    for server in servers {
        let route = facts.node.route_to(*server);
        about.extend(route.and_then(|r| r.gateway));
        about.extend(overlay::peer_towards(facts, *server));
    }
    about.into_iter().collect()
}

/// Lookups of these servers, whose way has these addresses.
pub fn suffers(servers: &BTreeSet<IpAddr>, by: &[IpAddr]) -> Suffers {
    Suffers::Lookups {
        servers: servers.iter().copied().collect(),
        by: by.to_vec(),
    }
}

/// The same question by hand; not of a name that was too long to be kept whole.
pub fn ask(server: IpAddr, name: &str) -> Option<CommandLine> {
    (!name.ends_with('…')).then(|| shell!("dig @{} -q {v}", server, name))
}

#[cfg(test)]
mod tests {
    use crate::{
        causes::dns_unreachable::evaluate,
        model::{
            dns,
            flow::UDP,
            gather::{Piece, Want},
            observation::Observation,
        },
        testing::{
            POD, UPLINK, at, from_pod, overlay_node, question, resolved, route, silent, tcp,
            with_facts, with_gathered,
        },
    };

    #[test]
    fn masqueraded_questions_are_followed_out_of_the_node() {
        let (pod, own, server, name) = ("172.20.1.5", "192.0.2.1", "198.51.100.53", "example.com");
        let mut node = overlay_node(1450, 1450, 1500);
        let default = route("0.0.0.0/0", UPLINK, Some("192.0.2.254"));
        node.routes.push(default);
        let flow = |from| {
            let mut flow = tcp(from, server, 53);
            flow.protocol = UDP;
            flow
        };
        let farther = |dns: &mut netdiag_common::dns::Dns| {
            dns.last_query += 1000;
            silent(dns);
        };
        let told = |flows| {
            let observation = Observation {
                now: 15_000_000_000,
                dns: vec![
                    question(pod, server, name, POD, silent),
                    question(own, server, name, UPLINK, farther),
                ],
                flows,
                ..Observation::default()
            };
            let found = with_facts(&node, &observation, evaluate).expect("a finding");
            found.summary
        };
        let came = || from_pod(flow(pod), |h| h.first = 5);
        let left = at(flow(own), UPLINK, true, 0, |h| h.first = 6);
        let masqueraded = told(vec![came(), left]);
        assert!(
            masqueraded.contains("leave this node by ens5"),
            "{masqueraded}"
        );
        // The node's own questions are no sign of the pod's.
        let stuck = told(vec![came()]);
        assert!(stuck.contains("last seen at cali1"), "{stuck}");
    }

    /// Any pod can run a server that answered once, and ask it as often as it likes.
    #[test]
    fn a_strangers_silence_hides_no_other() {
        let (server, nobody) = ("172.20.2.53", "172.20.1.66");
        let name = "web.shop.svc.cluster.local";
        let many = |dns: &mut netdiag_common::dns::Dns| {
            silent(dns);
            (dns.unanswered, dns.silent_since) = (40, 3_000_000_000);
        };
        let once = |dns: &mut netdiag_common::dns::Dns| {
            resolved(dns);
            dns.last_answer = 2_000_000_000;
        };
        let observation = Observation {
            now: 15_000_000_000,
            dns: vec![
                question("172.20.1.5", server, name, POD, silent),
                question("172.20.1.6", nobody, name, POD, many),
                question("172.20.1.6", nobody, "a.b.svc.cluster.local", POD, once),
            ],
            ..Observation::default()
        };
        let kubelet = dns::of_kubelet(&format!("clusterDNS: [{server}]"));
        let node = overlay_node(1450, 1450, 1500);
        let pieces = [(Want::Resolvers, Ok(Piece::Resolvers(vec![kubelet])))];
        let found = with_gathered(&node, &observation, pieces, evaluate);
        let summary = found.expect("a finding").summary;
        assert!(summary.contains(server), "{summary}");
    }
}

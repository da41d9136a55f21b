//! Who asks whom for names, which names are the cluster's, and which servers are the cluster's own.
//! All of it from what is asked, answered and configured, never from an address.
mod told;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use netdiag_common::dns::PORT;

use self::told::{domains, most};
use super::facts::{Facts, Question};
use crate::model::{
    address::endpoint,
    dns,
    gather::{Gathered, Resolver},
    node::Node,
    total::Total,
    verdict::{FlowRef, PodRole},
};

pub use self::told::Right;

/// Fewer lost packets than this are no pattern: a client that gives up after one retry is
/// everyday, the third attempt is not.
pub const PATTERN: u64 = 3;

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

impl<'a> Facts<'a> {
    /// Looked at once a reading.
    pub fn picture(&self) -> &Picture<'a> {
        self.picture.get_or_init(|| Picture::of(self))
    }
}

impl<'a> Picture<'a> {
    fn of(facts: &Facts<'a>) -> Self {
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
        let route = facts.way(&facts.from_to(silence.client, server));
        let outside = route.is_some_and(|route| facts.leads_out(route))
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
pub fn is_own_link(facts: &Facts<'_>, question: &Question) -> bool {
    let link = facts.link(question.key.ifindex);
    let side = link.and_then(|l| facts.node.pod_side(l.peer_netns?));
    side.is_some_and(|s| s.addresses.contains(&question.client))
}

//! What is owed to a conversation that left this node in good form and stays unanswered. Towards hosts
//! of the world's this node did its part. Where the other end is the cluster's own, or this node chose a
//! source, a way back or no translation that nobody expects, silence is a question.
use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use netdiag_lang::t;

use super::{
    Symptom,
    turn::Turn,
    unlike::{Living, Unlike},
};
use crate::{
    model::{
        cluster::Topic, flow::ends, pod::label, roles::Role, source_nat::Leaving, verdict::PodRole,
    },
    pipeline::facts::{Facts, HopFlow},
    shared::{losses, overlay, pod_networks, services},
};

/// A reading, and when whom heard from whom in it last: looked through once for all symptoms.
pub struct Owed<'f, 'a> {
    facts: &'f Facts<'a>,
    heard: OnceCell<HashMap<(IpAddr, IpAddr), u64>>,
    living: OnceCell<Living>,
}

impl<'f, 'a> Owed<'f, 'a> {
    pub fn new(facts: &'f Facts<'a>) -> Self {
        Self {
            facts,
            heard: OnceCell::new(),
            living: OnceCell::new(),
        }
    }

    /// Why its silence is not the network's alone, as a sentence; nothing where it may be.
    pub fn question(&self, symptom: &Symptom) -> Option<String> {
        let facts = self.facts;
        // Data that is stuck beside other connections of the two that go on is lossy, and not silent.
        let silent = symptom.asked > 0 || !self.is_heard(symptom);
        let clusters = silent.then(|| other_end(facts, symptom)).flatten();
        clusters
            .or_else(|| Turn::of(facts, symptom).map(Turn::text))
            .or_else(|| {
                let living = self.living.get_or_init(|| Living::new(facts));
                Unlike::of(facts, living, symptom).map(Unlike::text)
            })
            .or_else(|| untranslated(facts, symptom))
    }

    /// Whether the other end answers the same client in another connection, since that one got stuck.
    fn is_heard(&self, symptom: &Symptom) -> bool {
        let heard = self.heard.get_or_init(|| {
            let mut all = HashMap::new();
            for journey in self.facts.journeys().values() {
                let seen = journey.hops.iter().map(|h| h.hop.last).max();
                let last = all.entry(ends(&journey.flow)).or_default();
                *last = seen.unwrap_or(0).max(*last);
            }
            all
        });
        let Some(last) = &symptom.last else {
            return false;
        };
        let back = (symptom.far(), ends(last.flow()).0);
        heard.get(&back).is_some_and(|last| *last > symptom.first)
    }
}

/// The other end is the cluster's: a node, a pod, a Service, a name server, a next hop.
fn other_end(facts: &Facts<'_>, symptom: &Symptom) -> Option<String> {
    let mut far: BTreeSet<IpAddr> = match symptom.answers {
        true => [symptom.client].into(),
        false => symptom.servers().collect(),
    };
    far.retain(|a| !facts.is_local_pod(*a));
    far.iter().find_map(|a| clusters(facts, *a))
}

/// Whether it is known to be a Service's address: nobody but a node answers by it.
pub fn is_service(facts: &Facts<'_>, address: IpAddr) -> bool {
    facts.cluster.at(address).is_some() || word_of_service(facts, address).is_some()
}

fn word_of_service(facts: &Facts<'_>, address: IpAddr) -> Option<String> {
    let known = facts.gathered.services();
    let word = known.and_then(|known| services::evidence(facts, known, address));
    word.filter(|word| word.sure).map(|word| word.by)
}

/// What of the cluster's an address is.
pub(super) fn clusters(facts: &Facts<'_>, address: IpAddr) -> Option<String> {
    if let Some(service) = facts.cluster.at(address) {
        return Some(t!("{address} is the Service {}", service.path()));
    }
    if let Some(by) = word_of_service(facts, address) {
        return Some(t!("{address} is a Service's address ({by})"));
    }
    if let Some(pod) = facts.pod(address, PodRole::Destination)
        && facts.pods.by_address(address).is_some()
    {
        return Some(t!("{address} is the pod {}", label(&pod)));
    }
    let mut members = facts.cluster.nodes.iter();
    if let Some(node) = members.find(|n| n.addresses.contains(&address)) {
        return Some(t!("{address} is the node {}", node.name));
    }
    if losses::is_peer(facts, address) {
        return Some(t!(
            "{address} is another node: routes or tunnels to pods lead to it"
        ));
    }
    let mut routes = facts.node.routes.iter();
    if routes.any(|r| r.gateway == Some(address)) {
        return Some(t!("{address} is a next hop of this node"));
    }
    if services::is_named(facts, address) {
        return Some(t!("{address} is the name server of pods here"));
    }
    // Clients ask for pods that are gone for a while: where all of them are known, none has it.
    let pods = facts.cluster.states.get(&Topic::Pods);
    let all_known = pods.is_some_and(|state| state.known && state.left_out == 0);
    if all_known {
        return None;
    }
    if let Some(peer) = overlay::peer_towards(facts, address) {
        return Some(t!("{address} is behind the tunnel to the node {peer}"));
    }
    let range = pod_networks::pod_address(facts, address).filter(|it| !it.guessed);
    let range = range.map(|it| t!("{address} is a pod's ({})", it.why));
    range.or_else(|| {
        let network = pod_networks::beside_own(facts, address)?;
        Some(t!(
            "{address} is in {network}, a network like that of this node's pods"
        ))
    })
}

/// A pod's own packet that left this node by an uplink, of which the rules are asked.
pub fn leaving(facts: &Facts<'_>, symptom: &Symptom) -> Option<Leaving> {
    let last = symptom.last.as_ref()?;
    let asks = symptom.asked > 0 && !symptom.answers;
    leaving_at(facts, last, symptom.client).filter(|_| asks)
}

/// The same by the hop that saw it last.
pub fn leaving_at(facts: &Facts<'_>, last: &HopFlow, client: IpAddr) -> Option<Leaving> {
    let (source, destination) = ends(last.flow());
    let out = last.plain() && last.egress() && last.role == Some(Role::Uplink);
    let own = source == client && !facts.owns(source) && facts.is_local_pod(source);
    (out && own).then(|| Leaving {
        source,
        destination,
        link: last.interface.clone(),
    })
}

/// It left with the pod's own address, and a rule was to translate it.
fn untranslated(facts: &Facts<'_>, symptom: &Symptom) -> Option<String> {
    to_translate(facts, &leaving(facts, symptom)?)
}

/// Who was to translate what leaves so, as a sentence.
pub fn to_translate(facts: &Facts<'_>, leaving: &Leaving) -> Option<String> {
    let nat = facts.gathered.source_nat(leaving)?;
    let source = leaving.source;
    let told = |k: &crate::model::source_nat::Keeper| k.told == Some(true);
    match (&nat.rule, &nat.keeper) {
        (Some(rule), _) => Some(t!(
            "it left with the pod's own address {source}, which a rule of this node was to translate: \
             {rule}"
        )),
        (None, Some(keeper)) if told(keeper) => Some(t!(
            "it left with the pod's own address {source}, which is to be masqueraded as {} says",
            keeper.file
        )),
        _ => None,
    }
}

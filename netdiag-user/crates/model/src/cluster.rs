//! What the cluster's API says beside the node itself: Services and who backs them, the nodes, and
//! the settings of what runs the network.
use std::{collections::BTreeMap, net::IpAddr};

use netdiag_lang::{english, mark};
use serde::{Deserialize, Serialize};

use super::{address::Prefix, pod::Pod, verdict::NotChecked};

/// One kind of object that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    Pods,
    Services,
    EndpointSlices,
    Nodes,
    ConfigMaps,
}

impl Topic {
    pub const ALL: [Self; 5] = [
        Self::Pods,
        Self::Services,
        Self::EndpointSlices,
        Self::Nodes,
        Self::ConfigMaps,
    ];

    /// The resource as RBAC rules name it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices.discovery.k8s.io",
            Self::Nodes => "nodes",
            Self::ConfigMaps => "configmaps",
        }
    }
}

/// How far one kind of object is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// All of them were there at least once.
    pub known: bool,
    /// Why there is no more: the last word was a refusal or an error.
    pub trouble: Option<Trouble>,
    /// Objects beyond the limit.
    #[serde(default)]
    pub left_out: u64,
    /// Objects of which something was cut: too many labels, ports, addresses.
    #[serde(default)]
    pub cut: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// The verb that RBAC does not allow.
    Forbidden(String),
    Failed {
        why: String,
        /// When the API last said something of it: RFC 3339.
        #[serde(default)]
        heard: Option<String>,
    },
}

/// One port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub name: Option<String>,
    pub port: u16,
    pub protocol: u8,
    #[serde(default)]
    pub node_port: Option<u16>,
}

/// One endpoint: a pod, as a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub addresses: Vec<IpAddr>,
    pub ready: bool,
    /// `(namespace, name)`.
    #[serde(default)]
    pub pod: Option<(String, String)>,
    #[serde(default)]
    pub uid: Option<String>,
    #[serde(default)]
    pub node: Option<String>,
}

/// Endpoints with the same ports: an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    pub ports: Vec<Port>,
    pub backends: Vec<Backend>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    /// ClusterIPs; none where it is headless.
    pub addresses: Vec<IpAddr>,
    /// External addresses and those of load balancers.
    #[serde(default)]
    pub external: Vec<IpAddr>,
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Labels that its pods must have; none where somebody else keeps its endpoints.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
    #[serde(default)]
    pub slices: Vec<Slice>,
    /// externalTrafficPolicy, internalTrafficPolicy: only to endpoints of the node that is asked.
    #[serde(default)]
    pub external_local: bool,
    #[serde(default)]
    pub internal_local: bool,
}

impl Service {
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// `namespace/name:port`, the port by its name where it has one.
    pub fn port_path(&self, port: &Port) -> String {
        let number = || port.port.to_string();
        let port = port.name.clone().unwrap_or_else(number);
        format!("{}/{}:{port}", self.namespace, self.name)
    }

    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.slices.iter().flat_map(|s| &s.backends)
    }

    /// Who should get connections to that port of it, ready or not, by the port's name.
    pub fn endpoints(&self, port: &Port) -> Vec<(&Backend, u16)> {
        let same = |p: &&Port| p.name == port.name && p.protocol == port.protocol;
        let of = |slice: &'_ Slice| slice.ports.iter().find(same).map(|p| p.port);
        let slices = self.slices.iter().filter_map(|s| Some((s, of(s)?)));
        slices
            .flat_map(|(s, port)| s.backends.iter().map(move |b| (b, port)))
            .collect()
    }
}

/// A node as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    /// Its InternalIPs.
    pub addresses: Vec<IpAddr>,
    #[serde(default)]
    pub pod_cidrs: Vec<Prefix>,
    /// The addresses that its overlay's daemon has announced, and the annotation that says so.
    #[serde(default)]
    pub announced: Vec<(IpAddr, String)>,
    /// What flannel has announced of its backend.
    #[serde(default)]
    pub vni: Option<u32>,
    #[serde(default)]
    pub vtep_mac: Option<Vec<u8>>,
}

/// The ConfigMap of flannel's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flannel {
    /// `namespace/name` of the ConfigMap.
    pub from: String,
    pub networks: Vec<Prefix>,
    pub backend: Option<String>,
    pub vni: Option<u32>,
    pub port: Option<u16>,
}

/// What a recording takes of it: more than a node talks to.
const RECORDED_SERVICES: usize = 5_000;
const RECORDED_BACKENDS: usize = 20_000;
const RECORDED_NODES: usize = 5_000;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Where the API answers.
    pub server: String,
    /// This node's name there.
    pub node: Option<String>,
    /// Why no Node is this one: a sentence.
    pub no_node: Option<String>,
    /// Pods with an address: this node's, and those of others that back a Service. They are told
    /// by the index of pods, not again here.
    #[serde(skip)]
    pub pods: Vec<Pod>,
    pub services: Vec<Service>,
    pub nodes: Vec<Member>,
    pub flannel: Option<Flannel>,
    pub states: BTreeMap<Topic, State>,
}

impl Cluster {
    /// This node.
    pub fn member(&self) -> Option<&Member> {
        let name = self.node.as_ref()?;
        self.nodes.iter().find(|m| m.name == *name)
    }

    /// The Service at that address, with the port where one is named and it has it.
    pub fn service(&self, address: IpAddr, port: Option<(u16, u8)>) -> Option<(&Service, &Port)> {
        let service = self.at(address)?;
        let same = |p: &&Port| port.is_none_or(|it| it == (p.port, p.protocol));
        Some((service, service.ports.iter().find(same)?))
    }

    /// The Service at that address.
    pub fn at(&self, address: IpAddr) -> Option<&Service> {
        let of = |s: &&Service| s.addresses.contains(&address) || s.external.contains(&address);
        self.services.iter().find(of)
    }

    /// The Service that is reached by that port of every node.
    pub fn at_node_port(&self, port: u16, protocol: u8) -> Option<(&Service, &Port)> {
        let same = |p: &&Port| (p.node_port, p.protocol) == (Some(port), protocol);
        let mut all = self.services.iter();
        all.find_map(|s| Some((s, s.ports.iter().find(same)?)))
    }

    pub fn named(&self, namespace: &str, name: &str) -> Option<&Service> {
        let of = |s: &&Service| s.namespace == namespace && s.name == name;
        self.services.iter().find(of)
    }

    /// As much of it as a recording takes.
    pub fn recorded(&self) -> Self {
        let mut room = RECORDED_BACKENDS;
        let fits = |service: &&Service| {
            let backends = service.backends().count();
            let fits = backends <= room;
            room -= if fits { backends } else { 0 };
            fits
        };
        let services = self.services.iter().filter(fits).take(RECORDED_SERVICES);
        Self {
            services: services.cloned().collect(),
            nodes: self.nodes.iter().take(RECORDED_NODES).cloned().collect(),
            pods: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether nothing more is to be expected of this kind for now.
    pub fn settled(&self, topic: Topic) -> bool {
        let state = self.states.get(&topic);
        state.is_some_and(|s| s.known || s.trouble.is_some())
    }

    /// Why nothing is known of this kind: a sentence.
    pub fn silence(&self, topic: Topic) -> Option<String> {
        let state = self.states.get(&topic)?;
        state.trouble.as_ref()?;
        self.why(topic, state)
    }

    /// What of it is missing, and why: one sentence for all kinds of which the same is true.
    pub fn not_checked(&self) -> Vec<NotChecked> {
        let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        // Of pods that were never told the pods' sources tell.
        let untold =
            |topic, state: &State| topic == Topic::Pods && !state.known && state.trouble.is_some();
        let states = self.states.iter();
        for (topic, state) in states.filter(|(t, s)| !untold(**t, s)) {
            if let Some(why) = self.why(*topic, state) {
                missing.entry(why).or_default().push(topic.resource());
            }
        }
        let missing = missing.into_iter().map(|(why, what)| {
            let what = english!("{} of the Kubernetes API", what.join(", "));
            NotChecked::new(what, why)
        });
        let no_node = self.no_node.iter();
        let no_node =
            no_node.map(|why| NotChecked::new(mark!("this node's Node object"), why.clone()));
        missing.chain(no_node).chain(self.beyond()).collect()
    }

    fn why(&self, topic: Topic, state: &State) -> Option<String> {
        let server = &self.server;
        match &state.trouble {
            None if state.known => None,
            None => Some(english!("{server} has not told them yet")),
            Some(Trouble::Forbidden(verb)) => Some(english!(
                "forbidden: a ClusterRole for netdiag must allow {verb} of {}",
                topic.resource()
            )),
            Some(Trouble::Failed { why, heard }) => Some(match heard {
                Some(heard) if state.known => english!("as of {heard}: {server}: {why}"),
                _ => format!("{server}: {why}"),
            }),
        }
    }

    fn beyond(&self) -> impl Iterator<Item = NotChecked> {
        let some = self
            .states
            .iter()
            .filter(|(_, s)| s.left_out > 0 || s.cut > 0);
        some.map(|(topic, state)| {
            let what = english!("{} of the Kubernetes API", topic.resource());
            let why = english!(
                "{} beyond netdiag's limits were left out, {} were cut",
                state.left_out,
                state.cut
            );
            NotChecked::new(what, why)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(states: &[(Topic, State)]) -> Vec<(String, String)> {
        let cluster = Cluster {
            server: "https://192.0.2.1:6443".into(),
            states: states.iter().cloned().collect(),
            ..Cluster::default()
        };
        let rows = cluster.not_checked().into_iter();
        rows.map(|row| (row.what, row.why)).collect()
    }

    fn state(known: bool, trouble: Option<Trouble>) -> State {
        State {
            known,
            trouble,
            ..State::default()
        }
    }

    #[test]
    fn a_refusal_names_verb_and_resource() {
        let refused = state(false, Some(Trouble::Forbidden("list".into())));
        let rows = with(&[(Topic::Nodes, refused), (Topic::Pods, state(true, None))]);
        assert_eq!(rows.len(), 1);
        assert!(rows[0].1.contains("allow list of nodes"), "{rows:?}");
    }

    #[test]
    fn kinds_with_the_same_trouble_are_told_at_once() {
        let why = "connection refused".to_owned();
        let heard = Some("2026-11-20T10:00:00Z".to_owned());
        let failed = state(true, Some(Trouble::Failed { why, heard }));
        let rows = with(&[(Topic::Nodes, failed.clone()), (Topic::Pods, failed)]);
        assert_eq!(rows.len(), 1);
        assert!(rows[0].0.starts_with("pods, nodes of"), "{rows:?}");
        assert!(rows[0].1.starts_with("as of 2026"), "{rows:?}");
    }
}

//! What is kept of each object. Objects come from others: what is longer than Kubernetes allows is
//! cut, and that is counted.
use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::{Resource, api::ObjectMeta};
use serde::de::DeserializeOwned;

use super::{
    cluster_store::Inner,
    objects,
    store::{Store, Weigh},
};
use crate::model::{
    address::Prefix,
    cluster::{Backend, Member, Port, Service, Slice, Topic},
    pod::{Container, Pod},
    verdict::Owner,
};

/// Names are DNS subdomains (RFC 1123), label values half as long with their prefix.
const LONGEST: usize = 253;
const MOST_LABELS: usize = 64;
/// discovery/v1 types.go: at most 1,000 endpoints and 100 ports in a slice.
const MOST_ENDPOINTS: usize = 1000;
const MOST_PORTS: usize = 100;
const MOST_CONTAINERS: usize = 64;
/// Two families, and a few networks more.
const MOST_ADDRESSES: usize = 16;

/// A kind of object that is watched.
pub trait Watched: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned {
    const TOPIC: Topic;
    type Kept: Weigh;

    fn keep(self, cut: &mut Truncation) -> Self::Kept;
    fn store(inner: &mut Inner) -> &mut Store<Self::Kept>;
}

/// Whether something had to be cut.
#[derive(Default)]
pub struct Truncation(pub bool);

impl Truncation {
    fn text(&mut self, text: String) -> String {
        if text.chars().count() <= LONGEST {
            return text;
        }
        self.0 = true;
        text.chars().take(LONGEST).collect()
    }

    fn some(&mut self, text: String) -> Option<String> {
        (!text.is_empty()).then(|| self.text(text))
    }

    fn list<T>(&mut self, mut list: Vec<T>, most: usize) -> Vec<T> {
        self.0 |= list.len() > most;
        list.truncate(most);
        list
    }

    fn map(&mut self, map: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
        let map = map.unwrap_or_default();
        self.0 |= map.len() > MOST_LABELS;
        let some = map.into_iter().take(MOST_LABELS);
        some.map(|(k, v)| (self.text(k), self.text(v))).collect()
    }

    fn addresses(&mut self, texts: impl IntoIterator<Item = String>) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for address in texts.into_iter().filter_map(|t| t.parse().ok()) {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        self.list(all, MOST_ADDRESSES)
    }

    fn names(&mut self, meta: &ObjectMeta) -> (String, String) {
        let namespace = meta.namespace.clone().unwrap_or_default();
        let name = meta.name.clone().unwrap_or_default();
        (self.text(namespace), self.text(name))
    }
}

impl Weigh for Pod {}
impl Weigh for Service {}
impl Weigh for Member {}

impl Watched for objects::Pod {
    const TOPIC: Topic = Topic::Pods;
    type Kept = Pod;

    fn keep(self, cut: &mut Truncation) -> Pod {
        let (namespace, name) = cut.names(&self.metadata);
        let status = self.status;
        // A pod that has ended keeps the address in its status that others have by now.
        let ended = ["Succeeded", "Failed"].contains(&status.phase.as_str());
        let own = status.pod_ips.into_iter().map(|ip| ip.ip);
        let own = own.chain([status.pod_ip]).filter(|_| !ended);
        let labels = cut.map(self.metadata.labels);
        let owners = self.metadata.owner_references.unwrap_or_default();
        let controller = owners.into_iter().find(|o| o.controller == Some(true));
        // A static pod's is its Node.
        let controller = controller.filter(|o| o.kind != "Node");
        let owner = |o: OwnerReference| {
            let (kind, name) = (cut.text(o.kind), cut.text(o.name));
            Owner::of_controller(&kind, &name, &labels)
        };
        let owner = controller.map(owner);
        let containers = cut.list(status.container_statuses, MOST_CONTAINERS);
        Pod {
            namespace,
            name,
            uid: self.metadata.uid.map(|uid| cut.text(uid)),
            owner,
            labels,
            addresses: cut.addresses(own),
            host_network: self.spec.host_network,
            node: cut.some(self.spec.node_name),
            containers: containers.into_iter().map(|c| container(c, cut)).collect(),
            created: self.metadata.creation_timestamp.map(nanoseconds),
            ..Pod::default()
        }
    }

    fn store(inner: &mut Inner) -> &mut Store<Pod> {
        &mut inner.pods
    }
}

/// The id without the runtime's name before it: `containerd://`.
fn container(status: objects::ContainerStatus, cut: &mut Truncation) -> Container {
    let id = status.container_id;
    let own = id.split_once("://").map_or(id.as_str(), |(_, id)| id);
    Container {
        id: cut.text(own.to_owned()),
        name: cut.text(status.name),
        restarts: Some(status.restart_count),
        ..Container::default()
    }
}

fn nanoseconds(time: Time) -> i64 {
    i64::try_from(time.0.as_nanosecond()).unwrap_or(i64::MAX)
}

/// The traffic policy that leads to endpoints of the same node alone (core/v1 types.go).
const LOCAL: &str = "Local";

impl Watched for objects::Service {
    const TOPIC: Topic = Topic::Services;
    type Kept = Service;

    fn keep(self, cut: &mut Truncation) -> Service {
        let (namespace, name) = cut.names(&self.metadata);
        let spec = self.spec;
        let own = spec.cluster_ips.into_iter().chain([spec.cluster_ip]);
        let ingress = self.status.load_balancer.ingress.into_iter().map(|i| i.ip);
        Service {
            namespace,
            name,
            addresses: cut.addresses(own),
            external: cut.addresses(spec.external_ips.into_iter().chain(ingress)),
            ports: ports(spec.ports, cut),
            selector: cut.map(Some(spec.selector)),
            slices: Vec::new(),
            external_local: spec.external_traffic_policy == LOCAL,
            internal_local: spec.internal_traffic_policy == LOCAL,
        }
    }

    fn store(inner: &mut Inner) -> &mut Store<Service> {
        &mut inner.services
    }
}

fn ports(ports: Vec<objects::Port>, cut: &mut Truncation) -> Vec<Port> {
    let known = cut.list(ports, MOST_PORTS).into_iter();
    known
        .map(|p| Port {
            name: cut.some(p.name),
            port: p.port,
            protocol: match p.protocol.as_str() {
                "UDP" => 17,
                "SCTP" => 132,
                _ => 6,
            },
            node_port: (p.node_port != 0).then_some(p.node_port),
        })
        .collect()
}

/// The endpoints of one Service, by its namespace and name.
pub struct SliceOf {
    pub namespace: String,
    pub service: Option<String>,
    pub slice: Slice,
}

impl Weigh for SliceOf {
    fn weight(&self) -> usize {
        self.slice.backends.len().max(1)
    }
}

/// Which Service a slice belongs to (discovery/v1 well_known_labels.go).
const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl Watched for objects::EndpointSlice {
    const TOPIC: Topic = Topic::EndpointSlices;
    type Kept = SliceOf;

    fn keep(self, cut: &mut Truncation) -> SliceOf {
        let (namespace, _) = cut.names(&self.metadata);
        let labels = self.metadata.labels.unwrap_or_default();
        let service = labels.get(SERVICE_NAME).cloned();
        let endpoints = cut.list(self.endpoints, MOST_ENDPOINTS).into_iter();
        let backends = endpoints.map(|e| backend(e, &namespace, cut)).collect();
        SliceOf {
            service: service.map(|s| cut.text(s)),
            slice: Slice {
                ports: ports(self.ports, cut),
                backends,
            },
            namespace,
        }
    }

    fn store(inner: &mut Inner) -> &mut Store<SliceOf> {
        &mut inner.slices
    }
}

fn backend(endpoint: objects::Endpoint, namespace: &str, cut: &mut Truncation) -> Backend {
    let target = endpoint.target_ref;
    let pod = (target.kind == "Pod" && !target.name.is_empty()).then(|| {
        let own = cut.some(target.namespace);
        (
            own.unwrap_or_else(|| namespace.to_owned()),
            cut.text(target.name),
        )
    });
    Backend {
        addresses: cut.addresses(endpoint.addresses),
        ready: endpoint.conditions.ready.unwrap_or(true),
        uid: pod.as_ref().and_then(|_| cut.some(target.uid)),
        pod,
        node: cut.some(endpoint.node_name),
    }
}

/// flannel's and calico's annotations that name an address of the node's in the overlay
/// (flannel pkg/subnet/kube/annotations.go, projectcalico libcalico-go).
const ANNOUNCED: [&str; 4] = [
    "flannel.alpha.coreos.com/public-ip",
    "flannel.alpha.coreos.com/public-ipv6",
    "projectcalico.org/IPv4Address",
    "projectcalico.org/IPv6Address",
];
const BACKEND_DATA: &str = "flannel.alpha.coreos.com/backend-data";

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BackendData {
    #[serde(rename = "VNI")]
    vni: Option<u32>,
    #[serde(rename = "VtepMAC")]
    vtep_mac: Option<String>,
}

impl Watched for objects::Node {
    const TOPIC: Topic = Topic::Nodes;
    type Kept = Member;

    fn keep(self, cut: &mut Truncation) -> Member {
        let (_, name) = cut.names(&self.metadata);
        let said = self.metadata.annotations.unwrap_or_default();
        let addresses = self.status.addresses.into_iter();
        let internal = addresses.filter(|a| a.kind == "InternalIP");
        let (one, both) = (self.spec.pod_cidr, self.spec.pod_cidrs);
        let cidrs = if both.is_empty() { vec![one] } else { both };
        let cidrs = cidrs.iter().filter(|c| !c.is_empty());
        let cidrs = cidrs.filter_map(|c| c.parse::<Prefix>().ok()).collect();
        let announced = ANNOUNCED.iter().filter_map(|annotation| {
            let prefix: Prefix = said.get(*annotation)?.parse().ok()?;
            Some((prefix.address, (*annotation).to_owned()))
        });
        let data = said.get(BACKEND_DATA);
        let data: Option<BackendData> = data.and_then(|d| serde_json::from_str(d).ok());
        let data = data.unwrap_or_default();
        Member {
            name,
            addresses: cut.addresses(internal.map(|a| a.address)),
            pod_cidrs: cut.list(cidrs, MOST_ADDRESSES),
            announced: announced.collect(),
            vni: data.vni,
            vtep_mac: data.vtep_mac.as_deref().and_then(mac),
        }
    }

    fn store(inner: &mut Inner) -> &mut Store<Member> {
        &mut inner.nodes
    }
}

fn mac(text: &str) -> Option<Vec<u8>> {
    let bytes = text.split(':').map(|b| u8::from_str_radix(b, 16).ok());
    bytes.collect::<Option<Vec<u8>>>().filter(|b| b.len() == 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept<K: Watched>(text: &str) -> (K::Kept, bool) {
        let object: K = serde_json::from_str(text).expect("an object");
        let mut cut = Truncation::default();
        (object.keep(&mut cut), cut.0)
    }

    #[test]
    fn a_pod_that_has_ended_owns_no_address() {
        let pod = |phase: &str| {
            let text = format!(
                r#"{{"metadata":{{"namespace":"a","name":"b","managedFields":[{{"x":1}}]}},
                "status":{{"phase":"{phase}","podIP":"10.0.0.1",
                "podIPs":[{{"ip":"10.0.0.1"}},{{"ip":"fd00::1"}}]}}}}"#
            );
            kept::<objects::Pod>(&text).0.addresses.len()
        };
        assert_eq!((pod("Running"), pod("Succeeded")), (2, 0));
    }

    #[test]
    fn an_empty_slice_is_null_in_go() {
        let text = r#"{"metadata":{"name":"x","namespace":"n","labels":
            {"kubernetes.io/service-name":"web"}},"endpoints":null,"ports":null}"#;
        let (slice, _) = kept::<objects::EndpointSlice>(text);
        assert_eq!(slice.service.as_deref(), Some("web"));
        assert!(slice.slice.backends.is_empty());
    }

    #[test]
    fn a_node_has_what_flannel_and_calico_say() {
        let text = r#"{"metadata":{"name":"n1","annotations":{"a":"b",
            "flannel.alpha.coreos.com/public-ip":"192.0.2.1",
            "flannel.alpha.coreos.com/backend-data":"{\"VNI\":7,\"VtepMAC\":\"02:00:00:00:00:01\"}",
            "projectcalico.org/IPv4Address":"192.0.2.1/24"}},
            "spec":{"podCIDR":"10.1.0.0/24"},"status":{"addresses":[
            {"type":"InternalIP","address":"192.0.2.1"},{"type":"Hostname","address":"n1"}]}}"#;
        let (node, _) = kept::<objects::Node>(text);
        assert_eq!((node.announced.len(), node.vni), (2, Some(7)));
        assert_eq!((node.addresses.len(), node.pod_cidrs.len()), (1, 1));
        assert_eq!(node.vtep_mac, Some(vec![2, 0, 0, 0, 0, 1]));
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let name = "x".repeat(300);
        let text = format!(r#"{{"metadata":{{"name":"{name}","namespace":"n"}}}}"#);
        let (service, cut) = kept::<objects::Service>(&text);
        assert_eq!((service.name.len(), cut), (LONGEST, true));
    }
}

//! The objects of the API, with only those of their fields that somebody here asks for: a list of
//! five thousand pods must not cost what the API server pays for it. What else an object has is
//! passed over while it is decoded (`managedFields`, specs, most annotations).
use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::{
    Resource,
    api::ObjectMeta,
    core::{ClusterResourceScope, NamespaceResourceScope},
};
use serde::{Deserialize, Deserializer};

/// The annotations that are kept: flannel's and calico's words about a node.
const ANNOTATIONS: [&str; 2] = ["flannel.alpha.coreos.com/", "projectcalico.org/"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    creation_timestamp: Option<Time>,
}

fn meta<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let mut meta = Meta::deserialize(from)?;
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|name, _| ANNOTATIONS.iter().any(|a| name.starts_with(a)));
    }
    Ok(ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        labels: meta.labels,
        annotations: meta.annotations,
        owner_references: meta.owner_references,
        creation_timestamp: meta.creation_timestamp,
        ..ObjectMeta::default()
    })
}

/// Go writes an empty list as null.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

macro_rules! object {
    ($name:ident, $scope:ty, $group:literal, $plural:literal, { $($field:ident: $type:ty),* $(,)? }) => {
        #[derive(Clone, Debug, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            #[serde(deserialize_with = "meta")]
            pub metadata: ObjectMeta,
            $(#[serde(default, deserialize_with = "nullable")] pub $field: $type,)*
        }

        impl Resource for $name {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($name).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

macro_rules! part {
    ($name:ident { $($field:ident: $type:ty $(= $as:literal)?),* $(,)? }) => {
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $(
                #[serde(default, deserialize_with = "nullable" $(, rename = $as)?)]
                pub $field: $type,
            )*
        }
    };
}

object!(Pod, NamespaceResourceScope, "", "pods", { spec: PodSpec, status: PodStatus, });
part!(PodSpec {
    node_name: String,
    host_network: bool,
});
part!(PodStatus {
    phase: String,
    pod_ip: String = "podIP",
    pod_ips: Vec<Ip> = "podIPs",
    container_statuses: Vec<ContainerStatus>,
});
part!(ContainerStatus {
    name: String,
    container_id: String = "containerID",
    restart_count: u32,
});
part!(Ip { ip: String });

object!(Service, NamespaceResourceScope, "", "services", {
    spec: ServiceSpec,
    status: ServiceStatus,
});
part!(ServiceSpec {
    cluster_ip: String = "clusterIP",
    cluster_ips: Vec<String> = "clusterIPs",
    external_ips: Vec<String> = "externalIPs",
    external_traffic_policy: String,
    internal_traffic_policy: String,
    ports: Vec<Port>,
    selector: BTreeMap<String, String>,
});
part!(ServiceStatus {
    load_balancer: LoadBalancer,
});
part!(LoadBalancer { ingress: Vec<Ip>, });
part!(Port {
    name: String,
    port: u16,
    protocol: String,
    node_port: u16,
});

object!(EndpointSlice, NamespaceResourceScope, "discovery.k8s.io", "endpointslices", {
    endpoints: Vec<Endpoint>,
    ports: Vec<Port>,
});
part!(Endpoint {
    addresses: Vec<String>,
    conditions: Conditions,
    node_name: String,
    target_ref: TargetRef,
});
// Absent means ready (discovery/v1 types.go).
part!(Conditions {
    ready: Option<bool>,
});
part!(TargetRef {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
});

object!(Node, ClusterResourceScope, "", "nodes", { spec: NodeSpec, status: NodeStatus, });
part!(NodeSpec {
    pod_cidr: String = "podCIDR",
    pod_cidrs: Vec<String> = "podCIDRs",
});
part!(NodeStatus {
    addresses: Vec<NodeAddress>,
});
part!(NodeAddress {
    kind: String = "type",
    address: String,
});

object!(ConfigMap, NamespaceResourceScope, "", "configmaps", { data: BTreeMap<String, String>, });

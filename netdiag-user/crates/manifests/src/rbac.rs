//! Who the agents are for the API, and what they may ask it: no more than netdiag's client does.
use k8s_openapi::api::{
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::options::Options;

const GROUP: &str = "rbac.authorization.k8s.io";
/// Flannel's settings, the only ConfigMap that is read.
const FLANNEL: &str = "kube-flannel-cfg";

/// Where pods may see their node: the strictest level that lets them is none.
pub fn namespace(options: &Options) -> Namespace {
    let mut labels = options.labels();
    for mode in ["audit", "enforce", "warn"] {
        let key = format!("pod-security.kubernetes.io/{mode}");
        labels.insert(key, "privileged".to_owned());
    }
    Namespace {
        metadata: ObjectMeta {
            labels: Some(labels),
            name: Some(options.namespace.to_string()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

pub fn service_account(options: &Options) -> ServiceAccount {
    ServiceAccount {
        metadata: options.meta(),
        ..ServiceAccount::default()
    }
}

pub fn cluster_role(options: &Options) -> ClusterRole {
    let words = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let watched = |group: &str, resources: &[&str]| PolicyRule {
        api_groups: Some(words(&[group])),
        resources: Some(words(resources)),
        verbs: words(&["list", "watch"]),
        ..PolicyRule::default()
    };
    let flannel = PolicyRule {
        api_groups: Some(words(&[""])),
        resource_names: Some(words(&[FLANNEL])),
        resources: Some(words(&["configmaps"])),
        verbs: words(&["get"]),
        ..PolicyRule::default()
    };
    let mut rules = vec![
        watched("", &["nodes", "pods", "services"]),
        watched("discovery.k8s.io", &["endpointslices"]),
        flannel,
    ];
    // Nobody may write who does not want to.
    if options.events {
        rules.push(PolicyRule {
            api_groups: Some(words(&[""])),
            resources: Some(words(&["events"])),
            verbs: words(&["create", "patch"]),
            ..PolicyRule::default()
        });
    }
    ClusterRole {
        metadata: options.global(),
        rules: Some(rules),
        ..ClusterRole::default()
    }
}

pub fn binding(options: &Options) -> ClusterRoleBinding {
    let name = || options.name.to_string();
    ClusterRoleBinding {
        metadata: options.global(),
        role_ref: RoleRef {
            api_group: GROUP.to_owned(),
            kind: "ClusterRole".to_owned(),
            name: name(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: name(),
            namespace: Some(options.namespace.to_string()),
            ..Subject::default()
        }]),
    }
}

//! What a selection of pods cannot have, and why.
use std::collections::BTreeSet;

use netdiag_lang::{english, mark};

use super::{Selected, Selection, Served};
use crate::{
    cluster::Cluster,
    pod::{Pod, PodIndex},
    services::Services,
    verdict::NotChecked,
};

/// Names that one row has.
const MOST_NAMED: usize = 3;

/// What is known of pods and Services when a selection is looked at.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub pods: &'a PodIndex,
    pub cluster: &'a Cluster,
    pub services: Option<&'a Services>,
}

impl Known<'_> {
    fn alive(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|p| p.gone.is_none())
    }

    /// Whether somebody is known of whom that much is.
    fn tells(&self, what: impl Fn(&Pod) -> bool) -> bool {
        self.alive().any(what)
    }

    fn no_services(&self) -> bool {
        self.cluster.services.is_empty() && self.services.is_none_or(|s| s.rules.is_empty())
    }
}

impl Selection {
    /// The verdict's words for it.
    pub fn left_out(&self, known: Known<'_>) -> Vec<NotChecked> {
        if self.is_empty() {
            return Vec::new();
        }
        let served = self.served(known.cluster, known.services);
        let selected = self.resolve(known.pods, &served);
        let none = selected.addresses.is_empty().then(|| {
            let why = self.why_none(known);
            let why = why.unwrap_or_else(|| mark!("none with an address is known").into());
            NotChecked::new(english!("packets of {self}"), why)
        });
        let rows = [
            none,
            self.in_the_nodes_network(known, &served),
            self.before_translation(known, &selected),
        ];
        rows.into_iter().flatten().collect()
    }

    /// Why it can have nobody, where that is known: a sentence.
    pub fn why_none(&self, known: Known<'_>) -> Option<String> {
        const ASK: &str =
            mark!("the Kubernetes API and the container runtime do (--kubeconfig, --cri-socket)");
        if !self.labels.is_empty() && !known.tells(|p| !p.labels.is_empty()) {
            return Some(english!("nothing here tells pods' labels: {ASK}"));
        }
        if !self.owners.is_empty() && !known.tells(|p| p.owner.is_some()) {
            return Some(english!("nothing here tells what made pods: {ASK}"));
        }
        let none = !self.services.is_empty() && known.no_services();
        none.then(|| mark!("no Service is known here, by the API or by the node's rules").into())
    }

    /// Those that are asked for and share the node's addresses.
    fn in_the_nodes_network(&self, known: Known<'_>, served: &Served) -> Option<NotChecked> {
        let all = known
            .alive()
            .filter(|p| p.host_network && self.names(p, served));
        // A Service's backends are chosen by their addresses, whoever has them.
        let all: Vec<&Pod> = all.filter(|_| self.asks_for_pods()).collect();
        let address = all.iter().find_map(|p| p.addresses.first());
        let host = address.map_or_else(|| "ADDRESS".into(), ToString::to_string);
        (!all.is_empty()).then(|| {
            NotChecked::new(
                english!("packets of {}", few(all.iter().map(|p| p.title()))),
                english!(
                    "in the node's own network, where no address is a pod's: --filter 'host {host} \
                     and port PORT' chooses them"
                ),
            )
        })
    }

    /// Services that the chosen pods are behind: what a client on this node sends to them names no
    /// pod until it is translated.
    fn before_translation(&self, known: Known<'_>, selected: &Selected) -> Option<NotChecked> {
        let chosen =
            |a: &std::net::IpAddr| selected.addresses.contains(&crate::address::to_wire(*a));
        let told = known.cluster.services.iter().filter(|s| {
            let mut backends = s.backends().flat_map(|b| &b.addresses);
            !s.addresses.is_empty() && backends.any(chosen)
        });
        let rules = known.services.iter().flat_map(|s| &s.rules);
        let rules = rules.filter(|r| r.backends.iter().any(|(a, _)| chosen(a)));
        let named = rules.filter_map(|r| r.name.as_deref()?.split(':').next());
        let told = told.map(|s| s.path());
        let all: BTreeSet<String> = told.chain(named.map(str::to_owned)).collect();
        let first = all.first().filter(|_| self.services.is_empty())?;
        Some(NotChecked::new(
            english!("packets to the address of svc {}", few(all.iter().cloned())),
            english!(
                "they name no pod before they are translated: --service {first} instead chooses them \
                 too"
            ),
        ))
    }
}

fn few(names: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = names.collect();
    let some = all.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>();
    match all.len() - some.len() {
        0 => some.join(", "),
        more => english!("{} and {more} more", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Backend, Service, Slice},
        verdict::Owner,
    };

    fn pod(name: &str, address: &str) -> Pod {
        Pod {
            namespace: "kube-system".into(),
            name: name.into(),
            addresses: vec![address.parse().expect("an address")],
            netns: Some(7),
            ..Pod::default()
        }
    }

    fn rows(selection: &Selection, pods: Vec<Pod>, cluster: &Cluster) -> Vec<(String, String)> {
        let pods = PodIndex::new(pods);
        let known = Known {
            pods: &pods,
            cluster,
            services: None,
        };
        let rows = selection.left_out(known).into_iter();
        rows.map(|r| (r.what, r.why)).collect()
    }

    fn of_namespace() -> Selection {
        Selection {
            namespaces: vec!["kube-system".into()],
            ..Selection::default()
        }
    }

    #[test]
    fn pods_in_the_nodes_network_are_told() {
        let host = Pod {
            host_network: true,
            ..pod("kube-proxy", "192.0.2.1")
        };
        let pods = vec![pod("dns", "10.0.0.1"), host];
        let rows = rows(&of_namespace(), pods, &Cluster::default());
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0].0, "packets of kube-system/kube-proxy");
        assert!(
            rows[0].1.contains("'host 192.0.2.1 and port PORT'"),
            "{rows:?}"
        );
    }

    #[test]
    fn what_is_still_addressed_to_a_service_is_told() {
        let backend = Backend {
            addresses: vec!["10.0.0.1".parse().expect("an address")],
            ..Backend::default()
        };
        let cluster = Cluster {
            services: vec![Service {
                namespace: "kube-system".into(),
                name: "kube-dns".into(),
                addresses: vec!["10.96.0.10".parse().expect("an address")],
                slices: vec![Slice {
                    backends: vec![backend],
                    ..Slice::default()
                }],
                ..Service::default()
            }],
            ..Cluster::default()
        };
        let rows = rows(&of_namespace(), vec![pod("dns", "10.0.0.1")], &cluster);
        assert!(rows[0].0.ends_with("svc kube-system/kube-dns"), "{rows:?}");
    }

    #[test]
    fn what_nothing_here_tells_is_no_pod_that_comes_later() {
        let labels = Selection {
            labels: vec!["app=dns".parse().expect("labels")],
            ..Selection::default()
        };
        let owners = Selection {
            owners: vec!["ds/dns".parse().expect("an owner")],
            ..Selection::default()
        };
        let why = |selection: &Selection, pod: Pod| {
            rows(selection, vec![pod], &Cluster::default())[0].1.clone()
        };
        let bare = || pod("dns", "10.0.0.1");
        assert!(why(&labels, bare()).contains("labels: the Kubernetes API"));
        assert!(why(&owners, bare()).contains("what made pods"));
        let owned = Pod {
            owner: Some(Owner::new("Deployment", "other")),
            ..bare()
        };
        assert_eq!(why(&owners, owned), mark!("none with an address is known"));
    }
}

//! What the overlay's daemons have announced in the Kubernetes API, and were told to use.
use std::net::IpAddr;

use netdiag_lang::t;

use crate::{
    model::{
        cluster::Member,
        verdict::{Evidence, EvidenceKind, Origin},
    },
    pipeline::facts::Facts,
    shell,
};

/// The addresses of this node that its peers send to: what the overlay's daemon has announced
/// where it did, else what the cluster calls the node by.
pub fn advertised(facts: &Facts<'_>, ipv4: bool) -> (Vec<IpAddr>, &'static str) {
    let family = |a: &IpAddr| a.is_ipv4() == ipv4;
    let announced = facts
        .cluster
        .member()
        .into_iter()
        .flat_map(|m| &m.announced);
    let announced: Vec<_> = announced.map(|(a, _)| *a).filter(family).collect();
    if !announced.is_empty() {
        return (announced, "annotation");
    }
    let known = facts.node.known_as.iter().map(|(address, _)| *address);
    (known.filter(family).collect(), "node address")
}

/// The Node that has the address, and what says so.
pub fn of(facts: &Facts<'_>, address: IpAddr) -> Option<Evidence> {
    let (node, by) = owner(facts, address)?;
    let text = t!("the Node {} has {address} by {by}", node.name);
    Some(line(text, &node.name))
}

fn owner<'a>(facts: &Facts<'a>, address: IpAddr) -> Option<(&'a Member, String)> {
    facts.cluster.nodes.iter().find_map(|node| {
        let announced = node.announced.iter().find(|(a, _)| *a == address);
        let internal = node.addresses.contains(&address);
        let by = announced.map(|(_, by)| t!("the annotation {by}"));
        Some((
            node,
            by.or_else(|| internal.then(|| t!("an InternalIP").into()))?,
        ))
    })
}

/// The VNI that the daemon of the node with that address has announced.
pub fn vni(facts: &Facts<'_>, peer: IpAddr) -> Option<Evidence> {
    let (node, _) = owner(facts, peer)?;
    let text = t!("the Node {} has announced VNI {}", node.name, node.vni?);
    Some(line(text, &node.name))
}

/// What flannel was told to use.
pub fn meant(facts: &Facts<'_>) -> Option<Evidence> {
    let flannel = facts.cluster.flannel.as_ref()?;
    let vni = flannel.vni.map(|vni| format!("VNI {vni}"));
    let port = flannel.port.map(|port| t!("port {port}"));
    let said: Vec<String> = vni.into_iter().chain(port).collect();
    let (namespace, name) = flannel.from.split_once('/')?;
    let text = t!(
        "the ConfigMap {} says {}",
        flannel.from,
        said.join(t!(", "))
    );
    let mut line = Evidence::new(EvidenceKind::Api, Origin::Configured, text);
    line.confirm = Some(shell!(
        "kubectl -n {v} get configmap {} -o yaml",
        namespace,
        name
    ));
    (!said.is_empty()).then_some(line)
}

fn line(text: String, node: &str) -> Evidence {
    let mut line = Evidence::new(EvidenceKind::Api, Origin::Configured, text);
    line.confirm = Some(shell!("kubectl get node {} -o yaml", node));
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{cluster::Cluster, observation::Observation},
        testing::{ip, overlay_node, with_cluster},
    };

    #[test]
    fn what_was_announced_counts_before_other_addresses() {
        let mut node = overlay_node(1450, 1450, 1500);
        node.known_as.push((ip("192.0.2.1"), "--node-ip".into()));
        let announced = "flannel.alpha.coreos.com/public-ip".to_owned();
        let member = Member {
            name: "n1".into(),
            announced: vec![(ip("192.0.2.77"), announced)],
            vni: Some(7),
            ..Member::default()
        };
        let cluster = Cluster {
            node: Some("n1".into()),
            nodes: vec![member],
            ..Cluster::default()
        };
        with_cluster(&node, &Observation::default(), [], &cluster, |facts| {
            let own = (vec![ip("192.0.2.77")], "annotation");
            assert_eq!(advertised(facts, true), own);
            assert_eq!(advertised(facts, false), (vec![], "node address"));
            let line = of(facts, ip("192.0.2.77")).expect("a line");
            assert!(
                line.text.contains("the annotation flannel"),
                "{}",
                line.text
            );
            let line = vni(facts, ip("192.0.2.77")).expect("a line");
            assert!(line.text.ends_with("announced VNI 7"), "{}", line.text);
        });
    }
}

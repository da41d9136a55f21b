//! Facts for unit tests, whose commands are looked at.
mod commands;

use crate::{
    model::{
        cluster::Cluster,
        gather::{Piece, Rule, Want},
        netfilter::{Chain, Family, RuleOrigin},
        node::Node,
        observation::Observation,
        pod::{Pod, PodIndex},
    },
    pipeline::{
        agreement::Feature,
        facts::{Data, Facts},
    },
};

pub use netdiag_pipeline::testing::*;

/// A rule of nftables that counted five packets, which asks what its words say, in that family, table and chain.
pub fn rule([family, table, chain]: [&str; 3], text: &str) -> Rule {
    let handle = (!text.contains("policy ")).then_some(7);
    let origin = RuleOrigin::Nft {
        chain: Chain {
            family: Family::named(family).expect("a family"),
            table: table.into(),
            chain: chain.into(),
        },
        handle,
    };
    let written = serde_json::json!({
        "place": format!("{family} {table} {chain}"),
        "text": text,
        "packets": 5,
        "origin": origin,
        "counted": true,
    });
    serde_json::from_value(written).expect("a rule")
}

/// Facts of one reading, handed to `judge`.
pub fn with_facts<T>(
    node: &Node,
    observation: &Observation,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    with_gathered(node, observation, [], judge)
}

/// The same, with what the rules asked for.
pub fn with_gathered<T>(
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    since(node, node, observation, pieces, judge)
}

/// The same, with what the Kubernetes API says.
pub fn with_cluster<T>(
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    cluster: &Cluster,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let pods = PodIndex::default();
    let asked = (pieces, [].as_slice(), [].as_slice());
    all((node, node), observation, asked, (&pods, cluster), judge)
}

/// Where these pods are known, and what the Kubernetes API says.
pub fn with_pods<T>(
    node: &Node,
    pods: Vec<Pod>,
    cluster: &Cluster,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let (pods, none) = (PodIndex::new(pods), Observation::default());
    let asked = ([], [].as_slice(), [].as_slice());
    all((node, node), &none, asked, (&pods, cluster), judge)
}

/// The same, with the node as it was when the run began.
pub fn since<T>(
    start: &Node,
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let (pods, cluster) = (PodIndex::default(), Cluster::default());
    let asked = (pieces, [].as_slice(), [].as_slice());
    all((start, node), observation, asked, (&pods, &cluster), judge)
}

/// Where some questions have no answer yet.
pub fn with_open<T>(
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    open: &[Want],
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let (pods, cluster) = (PodIndex::default(), Cluster::default());
    let asked = (pieces, open, [].as_slice());
    all((node, node), observation, asked, (&pods, &cluster), judge)
}

fn all<T>(
    (start, node): (&Node, &Node),
    observation: &Observation,
    (pieces, open, distrusted): (
        impl IntoIterator<Item = (Want, Result<Piece, String>)>,
        &[Want],
        &[Feature],
    ),
    (pods, cluster): (&PodIndex, &Cluster),
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let found: Vec<_> = pieces.into_iter().collect();
    let built = Built {
        start,
        node,
        observation,
        found: &found,
        open,
        pods,
        cluster,
        data: Data::default(),
        distrusted,
    };
    built.judge(commands::check, judge)
}

/// Where others were seen to pass what these may be taken by.
pub fn with_doubts<T>(
    node: &Node,
    observation: &Observation,
    pieces: impl IntoIterator<Item = (Want, Result<Piece, String>)>,
    distrusted: &[Feature],
    judge: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let (pods, cluster) = (PodIndex::default(), Cluster::default());
    let asked = (pieces, [].as_slice(), distrusted);
    all((node, node), observation, asked, (&pods, &cluster), judge)
}

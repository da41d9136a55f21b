//! The node as it stands: its state is read, without programs in the kernel, and nothing is watched.
use std::collections::BTreeSet;

use anyhow::Result;

use super::{cluster, gathering::Gathering, options::NodeRootArgs};
use crate::{
    host::snapshot::Reader,
    kernel::read,
    model::{
        gather::{Gathered, Want},
        node::Node,
        observation::Observation,
        verdict::NotChecked,
    },
    pipeline::{
        asked::Asked,
        clock::Clock,
        facts::KnownNames,
        scene::{Run, Scene},
    },
    pods::Pods,
};

pub struct Still {
    pub scene: Scene,
    gathering: Gathering,
    pods: Pods,
    api: cluster::Source,
    reader: Reader,
}

impl Still {
    pub async fn read(place: &NodeRootArgs) -> Result<Self> {
        place.know_cgroups();
        let mut api = cluster::Source::open(place.api()).await?;
        let mut pods = Pods::open(place.pods(&api)).await?;
        let reader = Reader::open(&place.root, place.node_name.as_deref())?;
        let mut scene = scene(reader.node().await?, place, &mut pods);
        api.settle().await;
        scene.cluster = api.picture();
        cluster::know_as(&mut scene.node, &scene.cluster);
        scene.run.sources = pods.used();
        Ok(Self {
            scene,
            gathering: Gathering::new(place.places()),
            pods,
            api,
            reader,
        })
    }

    /// Finds out what was not found out yet; whether there was anything.
    pub async fn settle(&mut self, mut wants: BTreeSet<Want>) -> bool {
        wants.retain(|want| !self.scene.gathered.has(want));
        let some = !wants.is_empty();
        if some {
            let gathered = &mut self.scene.gathered;
            self.gathering.settle(wants, gathered).await;
        }
        some
    }

    pub fn not_checked(&self) -> Vec<NotChecked> {
        let mut rows = self.scene.asked.not_checked(0);
        rows.extend(self.pods.not_checked(&self.scene.pods));
        rows.extend(self.api.not_checked());
        rows.extend(self.scene.gathered.not_checked());
        rows.extend(self.reader.not_checked());
        rows
    }
}

/// What nobody watched.
pub fn nothing_seen() -> Observation {
    Observation {
        now: read::now(),
        ..Observation::default()
    }
}

fn scene(mut node: Node, place: &NodeRootArgs, pods: &mut Pods) -> Scene {
    let said = place.node_ip.iter().map(|a| (*a, "--node-ip".into()));
    node.known_as.extend(said);
    let now = read::now();
    Scene {
        start: node.clone(),
        pods: pods.index(&node),
        cluster: Default::default(),
        node,
        gathered: Gathered::default(),
        names: Box::new(KnownNames::default()),
        clock: Clock {
            monotonic: now,
            wall: jiff::Timestamp::now(),
        },
        run: Run {
            started: now,
            ..Run::default()
        },
        asked: Asked::default(),
        links: Vec::new(),
    }
}

//! What the tests of several parts begin with.
use crate::pipeline::{
    clock::Clock,
    scene::{Run, Scene},
    testing::{TestNames, overlay_node},
};

/// A node at its beginning, of which nothing but its links is known.
pub fn scene() -> Scene {
    let node = overlay_node(1450, 1450, 1500);
    Scene {
        start: node.clone(),
        node,
        pods: Default::default(),
        cluster: Default::default(),
        gathered: Default::default(),
        names: Box::new(TestNames::default()),
        clock: Clock {
            monotonic: 0,
            wall: jiff::Timestamp::UNIX_EPOCH,
        },
        run: Run::default(),
        asked: Default::default(),
        links: Vec::new(),
    }
}

//! What is sent to an OpenTelemetry collector, where somebody asked for it.
use std::path::Path;

use anyhow::Result;
use netdiag_common::loss::DropKey;
use netdiag_otlp::{Exporter, Identity, Target, Watch};

use crate::{
    agent::{page::Page, standing::News},
    model::observation::Observation,
    pipeline::{facts::Facts, scene::Scene},
};

/// Nothing in it where nobody asked.
pub struct Export(Option<Open>);

struct Open {
    exporter: Exporter,
    watch: Watch,
}

impl Export {
    pub fn open(target: Option<&Target>, root: &Path, scene: &Scene, page: &Page) -> Result<Self> {
        if let Some((name, target)) = target.and_then(|it| Some((it.exposes()?, it))) {
            log::warn!(
                "{name} goes to {target} for all on the way to read: https:// keeps it, http:// does not"
            );
        }
        let open = |target| -> Result<Open> {
            let identity = Identity {
                node: scene.node.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            Ok(Open {
                exporter: Exporter::open(target, root, identity, page)?,
                watch: Watch::new(scene),
            })
        };
        Ok(Self(target.map(open).transpose()?))
    }

    /// What a reading has beyond the one before.
    pub fn read(&mut self, facts: &Facts<'_>) {
        if let Some(open) = &mut self.0 {
            open.watch.read(facts);
        }
    }

    /// What is due with this reading.
    pub fn due(&mut self, scene: &Scene, reading: &Observation, page: &Page) {
        if let Some(Open { exporter, watch }) = &mut self.0 {
            exporter.emit(watch.due(scene, reading, page));
        }
    }

    /// Findings that begin, change or end.
    pub fn news(&self, scene: &Scene, now: u64, news: &[News]) {
        if let Some(Open { exporter, watch }) = &self.0 {
            exporter.emit(watch.news(scene, now, news));
        }
    }

    /// These rows were taken out of the kernel's table.
    pub fn forget(&mut self, gone: &[DropKey]) {
        if let Some(open) = &mut self.0 {
            open.watch.forget(gone);
        }
    }

    /// Sends what is left.
    pub async fn close(self, scene: &Scene, page: &Page) {
        if let Some(Open { exporter, watch }) = self.0 {
            exporter.emit(watch.rest(scene, page));
            exporter.close().await;
        }
    }
}

/// Where to send: what an option says, else the standard variable, else the file.
pub fn target(option: Option<Target>, file: Option<Target>) -> Result<Option<Target>, String> {
    match option {
        Some(target) => Ok(Some(target)),
        None => Ok(Target::from_environment()?.or(file)),
    }
}

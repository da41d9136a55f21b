//! The same of a build without it.
use std::{convert::Infallible, path::Path};

use anyhow::Result;
use netdiag_common::loss::DropKey;

use crate::{
    agent::{page::Page, standing::News},
    model::observation::Observation,
    pipeline::{facts::Facts, scene::Scene},
};

pub struct Export;

impl Export {
    pub fn open(_: Option<&Infallible>, _: &Path, _: &Scene, _: &Page) -> Result<Self> {
        Ok(Self)
    }

    pub fn read(&mut self, _: &Facts<'_>) {}

    pub fn due(&mut self, _: &Scene, _: &Observation, _: &Page) {}

    pub fn news(&self, _: &Scene, _: u64, _: &[News]) {}

    pub fn forget(&mut self, _: &[DropKey]) {}

    #[expect(clippy::unused_async, reason = "as the one that sends")]
    pub async fn close(self, _: &Scene, _: &Page) {}
}

//! The same of a build without the Kubernetes API.
use std::time::Instant;

use anyhow::Result;

use crate::{
    agent::{sending::Noticed, standing::News},
    cli::options::NodeRootArgs,
};

pub struct Noticing;

impl Noticing {
    #[expect(clippy::unused_async, reason = "as the one that tells")]
    pub async fn open(_: bool, _: &NodeRootArgs, _: &str) -> Result<Self> {
        Ok(Self)
    }

    pub fn counts(&self) -> Option<Noticed> {
        None
    }

    pub fn news(&mut self, _: &[News], _: Instant) {}
}

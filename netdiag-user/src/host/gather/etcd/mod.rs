//! etcd: which members there are, and what each says.
mod client;
mod find;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};

use super::Places;
use crate::model::control::{EtcdMember, EtcdStatus};
use client::Client;

/// All that one member is asked. One that is alive answers within milliseconds, and one that is
/// stuck must not hold up the rest.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where etcd is and what it wants to see, as was typed.
#[derive(Clone, Debug, Default)]
pub struct Named {
    pub endpoints: Vec<String>,
    pub cacert: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// A member to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    url: String,
    /// CA, certificate, key: as the node names the files, and as they are opened from here.
    files: [Option<(PathBuf, PathBuf)>; 3],
}

impl Endpoint {
    fn file(&self, at: usize) -> Option<&std::path::Path> {
        self.files[at].as_ref().map(|(_, here)| here.as_path())
    }

    /// What etcdctl is given on the node.
    fn credentials(&self) -> Vec<String> {
        let names = ["--cacert", "--cert", "--key"];
        let files = names.iter().zip(&self.files);
        files
            .filter_map(|(name, file)| Some(format!("{name} {}", file.as_ref()?.0.display())))
            .collect()
    }
}

/// Asks every member that is named or found.
pub fn members(places: &Places) -> Result<Vec<EtcdMember>> {
    let endpoints = find::endpoints(places);
    if endpoints.is_empty() {
        bail!("no endpoint given or found");
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build();
    let runtime = runtime.context("starting a runtime to ask etcd")?;
    let ask = |endpoint: &Endpoint| EtcdMember {
        endpoint: endpoint.url.clone(),
        credentials: endpoint.credentials(),
        answer: runtime.block_on(answer(endpoint)),
    };
    Ok(endpoints.iter().map(ask).collect())
}

async fn answer(endpoint: &Endpoint) -> Result<EtcdStatus, String> {
    match tokio::time::timeout(PATIENCE, status(endpoint)).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(e)) => Err(format!("{e:#}")),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn status(endpoint: &Endpoint) -> Result<EtcdStatus> {
    let client = Client::new(endpoint)?;
    let status = client.call("/v3/maintenance/status", "{}").await?;
    let alarms = client.call("/v3/maintenance/alarm", r#"{"action":"GET"}"#);
    let alarms = alarms.await?;
    // Metrics and health are open to whoever may ask at all; without them less is told.
    let metrics = client.get("/metrics").await.unwrap_or_default();
    let health = client.get("/health").await.ok();
    let number = |key: &str| client::number(&status[key]);
    Ok(EtcdStatus {
        version: status["version"].as_str().unwrap_or_default().to_owned(),
        revision: client::number(&status["header"]["revision"]).context("no revision told")?,
        size: number("dbSize").context("no size told")?,
        in_use: number("dbSizeInUse"),
        quota: client::metric(&metrics, "etcd_server_quota_backend_bytes"),
        alarms: client::alarms(&alarms),
        healthy: health.as_deref().and_then(client::health),
    })
}

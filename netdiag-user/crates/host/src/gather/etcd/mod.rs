//! etcd: which members there are, and what each says.
mod client;
mod find;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use netdiag_lang::{english, mark};

use super::Places;
use crate::{
    model::{
        control::{EtcdMember, EtcdStatus, NO_ETCD},
        text,
    },
    sys::file,
};
use client::Client;

/// All that one member is asked. One that is alive answers within milliseconds, and one that is
/// stuck must not hold up the rest.
const PATIENCE: Duration = Duration::from_secs(2);
/// Characters of a word of the member's that is kept, and of what went wrong.
const WORD: usize = 64;
const LONGEST: usize = 1024;

/// Where etcd is and what it wants to see, as was typed.
#[derive(Clone, Debug, Default)]
pub struct EtcdArgs {
    pub endpoints: Vec<String>,
    pub cacert: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// A member to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    url: String,
    /// CA, certificate, key.
    files: [Option<Pem>; 3],
}

/// A file of certificates or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pem {
    /// As the node names it, and as it is opened from here.
    named: PathBuf,
    here: PathBuf,
    /// By who runs netdiag, who knows what it is; else it must be root's.
    typed: bool,
}

impl Pem {
    fn typed(path: &Path) -> Self {
        Self {
            named: path.to_owned(),
            here: path.to_owned(),
            typed: true,
        }
    }

    fn read(&self) -> Result<Vec<u8>> {
        let read = if self.typed {
            file::read
        } else {
            file::of_root
        };
        let bytes = read(&self.here, file::CONFIG);
        bytes.with_context(|| english!("reading the file {}", self.here.display()))
    }
}

impl Endpoint {
    /// What etcdctl is given on the node.
    fn credentials(&self) -> Vec<String> {
        let names = ["--cacert", "--cert", "--key"];
        let files = names.iter().zip(&self.files);
        files
            .filter_map(|(name, file)| Some(format!("{name} {}", file.as_ref()?.named.display())))
            .collect()
    }
}

/// Asks every member that is named or found.
pub fn members(places: &Places) -> Result<Vec<EtcdMember>> {
    let endpoints = find::endpoints(places);
    if endpoints.is_empty() {
        bail!(NO_ETCD);
    }
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build();
    let runtime = runtime.context(mark!("starting a runtime to ask etcd"))?;
    let ask = |endpoint: &Endpoint| EtcdMember {
        endpoint: endpoint.url.clone(),
        credentials: endpoint.credentials(),
        answer: runtime.block_on(answer(endpoint)),
    };
    let members = endpoints.iter().map(ask).collect();
    // A look-up of a name goes on for as long as the name servers take.
    runtime.shutdown_background();
    Ok(members)
}

async fn answer(endpoint: &Endpoint) -> Result<EtcdStatus, String> {
    match tokio::time::timeout(PATIENCE, status(endpoint)).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(e)) => Err(text::line(&format!("{e:#}"), LONGEST)),
        Err(_) => Err(english!("no answer within {} s", PATIENCE.as_secs())),
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
        version: text::line(status["version"].as_str().unwrap_or_default(), WORD),
        revision: client::number(&status["header"]["revision"])
            .context(mark!("no revision told"))?,
        size: number("dbSize").context(mark!("no size told"))?,
        in_use: number("dbSizeInUse"),
        quota: client::metric(&metrics, "etcd_server_quota_backend_bytes"),
        alarms: client::alarms(&alarms),
        healthy: health.as_deref().and_then(client::health),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_certificates_is_a_plain_small_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let large = folder.path().join("large");
        let file = std::fs::File::create(&large).expect("made");
        file.set_len(1 << 30).expect("set");
        for path in [Path::new("/dev/zero"), &fifo, folder.path(), &large] {
            for typed in [true, false] {
                let pem = Pem {
                    typed,
                    ..Pem::typed(path)
                };
                assert!(pem.read().is_err(), "{}", path.display());
            }
        }
    }
}

//! Where the API is and as whom to ask it: what `--kubeconfig` names, else `$KUBECONFIG`, else the
//! service account of the container that netdiag runs in (its own files, never the node's).
use std::{path::Path, sync::Once, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{book::Book, heard::Hearing};

/// An API server that lives answers a connection at once.
const CONNECT: Duration = Duration::from_secs(5);
/// A kubeconfig larger than this is none.
const LARGEST: u64 = 4 << 20;

/// What was found; nothing where no API is known.
pub async fn config(named: Option<&Path>) -> Result<Option<Config>> {
    let found = match named {
        Some(path) => Some(from_file(path).await?),
        None => match from_environment().await? {
            Some(config) => Some(config),
            None => in_cluster()?,
        },
    };
    Ok(found.map(|mut config| {
        config.connect_timeout = Some(CONNECT);
        // Trouble is to be told, not hidden: who watches tries again by itself.
        config.default_retry = false;
        config
    }))
}

async fn from_file(path: &Path) -> Result<Config> {
    let name = path.display();
    let found = std::fs::metadata(path).with_context(|| format!("--kubeconfig {name}"))?;
    if !found.is_file() || found.len() > LARGEST {
        bail!("--kubeconfig {name} is no kubeconfig: no regular file, or larger than 4 MiB");
    }
    let read = Kubeconfig::read_from(path).map_err(sentence);
    let read = read.with_context(|| format!("--kubeconfig {name} is no kubeconfig"))?;
    from_kubeconfig(read, &format!("--kubeconfig {name}")).await
}

/// What the parser says goes on with lines of the file, which may be something else, or a secret.
fn sentence(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    let text = format!("{:#}", anyhow!(error));
    anyhow!(text.lines().next().unwrap_or_default().to_owned())
}

async fn from_environment() -> Result<Option<Config>> {
    let read = Kubeconfig::from_env()
        .map_err(sentence)
        .context("$KUBECONFIG")?;
    Ok(match read {
        Some(read) => Some(from_kubeconfig(read, "$KUBECONFIG").await?),
        None => None,
    })
}

async fn from_kubeconfig(read: Kubeconfig, named: &str) -> Result<Config> {
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(read, &options).await;
    config.with_context(|| format!("{named} names no cluster that can be asked"))
}

fn in_cluster() -> Result<Option<Config>> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        return Ok(None);
    }
    let config = Config::incluster_env();
    Ok(Some(config.context("the service account of this pod")?))
}

/// A client whose answers are noted in the book.
pub fn client(config: Config, book: &Book) -> Result<Client> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Somebody else's choice of a provider is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = ClientBuilder::try_from(config).context("a client for the API")?;
    Ok(builder.with_layer(&Hearing(book.clone())).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_no_kubeconfig_is_not_shown() {
        let path = std::env::temp_dir().join(format!("netdiag-{}-kubeconfig", std::process::id()));
        std::fs::write(&path, "root:x:0:0:secret\nother:y\n").expect("written");
        let why = from_file(&path).await.expect_err("refused");
        let _ = std::fs::remove_file(&path);
        let why = format!("{why:#}");
        assert!(why.contains("is no kubeconfig"), "{why}");
        assert!(!why.contains('\n') && !why.contains("secret"), "{why}");
    }
}

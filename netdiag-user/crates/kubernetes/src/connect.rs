//! Where the API is and as whom to ask it: what `--kubeconfig` names, else `$KUBECONFIG`, else the
//! service account of the container that netdiag runs in (its own files, never the node's).
use std::{
    io::{IsTerminal, stdin},
    path::Path,
    sync::Once,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{
    bounded::{Bounded, PAGE},
    cluster_store::ClusterStore,
    kubeconfig::{self, Asked},
    liveness::Liveness,
};

/// An API server that lives answers a connection at once.
const CONNECT: Duration = Duration::from_secs(5);

/// What was found; nothing where no API is known.
pub async fn config(asked: Asked<'_>) -> Result<Option<Config>> {
    if asked.plugins {
        let by_sudo = std::env::var_os("SUDO_UID").is_some();
        attended(by_sudo, stdin().is_terminal())?;
    }
    let found = match asked.kubeconfig {
        Some(path) => Some(from_file(path, asked).await?),
        None => match from_environment(asked).await? {
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

/// A line for sudoers that lets a script run netdiag is meant for netdiag, not for whatever program
/// the script puts into a file. A person at a terminal may be asked for a password, and sees it.
fn attended(by_sudo: bool, at_terminal: bool) -> Result<()> {
    ensure!(
        !by_sudo || at_terminal,
        "--allow-exec-plugin is refused by sudo without a terminal, because whoever may run netdiag \
         so could run any program as root: log in by a token or a certificate, or run it at a \
         terminal"
    );
    Ok(())
}

async fn from_file(path: &Path, asked: Asked<'_>) -> Result<Config> {
    let name = path.display();
    let read = kubeconfig::read(path).with_context(|| format!("--kubeconfig {name}"))?;
    from_kubeconfig(read, &format!("--kubeconfig {name}"), asked).await
}

async fn from_environment(asked: Asked<'_>) -> Result<Option<Config>> {
    Ok(match kubeconfig::from_environment()? {
        Some(read) => Some(from_kubeconfig(read, "$KUBECONFIG", asked).await?),
        None => None,
    })
}

async fn from_kubeconfig(mut read: Kubeconfig, named: &str, asked: Asked<'_>) -> Result<Config> {
    kubeconfig::choose(&mut read, asked.context).with_context(|| named.to_owned())?;
    kubeconfig::settle(&mut read, asked.plugins).with_context(|| named.to_owned())?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(read, &options).await;
    let config = config.with_context(|| format!("{named} names no cluster that can be asked"))?;
    if config.accept_invalid_certs {
        let server = &config.cluster_url;
        log::warn!(
            "{named} has insecure-skip-tls-verify: whoever answers as {server} is believed, and gets \
             the login"
        );
    }
    Ok(config)
}

fn in_cluster() -> Result<Option<Config>> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        return Ok(None);
    }
    let config = Config::incluster_env();
    Ok(Some(config.context("the service account of this pod")?))
}

/// For what is asked once: a client, whose answers are bounded, with the namespace that the
/// kubeconfig names; nothing where no API is known.
pub async fn access(asked: Asked<'_>) -> Result<Option<(Client, String)>> {
    let Some(config) = config(asked).await? else {
        return Ok(None);
    };
    let namespace = config.default_namespace.clone();
    provide();
    let builder = ClientBuilder::try_from(config).context("a client for the API")?;
    let client = builder.with_layer(&Bounded(PAGE)).build();
    Ok(Some((client, namespace)))
}

/// What encrypts, before the first connection.
fn provide() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Somebody else's choice of a provider is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// A client whose answers are noted in the store, and have so many bytes at most.
pub fn client(config: Config, book: &ClusterStore, most: usize) -> Result<Client> {
    provide();
    let builder = ClientBuilder::try_from(config).context("a client for the API")?;
    let builder = builder.with_layer(&Bounded(most));
    Ok(builder.with_layer(&Liveness(book.clone())).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_lets_a_program_in_by_sudo_unseen() {
        for (by_sudo, at_terminal) in [(false, false), (false, true), (true, true)] {
            attended(by_sudo, at_terminal).expect("let");
        }
        let why = attended(true, false).expect_err("refused").to_string();
        assert!(why.contains("a token or a certificate"), "{why}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_kubeconfig_is_not_shown() {
        let path = std::env::temp_dir().join(format!("netdiag-{}-kubeconfig", std::process::id()));
        std::fs::write(&path, "root:x:0:0:secret\nother:y\n").expect("written");
        let why = from_file(&path, Asked::default())
            .await
            .expect_err("refused");
        let _ = std::fs::remove_file(&path);
        let why = format!("{why:#}");
        assert!(why.contains("is no kubeconfig"), "{why}");
        assert!(!why.contains('\n') && !why.contains("secret"), "{why}");
    }
}

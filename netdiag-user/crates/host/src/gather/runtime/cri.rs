//! The runtime's own word, by its socket.
use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use netdiag_lang::mark;

use super::{Asked, Ready};
use crate::{
    cri::{
        self, Client,
        messages::{PodSandbox, SandboxState},
    },
    gather::Places,
    model::{runtime::Cri, text},
};

/// A CNI daemon that starts, or writes its configuration anew, leaves a moment without one.
const AGAIN: Duration = Duration::from_secs(3);
const NETWORK: &str = "NetworkReady";
/// Runtimes say a sentence.
const LONGEST: usize = 300;

pub fn ask(places: &Places) -> (Asked, Vec<Ready>) {
    let named = places.cri_socket.clone();
    let Some(socket) = named.or_else(|| cri::find(&places.root)) else {
        return (None, Vec::new());
    };
    let (said, ready) = match talk(&socket) {
        Ok((said, ready)) => (Ok(said), ready),
        Err(e) => (Err(format!("{e:#}")), Vec::new()),
    };
    let path = socket.strip_prefix(&places.root).unwrap_or(&socket);
    let path = Path::new("/").join(path).display().to_string();
    (Some((path, said)), ready)
}

fn talk(socket: &Path) -> Result<(Cri, Vec<Ready>)> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build();
    let runtime = runtime.context(mark!("starting a runtime to ask"))?;
    runtime.block_on(async {
        let mut client = Client::open(socket).await?;
        let mut network_not_ready = not_ready(&mut client).await?;
        if network_not_ready.is_some() {
            tokio::time::sleep(AGAIN).await;
            network_not_ready = not_ready(&mut client).await?;
        }
        let all = client.sandboxes().await?;
        let network_not_ready = network_not_ready.filter(|_| !all.is_empty());
        Ok((Cri { network_not_ready }, ready(all)))
    })
}

async fn not_ready(client: &mut Client) -> Result<Option<String>> {
    let conditions = client.conditions().await?;
    let network = conditions.into_iter().find(|c| c.kind == NETWORK);
    let network = network.filter(|condition| !condition.status);
    Ok(network.map(|c| text::line(&format!("{}: {}", c.reason, c.message), LONGEST)))
}

fn ready(all: Vec<PodSandbox>) -> Vec<Ready> {
    let ready = all
        .into_iter()
        .filter(|sandbox| sandbox.state == SandboxState::Ready as i32);
    let ready = ready.filter_map(|sandbox| {
        let of = sandbox.metadata?;
        Some(Ready {
            namespace: of.namespace,
            name: of.name,
            created: sandbox.created_at,
        })
    });
    ready.collect()
}

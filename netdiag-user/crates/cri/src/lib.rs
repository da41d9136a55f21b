//! The container runtime by its CRI socket: the few calls of `runtime.v1.RuntimeService` that
//! somebody here asks for (k8s.io/cri-api, pkg/apis/runtime/v1/api.proto).
//!
//! Adding one is its two messages, and a function of a few lines.
pub mod messages;

use std::{
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use http::uri::PathAndQuery;
use netdiag_lang::{english, mark};
use prost::Message;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use messages::{
    Condition, Container, ContainerEvent, ContainerStatusResponse, GetEventsRequest,
    ListContainersRequest, ListContainersResponse, ListPodSandboxRequest, ListPodSandboxResponse,
    PodSandbox, PodSandboxConfig, PodSandboxStatusResponse, RunPodSandboxRequest,
    RunPodSandboxResponse, SandboxId, StatusOf, StatusRequest, StatusResponse,
};

/// The runtime's own stream.
pub type Events = Streaming<ContainerEvent>;

/// Where runtimes listen unless told otherwise: containerd, k3s and RKE2, CRI-O, cri-dockerd.
pub const SOCKETS: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
];

/// A runtime that lives answers within milliseconds; a hung one must not hold up the rest.
const PATIENCE: Duration = Duration::from_secs(2);
/// Some hundred containers with their annotations; kubelet takes as much.
const LARGEST: usize = 16 << 20;
/// A sandbox takes a plugin's time, which waits for others.
const SETTING_UP: Duration = Duration::from_secs(30);

pub struct Client {
    grpc: Grpc<Channel>,
}

/// The first of the usual sockets that is there, as it is seen from here.
pub fn find(root: &Path) -> Option<PathBuf> {
    let sockets = SOCKETS.map(|socket| root.join(socket.trim_start_matches('/')));
    sockets.into_iter().find(|socket| socket.exists())
}

impl Client {
    pub async fn open(socket: &Path) -> Result<Self> {
        check(socket)?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()));
        let endpoint = endpoint.context(mark!("naming the socket"))?;
        let connected = tokio::time::timeout(PATIENCE, endpoint.connect()).await;
        let channel = connected
            .map_err(|_| anyhow!(english!("no answer within {} s", PATIENCE.as_secs())))?
            .map_err(|e| anyhow!("{}: {}", mark!("connecting"), innermost(&e)))?;
        let grpc = Grpc::new(channel).max_decoding_message_size(LARGEST);
        Ok(Self { grpc })
    }

    /// What the runtime says of itself: `RuntimeReady`, `NetworkReady`.
    pub async fn conditions(&mut self) -> Result<Vec<Condition>> {
        let answer: StatusResponse = self
            .call("Status", StatusRequest::default(), PATIENCE)
            .await?;
        Ok(answer.status.unwrap_or_default().conditions)
    }

    pub async fn sandboxes(&mut self) -> Result<Vec<PodSandbox>> {
        let all = ListPodSandboxRequest::default();
        let answer: ListPodSandboxResponse = self.call("ListPodSandbox", all, PATIENCE).await?;
        Ok(answer.items)
    }

    /// With what the runtime says beyond CRI's own fields.
    pub async fn sandbox_status(&mut self, id: &str) -> Result<PodSandboxStatusResponse> {
        let of = status_of(id);
        self.call("PodSandboxStatus", of, PATIENCE).await
    }

    pub async fn containers(&mut self) -> Result<Vec<Container>> {
        let all = ListContainersRequest::default();
        let answer: ListContainersResponse = self.call("ListContainers", all, PATIENCE).await?;
        Ok(answer.containers)
    }

    pub async fn container_status(&mut self, id: &str) -> Result<ContainerStatusResponse> {
        let of = status_of(id);
        self.call("ContainerStatus", of, PATIENCE).await
    }

    /// What happens to containers from now on. Waits for the first event.
    pub async fn events(&mut self) -> Result<Events> {
        let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/GetContainerEvents");
        self.grpc.ready().await.map_err(|e| anyhow!("{e}"))?;
        let codec = ProstCodec::<GetEventsRequest, ContainerEvent>::default();
        let request = Request::new(GetEventsRequest::default());
        let answer = self.grpc.server_streaming(request, path, codec).await;
        Ok(answer.map_err(|s| anyhow!("{}", said(&s)))?.into_inner())
    }

    /// Returns its id.
    pub async fn run(&mut self, config: PodSandboxConfig) -> Result<String> {
        let request = RunPodSandboxRequest {
            config: Some(config),
        };
        let answer: RunPodSandboxResponse = self.call("RunPodSandbox", request, SETTING_UP).await?;
        Ok(answer.pod_sandbox_id)
    }

    /// Stops a sandbox and takes it away.
    pub async fn remove(&mut self, id: &str) -> Result<()> {
        let named = || SandboxId { id: id.to_owned() };
        let _: () = self.call("StopPodSandbox", named(), SETTING_UP).await?;
        self.call("RemovePodSandbox", named(), SETTING_UP).await
    }

    async fn call<Q, A>(&mut self, method: &str, question: Q, patience: Duration) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let path = PathAndQuery::try_from(path).context(mark!("naming the call"))?;
        let answer = async {
            self.grpc.ready().await.map_err(|e| anyhow!("{e}"))?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = self.grpc.unary(Request::new(question), path, codec).await;
            answer.map_err(|status| anyhow!("{}", said(&status)))
        };
        let answer = tokio::time::timeout(patience, answer).await;
        let answer =
            answer.map_err(|_| anyhow!(english!("no answer within {} s", patience.as_secs())))?;
        Ok(answer.with_context(|| method.to_owned())?.into_inner())
    }
}

/// Whoever answers there says which pods there are: only root's runtime, or our own.
fn check(socket: &Path) -> Result<()> {
    let found = std::fs::metadata(socket).map_err(|e| anyhow!("{}: {e}", mark!("connecting")))?;
    if !found.file_type().is_socket() {
        bail!(mark!("it is no socket"));
    }
    let own = nix::unistd::geteuid().as_raw();
    match found.uid() {
        0 => Ok(()),
        uid if uid == own => Ok(()),
        uid => bail!(
            "{}",
            english!("it belongs to uid {uid}, and a container runtime's to root")
        ),
    }
}

fn status_of(id: &str) -> StatusOf {
    StatusOf {
        id: id.to_owned(),
        verbose: true,
    }
}

fn said(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        text => text.to_owned(),
    }
}

/// tonic's own words are "transport error"; the reason is at the bottom.
fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_looked_for_under_the_root() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(find(root.path()), None);
        let folder = root.path().join("run/crio");
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("crio.sock"), "").expect("written");
        assert_eq!(find(root.path()), Some(folder.join("crio.sock")));
    }

    #[tokio::test]
    async fn nobody_there_is_said_in_words() {
        let root = tempfile::tempdir().expect("a folder");
        let error = Client::open(&root.path().join("none.sock")).await.err();
        let text = format!("{:#}", error.expect("nobody listens"));
        assert!(text.contains("No such file"), "{text}");
    }

    #[tokio::test]
    async fn a_strangers_socket_is_not_asked() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("theirs.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        assert!(check(&path).is_ok(), "our own");
        let file = root.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert!(Client::open(&file).await.is_err());
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(12345), None).expect("given away");
            let error = Client::open(&path).await.err().expect("refused");
            assert!(error.to_string().contains("uid 12345"), "{error}");
        }
    }
}

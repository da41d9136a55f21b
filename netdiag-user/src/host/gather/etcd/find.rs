//! Where etcd is: as was typed, else by kubeadm's manifest, else by the command line and the
//! environment of an etcd that runs in this node's own namespace.
use std::path::{Path, PathBuf};

use super::{Endpoint, Named};
use crate::host::{
    gather::{
        Places,
        processes::{self, flag},
    },
    namespaces,
};

const MANIFEST: &str = "etc/kubernetes/manifests/etcd.yaml";
/// A larger file is no manifest of kubeadm's.
const LARGEST: u64 = 1 << 20;

/// etcd's flags for the CA, certificate and key that a client may use as well: kubeadm's server
/// certificate is good for both sides.
const FILES: [&str; 3] = ["trusted-ca-file", "cert-file", "key-file"];

pub fn endpoints(places: &Places) -> Vec<Endpoint> {
    let named = &places.etcd;
    if !named.endpoints.is_empty() {
        return named.endpoints.iter().map(|e| typed(named, e)).collect();
    }
    let found = from_manifest(&places.root).or_else(|| from_process(&places.root));
    found.into_iter().map(|f| f.with(named)).collect()
}

/// `host:port` is taken as etcdctl takes it.
fn typed(named: &Named, endpoint: &str) -> Endpoint {
    let url = match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false => format!("http://{endpoint}"),
    };
    let files = [None, None, None];
    Endpoint { url, files }.with(named)
}

impl Endpoint {
    /// Files that were typed come before those that were found.
    fn with(mut self, named: &Named) -> Self {
        let typed = [&named.cacert, &named.cert, &named.key];
        for (file, typed) in self.files.iter_mut().zip(typed) {
            if let Some(path) = typed {
                *file = Some((path.clone(), path.clone()));
            }
        }
        self
    }

    fn from_flags(root: &Path, arguments: &[String]) -> Option<Self> {
        let urls = flag(arguments, "listen-client-urls")
            .or_else(|| flag(arguments, "advertise-client-urls"))?;
        let file = |name: &str| {
            let path = flag(arguments, name).filter(|p| !p.is_empty())?;
            let here = root.join(path.trim_start_matches('/'));
            Some((PathBuf::from(path), here))
        };
        Some(Self {
            url: nearest(urls)?,
            files: FILES.map(file),
        })
    }
}

/// Of the addresses that it listens on the one on loopback, else the first.
fn nearest(urls: &str) -> Option<String> {
    let own = |url: &str| {
        url.replace("//0.0.0.0", "//127.0.0.1")
            .replace("//[::]", "//[::1]")
    };
    let all: Vec<String> = urls.split(',').map(|u| own(u.trim())).collect();
    let near =
        |u: &&String| u.contains("//127.") || u.contains("//[::1]") || u.contains("//localhost");
    let found = all.iter().find(near).or(all.first())?;
    found.starts_with("http").then(|| found.clone())
}

/// kubeadm writes the command as a list, one flag a line.
fn from_manifest(root: &Path) -> Option<Endpoint> {
    let path = root.join(MANIFEST);
    let small = std::fs::metadata(&path).is_ok_and(|m| m.len() <= LARGEST);
    let text = small.then(|| std::fs::read_to_string(&path).ok())??;
    Endpoint::from_flags(root, &listed(&text))
}

fn listed(text: &str) -> Vec<String> {
    let item = |line: &str| {
        let item = line.trim().strip_prefix("- ")?.trim();
        Some(item.trim_matches(['"', '\'']).to_owned())
    };
    text.lines().filter_map(item).collect()
}

fn from_process(root: &Path) -> Option<Endpoint> {
    let own = namespaces::own();
    let is_etcd = |p: &processes::Process| p.name() == "etcd" && Some(p.netns) == own;
    let found = processes::all(root).into_iter().find(is_etcd)?;
    let mut arguments = found
        .environment()
        .iter()
        .filter_map(|v| as_flag(v))
        .collect::<Vec<_>>();
    arguments.extend(found.arguments);
    Endpoint::from_flags(root, &arguments)
}

/// `ETCD_CERT_FILE=x` is `--cert-file=x`; a flag comes before it.
fn as_flag(variable: &str) -> Option<String> {
    let (name, value) = variable.strip_prefix("ETCD_")?.split_once('=')?;
    let name = name.to_ascii_lowercase().replace('_', "-");
    Some(format!("--{name}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeadms_manifest_names_address_and_files() {
        let text = "spec:\n  containers:\n  - command:\n    - etcd\n    - --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.5:2379\n    - --cert-file=/pki/server.crt\n";
        let found = Endpoint::from_flags(Path::new("/host"), &listed(text)).expect("an endpoint");
        assert_eq!(found.url, "https://127.0.0.1:2379");
        assert_eq!(found.credentials(), ["--cert /pki/server.crt"]);
        assert_eq!(found.file(1), Some(Path::new("/host/pki/server.crt")));
    }

    #[test]
    fn the_nearest_address_is_asked() {
        assert_eq!(
            nearest("http://10.0.0.1:1,http://[::1]:2").as_deref(),
            Some("http://[::1]:2")
        );
        assert_eq!(
            nearest("http://0.0.0.0:1").as_deref(),
            Some("http://127.0.0.1:1")
        );
        assert_eq!(nearest("unix:///x"), None);
        assert_eq!(
            as_flag("ETCD_KEY_FILE=/k").as_deref(),
            Some("--key-file=/k")
        );
    }
}

//! Where etcd is: as was typed, else by kubeadm's manifest, else by the command line and the
//! environment of an etcd that is a daemon of this node's.
use std::path::{Path, PathBuf};

use hyper::Uri;

use super::{Endpoint, EtcdArgs, Pem};
use crate::{
    gather::{
        Places, manifest,
        processes::{self, flag},
    },
    namespaces,
};

const PROGRAM: &str = "etcd";
/// Characters of an address that is asked.
const LONGEST: usize = 300;

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
fn typed(named: &EtcdArgs, endpoint: &str) -> Endpoint {
    let url = match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false => format!("http://{endpoint}"),
    };
    let files = [None, None, None];
    Endpoint { url, files }.with(named)
}

impl Endpoint {
    /// Files that were typed come before those that were found.
    fn with(mut self, named: &EtcdArgs) -> Self {
        let typed = [&named.cacert, &named.cert, &named.key];
        for (file, typed) in self.files.iter_mut().zip(typed) {
            if let Some(path) = typed {
                *file = Some(Pem::typed(path));
            }
        }
        self
    }

    fn from_flags(root: &Path, arguments: &[String]) -> Option<Self> {
        let urls = flag(arguments, "listen-client-urls")
            .or_else(|| flag(arguments, "advertise-client-urls"))?;
        let file = |name: &str| {
            let path = flag(arguments, name).filter(|p| !p.is_empty())?;
            Some(Pem {
                named: PathBuf::from(path),
                here: root.join(path.trim_start_matches('/')),
                typed: false,
            })
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
    let url: Uri = found.parse().ok().filter(|_| found.len() <= LONGEST)?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    (known && url.authority().is_some()).then(|| found.clone())
}

fn from_manifest(root: &Path) -> Option<Endpoint> {
    Endpoint::from_flags(root, &manifest::listed(root, PROGRAM)?)
}

fn from_process(root: &Path) -> Option<Endpoint> {
    let own = namespaces::own();
    let mut found = None;
    processes::each(root, |process, believer| {
        if found.is_some() || Some(process.netns) != own {
            return;
        }
        let Some(started) = believer.started(process, &[PROGRAM]) else {
            return;
        };
        let (environment, _) = process.environment();
        // It may have become another program meanwhile.
        if believer.trusts(process).is_err() {
            return;
        }
        let mut arguments: Vec<_> = environment.iter().filter_map(|v| as_flag(v)).collect();
        arguments.extend(started.command.arguments);
        found = Some(arguments);
    });
    Endpoint::from_flags(root, &found?)
}

/// `ETCD_CERT_FILE=x` is `--cert-file=x`; a flag comes before it.
fn as_flag(variable: &str) -> Option<String> {
    let (name, value) = variable.strip_prefix("ETCD_")?.split_once('=')?;
    let name = name.to_ascii_lowercase().replace('_', "-");
    Some(format!("--{name}={value}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::gather::processes::fake::{FLANNELD, Made, Node};

    const ETCD: Made<'_> = Made {
        program: "etcd",
        comm: "etcd",
        arguments: "etcd\0--listen-client-urls=http://127.0.0.1:1\0",
        environment: "ETCD_TRUSTED_CA_FILE=/pki/ca.crt\0",
        ..FLANNELD
    };

    #[test]
    fn only_a_daemon_of_the_nodes_is_asked() {
        let places = |node: &Node| Places {
            root: node.root().to_owned(),
            ..Places::default()
        };
        let nobody = Made {
            users: "65534\t65534\t65534\t65534",
            ..ETCD
        };
        let node = Node::new().with(7, &nobody);
        assert_eq!(endpoints(&places(&node)), []);
        let node = node.with(8, &ETCD);
        let found = endpoints(&places(&node));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].url, "http://127.0.0.1:1");
        assert_eq!(found[0].credentials(), ["--cacert /pki/ca.crt"]);
        assert!(found[0].files[0].as_ref().is_some_and(|pem| !pem.typed));
    }

    #[test]
    fn a_manifest_is_roots() {
        let node = tempfile::tempdir().expect("a folder");
        let path = node.path().join("etc/kubernetes/manifests/etcd.yaml");
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, "    - --listen-client-urls=http://127.0.0.1:1\n").expect("written");
        let found = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).expect("set");
            from_manifest(node.path()).is_some()
        };
        let root = nix::unistd::geteuid().is_root();
        assert_eq!([found(0o644), found(0o646)], [root, false]);
    }

    #[test]
    fn kubeadms_manifest_names_address_and_files() {
        let text = "spec:\n  containers:\n  - command:\n    - etcd\n    - --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.5:2379\n    - --cert-file=/pki/server.crt\n";
        let found =
            Endpoint::from_flags(Path::new("/host"), &manifest::items(text)).expect("an endpoint");
        assert_eq!(found.url, "https://127.0.0.1:2379");
        assert_eq!(found.credentials(), ["--cert /pki/server.crt"]);
        let pem = found.files[1].as_ref().expect("a file");
        assert_eq!(pem.here, Path::new("/host/pki/server.crt"));
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
        for other in [
            "unix:///x",
            "http:///x",
            "http://a b:1",
            "httpx://a:1",
            "https",
        ] {
            assert_eq!(nearest(other), None, "{other}");
        }
        assert_eq!(nearest(&format!("http://{}:1", "a".repeat(LONGEST))), None);
        assert_eq!(
            as_flag("ETCD_KEY_FILE=/k").as_deref(),
            Some("--key-file=/k")
        );
    }
}

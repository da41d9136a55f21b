//! What the node's processes say of Services: the API server knows the whole range, and is believed
//! where it is a daemon of the node's, or where the node's manifest says it; who writes rules for
//! them; and which containers there are to ask what kubelet told them.
use std::path::Path;

use super::environments::{self, Containers};
use crate::{
    gather::{
        manifest,
        processes::{
            self, Believer, Process, Program,
            daemons::{self, PROXIES},
        },
    },
    model::services::Services,
    namespaces,
};

const RANGE: &str = "--service-cluster-ip-range";
const API: &str = "kube-apiserver";
const MOST_PROXIES: usize = 16;

pub fn read(root: &Path, found: &mut Services) {
    let own = namespaces::own();
    let mut containers = Containers::default();
    let unseen = processes::each(root, |process, believer| {
        // On the host's network the API's own address is often given in the Service's place.
        match Some(process.netns) == own {
            true => daemon(process, believer, found),
            false => containers.meet(process, believer),
        }
    });
    found.unseen = u64::try_from(unseen.closed + unseen.beyond).unwrap_or(u64::MAX);
    if found.ranges.is_empty() {
        let listed = manifest::listed(root, API).unwrap_or_default();
        ranges(&listed, "this node's manifest", found);
    }
    // Last: what lies in others' memory may keep one waiting.
    environments::read(root, containers, found);
}

/// Only the node's own are believed: a pod may have any words.
fn daemon(process: &Process, believer: &mut Believer, found: &mut Services) {
    let Some(started) = believer.started(process, &daemons::names()) else {
        if may_be_proxy(process) && found.proxies.len() < MOST_PROXIES {
            found.proxies.push(process.label());
        }
        return;
    };
    let who = process.label();
    ranges(&started.command.arguments, &who, found);
    if PROXIES.contains(&started.name) {
        found.proxies.push(who);
    }
}

/// Root runs it, in a way that is not known here: by another runtime, or with kubelet's folders
/// elsewhere. It keeps a finding away, and makes none.
fn may_be_proxy(process: &Process) -> bool {
    let proxy = |program: Program| !program.set_uid && PROXIES.contains(&program.name.as_str());
    process.users() == Some([0; 4]) && process.program().is_some_and(proxy)
}

/// `--service-cluster-ip-range=10.96.0.0/12,fd00::/108`, or as two words.
fn ranges(arguments: &[String], who: &str, found: &mut Services) {
    let at = arguments.iter().position(|a| a.starts_with(RANGE));
    let Some(argument) = at.map(|at| &arguments[at]) else {
        return;
    };
    let value = match argument.split_once('=') {
        Some((_, value)) => Some(value),
        None => at.and_then(|at| arguments.get(at + 1)).map(String::as_str),
    };
    for prefix in value.unwrap_or_default().split(',').flat_map(str::parse) {
        found.ranges.push((prefix, format!("{RANGE} of {who}")));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::gather::processes::fake::{FLANNELD, Made, Node, SESSION, UID};

    /// A pod's and a user's words set no range; an environment is kubelet's in a pod alone.
    #[test]
    fn only_daemons_tell_a_range_and_only_pods_what_kubelet_told() {
        let range = "kube-apiserver\0--service-cluster-ip-range=10.96.0.0/12\0";
        let api = Made {
            program: "kube-apiserver",
            comm: "kube-apiserver",
            arguments: range,
            ..FLANNELD
        };
        let pod = format!("0::/kubepods/pod{UID}/{}\n", "a".repeat(64));
        let elsewhere = "/proc/self/ns/uts";
        let in_pod = Made {
            cgroup: &pod,
            environment: "WEB_SERVICE_HOST=10.96.7.7\0",
            netns: elsewhere,
            ..api
        };
        let proxy = Made {
            program: "kube-proxy",
            comm: "kube-proxy",
            arguments: "kube-proxy\0",
            ..FLANNELD
        };
        let user = Made {
            cgroup: SESSION,
            environment: "X_SERVICE_HOST=192.0.2.1\0",
            netns: elsewhere,
            ..api
        };
        let told = |made: [&Made<'_>; 2]| {
            let node = Node::new().with(7, made[0]).with(8, made[1]);
            let mut found = Services::default();
            read(node.root(), &mut found);
            found
        };
        let found = told([&api, &proxy]);
        let ranges = vec![(
            "10.96.0.0/12".parse().expect("a prefix"),
            "--service-cluster-ip-range of kube-apiserver[7]".to_owned(),
        )];
        assert_eq!(
            (found.ranges, found.proxies),
            (ranges, vec!["kube-proxy[8]".into()])
        );
        let found = told([&in_pod, &user]);
        assert_eq!((found.ranges, found.proxies), (Vec::new(), Vec::new()));
        assert_eq!(found.told.len(), 1);
        assert_eq!(found.told[0].by, "WEB_SERVICE_HOST of kube-apiserver[7]");
        let [fake_api, fake_proxy] = [&api, &proxy].map(|made| Made {
            users: "1000\t1000\t1000\t1000",
            ..*made
        });
        assert_eq!(told([&fake_api, &fake_proxy]), Services::default());
    }

    #[test]
    fn a_range_is_the_manifests_where_root_alone_can_write_it() {
        let node = Node::new();
        let path = node
            .root()
            .join("etc/kubernetes/manifests/kube-apiserver.yaml");
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, format!("    - {RANGE}=10.96.0.0/12\n")).expect("written");
        let told = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).expect("set");
            let mut found = Services::default();
            read(node.root(), &mut found);
            found.ranges.len()
        };
        let root = usize::from(nix::unistd::geteuid().is_root());
        assert_eq!([told(0o644), told(0o666)], [root, 0]);
    }

    #[test]
    fn ranges_stand_with_their_flag_or_behind_it() {
        for arguments in [
            vec![
                "kube-apiserver",
                "--service-cluster-ip-range=10.96.0.0/12,fd00::/108",
            ],
            vec![
                "kube-apiserver",
                "--service-cluster-ip-range",
                "10.96.0.0/12,fd00::/108",
            ],
        ] {
            let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
            let mut found = Services::default();
            ranges(&arguments, "kube-apiserver[1]", &mut found);
            assert_eq!(found.ranges.len(), 2);
        }
    }
}

//! What processes were told of Services: kubelet gives each container `NAME_SERVICE_HOST` of every
//! Service of its namespace and of `kubernetes`; the API server knows the whole range, and is
//! believed where it is a daemon of the node's.
use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    path::Path,
};

use crate::{
    host::{
        gather::processes::{
            self, Believer, Process, Program,
            daemons::{self, PROXIES},
        },
        namespaces,
    },
    model::services::{Services, Told},
};

const HOST: &str = "_SERVICE_HOST";
const RANGE: &str = "--service-cluster-ip-range";
/// Addresses that are kept; a large cluster has some thousand Services.
const MOST: usize = 16_384;
const MOST_PROXIES: usize = 16;
/// A Service's name has 63 characters at most.
const LONGEST: usize = 63 + HOST.len();

pub fn read(root: &Path, found: &mut Services) {
    let own = namespaces::own();
    let mut told = Listened::default();
    processes::each(root, |process, believer| {
        // On the host's network the API's own address is often given in the Service's place.
        match Some(process.netns) == own {
            true => daemon(process, believer, found),
            false => told.listen(process, believer),
        }
    });
    found.told = told.all;
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

/// What kubelet told containers.
#[derive(Default)]
struct Listened {
    all: Vec<Told>,
    addresses: BTreeSet<IpAddr>,
    containers: HashSet<String>,
}

impl Listened {
    /// A container's first process has what kubelet wrote; the others have it from there.
    fn listen(&mut self, process: &Process, believer: &Believer) {
        let Some((_, container)) = believer.pod(process) else {
            return;
        };
        if self.all.len() >= MOST || !self.containers.insert(container) {
            return;
        }
        for variable in process.environment() {
            if let Some((name, address)) = host(&variable)
                && self.all.len() < MOST
                && self.addresses.insert(address)
            {
                let by = format!("{name} of {}", process.label());
                self.all.push(Told { address, by });
            }
        }
    }
}

/// As kubelet names it (pkg/kubelet/envvars): what else ends so is of somebody else's making.
fn host(variable: &str) -> Option<(&str, IpAddr)> {
    let (name, value) = variable.split_once('=')?;
    let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let valid = name.len() <= LONGEST && name.chars().all(valid);
    (valid && name.ends_with(HOST)).then_some(())?;
    Some((name, value.parse().ok()?))
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
    use super::*;
    use crate::host::gather::processes::fake::{FLANNELD, Made, Node, SESSION, UID};

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
    fn variables_and_ranges() {
        let told = host("CART_SERVICE_HOST=10.96.7.7").expect("a Service");
        assert_eq!(told.0, "CART_SERVICE_HOST");
        for other in [
            "PATH=/bin",
            "X_SERVICE_HOST=name",
            "X_SERVICE_PORT=80",
            "x;id_SERVICE_HOST=10.96.7.7",
        ] {
            assert_eq!(host(other), None);
        }
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

//! What processes were told of Services: kubelet gives each container `NAME_SERVICE_HOST` of every
//! Service of its namespace and of `kubernetes`; the API server knows the whole range.
use std::{collections::BTreeSet, net::IpAddr, path::Path};

use crate::{
    host::{gather::processes, namespaces},
    model::services::{Services, Told},
};

const HOST: &str = "_SERVICE_HOST";
/// Programs that write rules for Services, by the names that ps(1) shows.
const PROXIES: [&str; 9] = [
    "kube-proxy",
    "k3s",
    "rke2",
    "kubelite",
    "kube-router",
    "cilium-agent",
    "calico-node",
    "antrea-agent",
    "ovnkube",
];
const RANGE: &str = "--service-cluster-ip-range";

pub fn read(root: &Path, found: &mut Services) {
    let own = namespaces::own();
    let mut seen = BTreeSet::new();
    for process in processes::all(root) {
        let who = format!("{}[{}]", process.name(), process.pid);
        ranges(&process.arguments, &who, found);
        // On the host's network the API's own address is often given in the Service's place.
        if Some(process.netns) == own {
            if PROXIES.contains(&process.name()) {
                found.proxies.push(who);
            }
            continue;
        }
        for variable in process.environment() {
            if let Some((name, address)) = host(&variable)
                && seen.insert(address)
            {
                let by = format!("{name} of {who}");
                found.told.push(Told { address, by });
            }
        }
    }
}

fn host(variable: &str) -> Option<(&str, IpAddr)> {
    let (name, value) = variable.split_once('=')?;
    name.ends_with(HOST).then_some(())?;
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

    #[test]
    fn variables_and_ranges() {
        let told = host("CART_SERVICE_HOST=10.96.7.7").expect("a Service");
        assert_eq!(told.0, "CART_SERVICE_HOST");
        for other in ["PATH=/bin", "X_SERVICE_HOST=name", "X_SERVICE_PORT=80"] {
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

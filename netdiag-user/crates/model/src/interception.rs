//! How a pod's connections are led to a proxy beside its program (Istio, Linkerd, Kuma): by rules of
//! the pod's own network namespace.
use serde::{Deserialize, Serialize};

use super::netfilter::Listing;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interception {
    /// Where connections to the pod are led, and its own to others.
    pub inbound: Vec<Redirect>,
    pub outbound: Vec<Redirect>,
    /// Ports of the pod that the rules leave alone: the proxy's own.
    pub exempt: Vec<u16>,
    /// Proxies that run there, `envoy[42]`.
    pub proxies: Vec<String>,
}

/// The container that the injector of a mesh puts a proxy into, by the proxy's program.
const CONTAINERS: [(&str, &str); 4] = [
    ("pilot-agent", "istio-proxy"),
    ("linkerd2-proxy", "linkerd-proxy"),
    ("kuma-dp", "kuma-sidecar"),
    ("consul-dataplane", "consul-dataplane"),
];

/// A rule that leads connections to a local port (REDIRECT, TPROXY).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    pub port: u16,
    /// Connections to these ports; to any where there is none.
    pub of: Vec<u16>,
    pub rule: String,
    /// What lists it.
    #[serde(default, deserialize_with = "super::gather::listing")]
    pub list: Listing,
}

impl Interception {
    /// A rule for every port makes a proxy; one for some ports may be a program's other port.
    pub fn is_proxy(&self) -> bool {
        let every = |redirect: &Redirect| redirect.of.is_empty();
        let mut redirects = self.inbound.iter().chain(&self.outbound);
        !self.proxies.is_empty() || redirects.any(every)
    }

    /// The proxy's container: nothing where its program alone does not tell whose it is.
    pub fn container(&self) -> Option<&'static str> {
        let runs = |program: &str| {
            let mut proxies = self.proxies.iter();
            proxies.any(|p| p.split('[').next() == Some(program))
        };
        let known = CONTAINERS.iter().find(|(program, _)| runs(program));
        known.map(|(_, container)| *container)
    }

    /// Where connections to that port of the pod are led, over that version of IP.
    pub fn leads(&self, port: u16, ipv6: bool) -> Option<&Redirect> {
        let meets = |r: &&Redirect| (r.of.is_empty() || r.of.contains(&port)) && r.list.is_of(ipv6);
        let own = self.exempt.contains(&port);
        self.inbound.iter().find(meets).filter(|_| !own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exempt_ports_are_led_nowhere() {
        let redirect = |of: &[u16]| Redirect {
            port: 15006,
            of: of.to_vec(),
            rule: String::new(),
            list: Listing::Unknown,
        };
        let all = Interception {
            inbound: vec![redirect(&[])],
            exempt: vec![15021],
            ..Interception::default()
        };
        assert!(all.is_proxy());
        assert_eq!(all.leads(80, false).map(|r| r.port), Some(15006));
        assert_eq!(all.leads(15021, false), None);
        let one = Interception {
            inbound: vec![redirect(&[80])],
            ..Interception::default()
        };
        assert!(!one.is_proxy());
        assert_eq!(one.leads(81, false), None);
    }

    #[test]
    fn a_proxys_program_tells_its_container() {
        let of = |proxies: &[&str]| {
            let proxies = proxies.iter().map(|p| (*p).to_owned()).collect();
            let all = Interception {
                proxies,
                ..Interception::default()
            };
            all.container()
        };
        assert_eq!(of(&["envoy[41]", "pilot-agent[1]"]), Some("istio-proxy"));
        assert_eq!(of(&["linkerd2-proxy[7]"]), Some("linkerd-proxy"));
        assert_eq!(of(&["envoy[41]"]), None, "of several meshes");
    }
}

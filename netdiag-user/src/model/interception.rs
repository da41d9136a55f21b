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

    /// Where connections to that port of the pod are led.
    pub fn leads(&self, port: u16) -> Option<&Redirect> {
        let meets = |r: &&Redirect| r.of.is_empty() || r.of.contains(&port);
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
        assert_eq!(all.leads(80).map(|r| r.port), Some(15006));
        assert_eq!(all.leads(15021), None);
        let one = Interception {
            inbound: vec![redirect(&[80])],
            ..Interception::default()
        };
        assert!(!one.is_proxy());
        assert_eq!(one.leads(81), None);
    }
}

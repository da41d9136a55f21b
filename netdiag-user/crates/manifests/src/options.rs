//! What can be chosen of the objects.
use std::{collections::BTreeMap, net::SocketAddr, str::FromStr, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::{
    arch::Arch,
    names::{Image, Label, Name, labels, shown},
    profile::Profile,
    seccomp::Seccomp,
};

/// What it is: netdiag, however its objects are called.
const APP: &str = "app.kubernetes.io/name";
/// Its value is the job of the series, too.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";
const COMPONENT: &str = "app.kubernetes.io/component";

#[derive(Clone, Debug)]
pub struct Options {
    /// Of every object, and of the job that Prometheus scrapes.
    pub name: Name,
    pub namespace: Name,
    /// The namespace is one of the objects; else it is there, and admits privileged pods.
    pub own_namespace: bool,
    pub image: Image,
    /// What the image has a platform for.
    pub arch: Vec<Arch>,
    pub profile: Profile,
    pub seccomp: Seccomp,
    pub listen: Listen,
    /// Of an image in a registry that asks who one is.
    pub pull_secret: Option<Name>,
    pub priority_class: Option<Name>,
    /// Labels of every object beside the usual ones.
    pub labels: Vec<Label>,
    /// For `netdiag agent`, after those that the objects need.
    pub arguments: Vec<String>,
    /// Whether a canary is among them, or that there is to be none.
    pub canary: bool,
    /// Whether they have it write Events.
    pub events: bool,
    /// What Prometheus is told of the agents, where its operator is there.
    pub monitors: Option<Monitor>,
    pub alerts: Alerts,
}

/// By which object the operator of Prometheus finds the agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitor {
    Pod,
    Service,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Alerts {
    /// Before a cause's ID, an alert's link to its manual.
    pub runbook_url: Option<String>,
    /// Factor of how long what an alert is about must last.
    pub scale: f64,
    /// How long the agents name a cause after its last packet, at most.
    pub resolve_after: Duration,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            runbook_url: None,
            scale: 1.0,
            resolve_after: Duration::from_secs(120),
        }
    }
}

impl Options {
    /// What every object has.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let mut all = labels(&self.labels);
        all.extend(self.owner());
        all
    }

    /// What the agents' pods have, and the Service by which a ServiceMonitor finds them.
    pub(crate) fn agent_labels(&self) -> BTreeMap<String, String> {
        let mut all = self.labels();
        all.extend(self.identity());
        all
    }

    fn owner(&self) -> [(String, String); 2] {
        let instance = self.name.to_string();
        [
            (APP.to_owned(), "netdiag".to_owned()),
            (INSTANCE.to_owned(), instance),
        ]
    }

    /// By which the pods are known, what nobody may change later. Pods that Jobs of `netdiag cluster`
    /// make have another component: they are neither scraped nor the DaemonSet's.
    pub(crate) fn identity(&self) -> BTreeMap<String, String> {
        let component = (COMPONENT.to_owned(), "agent".to_owned());
        self.owner().into_iter().chain([component]).collect()
    }

    pub(crate) fn selector(&self) -> LabelSelector {
        LabelSelector {
            match_labels: Some(self.identity()),
            ..LabelSelector::default()
        }
    }

    /// Of an object that no namespace has.
    pub(crate) fn global(&self) -> ObjectMeta {
        ObjectMeta {
            labels: Some(self.labels()),
            name: Some(self.name.to_string()),
            ..ObjectMeta::default()
        }
    }

    pub(crate) fn meta(&self) -> ObjectMeta {
        ObjectMeta {
            namespace: Some(self.namespace.to_string()),
            ..self.global()
        }
    }
}

/// An address that every node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(SocketAddr);

impl Listen {
    pub fn port(self) -> u16 {
        self.0.port()
    }

    /// Whether nobody outside the node reaches it.
    pub fn is_local(self) -> bool {
        self.0.ip().is_loopback()
    }

    pub fn address(self) -> SocketAddr {
        self.0
    }
}

/// The first port that needs no capability (net.ipv4.ip_unprivileged_port_start).
const UNPRIVILEGED: u16 = 1024;

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let clean = shown(text);
        let address: SocketAddr = text
            .parse()
            .map_err(|_| format!("'{clean}' is no address with a port, like 0.0.0.0:9464"))?;
        let ip = address.ip();
        match (address.port(), ip.is_unspecified() || ip.is_loopback()) {
            (0, _) => Err(format!("'{clean}' has no port that Prometheus could ask")),
            (1..UNPRIVILEGED, _) => Err(format!(
                "'{clean}' has a port below {UNPRIVILEGED}, which needs NET_BIND_SERVICE: the pods do not have it"
            )),
            (_, true) => Ok(Self(address)),
            (_, false) => Err(format!(
                "'{clean}' is one node's address: 0.0.0.0, [::] and 127.0.0.1 are on each"
            )),
        }
    }
}

/// A link as it stands before a cause's ID.
pub fn runbook_url(text: &str) -> Result<String, String> {
    let web = text.starts_with("https://") || text.starts_with("http://");
    // RFC 3986, 2: what else there may be stands as %XX.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&()*+,;=%".contains(&b);
    let plain = text.bytes().all(plain);
    match web && plain && text.len() > "https://".len() {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "'{}' is no prefix of a link: https://wiki.example/netdiag/ is one",
            shown(text)
        )),
    }
}

/// A factor of alerts' durations.
pub fn scale(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|f| (0.001..=1000.0).contains(f));
    factor.ok_or_else(|| format!("'{}' is no factor from 0.001 to 1000", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_node() {
        for good in ["0.0.0.0:9464", "[::]:1024", "127.0.0.1:9464", "[::1]:9464"] {
            assert!(good.parse::<Listen>().is_ok(), "{good}");
        }
        for bad in [
            "9464",
            "0.0.0.0",
            "10.0.0.1:9464",
            "0.0.0.0:0",
            "localhost:9464",
            "0.0.0.0:80",
            "127.0.0.1:1023",
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn links_and_factors() {
        assert!(runbook_url("https://wiki.example/netdiag/").is_ok());
        for bad in ["", "wiki/", "https://", "https://a b", "https://{{x}}"] {
            assert!(runbook_url(bad).is_err(), "{bad}");
        }
        assert_eq!(scale("0.05"), Ok(0.05));
        for bad in ["", "0", "-1", "nan", "inf", "1e9"] {
            assert!(scale(bad).is_err(), "{bad}");
        }
    }
}

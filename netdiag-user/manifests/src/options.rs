//! What can be chosen of the objects.
use std::{collections::BTreeMap, net::SocketAddr, str::FromStr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::{
    names::{Image, Label, Name, labels, shown},
    profile::Profile,
};

#[derive(Clone, Debug)]
pub struct Options {
    /// Of every object, of the job that Prometheus scrapes, and the first word of none else.
    pub name: Name,
    pub namespace: Name,
    pub image: Image,
    pub profile: Profile,
    pub listen: Listen,
    /// Of an image in a registry that asks who one is.
    pub pull_secret: Option<Name>,
    pub priority_class: Option<Name>,
    /// Labels of every object beside the usual ones.
    pub labels: Vec<Label>,
    /// For `netdiag agent`, after those that the objects need.
    pub arguments: Vec<String>,
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
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            runbook_url: None,
            scale: 1.0,
        }
    }
}

impl Options {
    /// What every object has.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let mut all = labels(&self.labels);
        all.extend(self.identity());
        all
    }

    /// By which the pods are known: what nobody may change later.
    fn identity(&self) -> BTreeMap<String, String> {
        let name = self.name.to_string();
        [("app.kubernetes.io/name".to_owned(), name)].into()
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
        for good in ["0.0.0.0:9464", "[::]:1", "127.0.0.1:9464", "[::1]:9464"] {
            assert!(good.parse::<Listen>().is_ok(), "{good}");
        }
        for bad in [
            "9464",
            "0.0.0.0",
            "10.0.0.1:9464",
            "0.0.0.0:0",
            "localhost:1",
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

//! Services in nft's JSON (libnftables-json(5)), as kube-proxy's nftables mode writes them
//! (pkg/proxy/nftables/proxier.go): maps from address, protocol and port to a chain that leads to
//! `dnat`, or that rejects.
mod published;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde_json::Value;

use super::super::rulesets::json::{Reader, Rule};
use crate::model::{
    flow,
    services::{Engine, Published, Service, Services},
    text,
};

const TABLE: &str = "kube-proxy";
/// Characters of a comment.
const LONGEST: usize = 300;
/// Chains within chains.
const DEEPEST: u8 = 8;
/// Chains that are looked at for one element, however often they lead to each other.
const LOOKS: usize = 10_000;

/// Rules for ports that are kept: as many as are told.
const MOST_PORTS: usize = 1024;

/// Family and table, and chain.
type Place = (String, String);
type Chains = BTreeMap<Place, BTreeMap<String, End>>;

/// What is kept of a listing until its end.
#[derive(Default)]
pub struct Listed {
    chains: Chains,
    /// Elements of maps, and to what they lead.
    elements: Vec<(Place, Service, End)>,
    /// Of the map that is being read.
    open: Vec<(Service, End)>,
    /// Rules for ports that may lead on, and to where.
    ports: Vec<(Place, Vec<Published>, End)>,
    kube_proxy: bool,
}

impl Reader for Listed {
    fn table(&mut self, _: &str, name: &str) {
        self.kube_proxy |= name == TABLE;
    }

    fn rule(&mut self, rule: &Rule) -> anyhow::Result<()> {
        let mut end = End::default();
        rule.expressions().iter().for_each(|e| end.read(e));
        if end != End::default() {
            let place = (rule.family.clone(), rule.table.clone());
            let ports = published::of(rule);
            if !ports.is_empty() && rule.table != TABLE && self.ports.len() < MOST_PORTS {
                self.ports.push((place.clone(), ports, end.clone()));
            }
            let chains = self.chains.entry(place).or_default();
            match chains.get_mut(&rule.chain) {
                Some(chain) => chain.add(end),
                None => drop(chains.insert(rule.chain.clone(), end)),
            }
        }
        Ok(())
    }

    fn element(&mut self, element: &Value) {
        self.open.extend(service(element));
    }

    fn map(&mut self, family: &str, table: &str) {
        let place = (family.to_owned(), table.to_owned());
        let kube_proxy = table == TABLE;
        for (mut service, end) in self.open.drain(..) {
            service.local &= kube_proxy;
            if service.address.is_unspecified() {
                if !kube_proxy {
                    continue;
                }
                if family == "ip6" {
                    service.address = Ipv6Addr::UNSPECIFIED.into();
                }
            }
            self.elements.push((place.clone(), service, end));
        }
    }
}

impl Listed {
    pub fn close(self, found: &mut Services) {
        found.kube_proxy |= self.kube_proxy;
        let chains = &self.chains;
        let leads = |(place, mut service, end): (Place, Service, End)| {
            let none = BTreeMap::new();
            let mut walk = Walk::new(chains.get(&place).unwrap_or(&none));
            walk.follow(&end, DEEPEST);
            let port = service.port;
            let backends = walk.backends.into_iter();
            service.backends = backends.map(|(a, p)| (a, p.unwrap_or(port))).collect();
            service.rejected = walk.rejects && service.backends.is_empty();
            (walk.rejects || !service.backends.is_empty()).then_some(service)
        };
        for (place, ports, end) in self.ports {
            let none = BTreeMap::new();
            let mut walk = Walk::new(chains.get(&place).unwrap_or(&none));
            walk.follow(&end, DEEPEST);
            let ports = ports.into_iter().filter(|_| walk.translates);
            ports.for_each(|it| found.publish(it));
        }
        for service in self.elements.into_iter().filter_map(leads) {
            match service.address.is_unspecified() {
                true => found.add_node_port(service),
                false => found.rules.push(service),
            }
        }
    }
}

/// `[KEY, VERDICT]` with the key `ADDRESS . PROTOCOL . PORT`, or without an address, which is any of the
/// node's own then. kube-proxy rejects what has no endpoints, and drops what has none on this node.
fn service(entry: &Value) -> Option<(Service, End)> {
    let (key_of, verdict) = (entry.get(0)?, entry.get(1)?);
    let value = key_of.get("elem").map_or(key_of, |e| &e["val"]);
    let (address, protocol, port) = match value["concat"].as_array()?.as_slice() {
        [address, protocol, port] => (address.as_str()?.parse().ok()?, protocol, port),
        [protocol, port] => (Ipv4Addr::UNSPECIFIED.into(), protocol, port),
        _ => return None,
    };
    let comment = key_of["elem"]["comment"].as_str();
    let comment = comment.map(|c| text::line(c, LONGEST));
    let mut end = End::default();
    end.read(verdict);
    let service = Service {
        address,
        port: u16::try_from(port.as_u64()?).ok()?,
        protocol: number(protocol)?,
        name: comment.or_else(|| name(verdict)),
        rejected: false,
        local: verdict.get("drop").is_some(),
        backends: Vec::new(),
        engine: Engine::Nftables,
    };
    Some((service, end))
}

/// A name, or a number where /etc/protocols is missing, as in small images.
fn number(protocol: &Value) -> Option<u8> {
    let named = protocol.as_str().and_then(flow::number);
    named.or_else(|| u8::try_from(protocol.as_u64()?).ok())
}

/// `service-ULMVA6XW-ns1/svc1/tcp/p80`: namespace, name, protocol and port behind a hash.
fn name(verdict: &Value) -> Option<String> {
    let target = verdict["goto"]["target"].as_str()?;
    let mut parts = target.splitn(3, '-').nth(2)?.split('/');
    let (namespace, name) = (parts.next()?, parts.next()?);
    let port = parts.nth(1).filter(|p| !p.is_empty());
    Some(match port {
        Some(port) => format!("{namespace}/{name}:{port}"),
        None => format!("{namespace}/{name}"),
    })
}

/// To what an expression, or a chain, leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct End {
    backends: BTreeSet<(IpAddr, Option<u16>)>,
    chains: BTreeSet<String>,
    rejects: bool,
    /// To whomever.
    translates: bool,
}

impl End {
    /// Looks at everything within an expression.
    fn read(&mut self, at: &Value) {
        match at {
            Value::Array(all) => all.iter().for_each(|v| self.read(v)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "goto" | "jump" => {
                            let target = value["target"].as_str();
                            self.chains.extend(target.map(str::to_owned));
                        }
                        "dnat" => {
                            self.translates = true;
                            self.backends.extend(destination(value));
                        }
                        "reject" | "drop" => self.rejects = true,
                        _ => self.read(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.backends.extend(other.backends);
        self.chains.extend(other.chains);
        self.rejects |= other.rejects;
        self.translates |= other.translates;
    }
}

/// From one element on, through the chains of its table.
struct Walk<'a> {
    chains: &'a BTreeMap<String, End>,
    left: usize,
    backends: BTreeSet<(IpAddr, Option<u16>)>,
    rejects: bool,
    translates: bool,
}

impl<'a> Walk<'a> {
    fn new(chains: &'a BTreeMap<String, End>) -> Self {
        Self {
            chains,
            left: LOOKS,
            backends: BTreeSet::new(),
            rejects: false,
            translates: false,
        }
    }

    fn follow(&mut self, end: &End, depth: u8) {
        self.backends.extend(&end.backends);
        self.rejects |= end.rejects;
        self.translates |= end.translates;
        for chain in &end.chains {
            let (Some(left), Some(depth)) = (self.left.checked_sub(1), depth.checked_sub(1)) else {
                return;
            };
            self.left = left;
            if let Some(next) = self.chains.get(chain) {
                self.follow(next, depth);
            }
        }
    }
}

fn destination(dnat: &Value) -> Option<(IpAddr, Option<u16>)> {
    let address = dnat["addr"].as_str()?.parse().ok()?;
    let port = dnat["port"].as_u64().and_then(|p| u16::try_from(p).ok());
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::rulesets::json;

    const TEXT: &str = r#"{"nftables": [
      {"table": {"family": "ip", "name": "kube-proxy"}},
      {"map": {"family": "ip", "table": "kube-proxy", "name": "service-ips", "elem": [
        [{"concat": ["10.96.0.10", "tcp", 80]}, {"goto": {"target": "service-A-shop/web/tcp/http"}}]]}},
      {"map": {"family": "ip", "table": "kube-proxy", "name": "no-endpoint-services", "elem": [
        [{"elem": {"val": {"concat": ["10.96.0.11", "udp", 53]}, "comment": "shop/none:dns"}},
         {"goto": {"target": "reject-chain"}}]]}},
      {"rule": {"family": "ip", "table": "kube-proxy", "chain": "reject-chain", "expr": [{"reject": null}]}},
      {"rule": {"family": "ip", "table": "kube-proxy", "chain": "service-A-shop/web/tcp/http", "expr": [
        {"jump": {"target": "mark-for-masquerade"}}]}},
      {"rule": {"family": "ip", "table": "kube-proxy", "chain": "service-A-shop/web/tcp/http", "expr": [
        {"vmap": {"key": {"numgen": {"mode": "random", "mod": 1}}, "data": {"set": [
          [0, {"goto": {"target": "endpoint-B"}}]]}}}]}},
      {"rule": {"family": "ip", "table": "kube-proxy", "chain": "endpoint-B", "expr": [
        {"dnat": {"addr": "10.244.1.5", "port": 8080}}]}}]}"#;

    fn read(text: &str, found: &mut Services) -> anyhow::Result<()> {
        let mut listed = Listed::default();
        json::read(text.as_bytes(), &mut listed)?;
        listed.close(found);
        Ok(())
    }

    #[test]
    fn maps_are_followed_to_their_backends() {
        let mut found = Services::default();
        read(TEXT, &mut found).expect("rules");
        assert!(found.kube_proxy);
        let [web, none] = found.rules.as_slice() else {
            panic!("{:?}", found.rules);
        };
        assert_eq!(web.name.as_deref(), Some("shop/web:http"));
        assert_eq!(web.backends, [("10.244.1.5".parse().expect("valid"), 8080)]);
        assert_eq!((none.rejected, none.protocol), (true, 17));
        assert_eq!(none.name.as_deref(), Some("shop/none:dns"));
    }

    const LOCAL: &str = r#"{"nftables": [
      {"map": {"family": "ip6", "table": "kube-proxy", "name": "no-endpoint-nodeports", "elem": [
        [{"elem": {"val": {"concat": ["tcp", 30080]}, "comment": "shop/web:http"}}, {"drop": null}]]}},
      {"map": {"family": "ip6", "table": "kube-proxy", "name": "no-endpoint-services", "elem": [
        [{"elem": {"val": {"concat": ["fd00::14", "tcp", 514]}, "comment": "shop/log:in"}}, {"drop": null}]]}},
      {"map": {"family": "ip6", "table": "kube-proxy", "name": "service-nodeports", "elem": [
        [{"concat": ["tcp", 30080]}, {"goto": {"target": "external-A-shop/web/tcp/http"}}]]}},
      {"map": {"family": "ip", "table": "mine", "name": "m", "elem": [
        [{"concat": ["tcp", 22]}, {"drop": null}]]}},
      {"rule": {"family": "ip6", "table": "kube-proxy", "chain": "external-A-shop/web/tcp/http", "expr": [
        {"goto": {"target": "endpoint-B"}}]}},
      {"rule": {"family": "ip6", "table": "kube-proxy", "chain": "endpoint-B", "expr": [
        {"dnat": {"addr": "fd00::5", "port": 8080}}]}}]}"#;

    #[test]
    fn what_has_no_endpoint_on_this_node_is_dropped() {
        let mut found = Services::default();
        read(LOCAL, &mut found).expect("rules");
        let ([log], [web]) = (found.rules.as_slice(), found.node_ports.as_slice()) else {
            panic!("{found:?}");
        };
        assert!(log.local && log.rejected && web.local && web.rejected);
        assert_eq!(
            (web.port, web.address),
            (30080, Ipv6Addr::UNSPECIFIED.into())
        );
        assert_eq!(web.backends, [("fd00::5".parse().expect("valid"), 8080)]);
        assert_eq!(web.name.as_deref(), Some("shop/web:http"));
    }

    #[test]
    fn protocols_may_have_no_names() {
        let (mut named, mut numbered) = (Services::default(), Services::default());
        read(TEXT, &mut named).expect("rules");
        let text = TEXT.replace("\"tcp\"", "6").replace("\"udp\"", "17");
        read(&text, &mut numbered).expect("rules");
        assert_eq!(numbered, named);
    }

    #[test]
    fn what_is_no_ruleset_is_refused() {
        let mut found = Services::default();
        assert!(read("", &mut found).is_err());
        assert!(read("{}", &mut found).is_err());
        read(
            r#"{"nftables": [{"map": {"elem": [[1], [{"concat": []}, 2]]}}]}"#,
            &mut found,
        )
        .expect("nothing in it");
        assert_eq!(found, Services::default());
    }
}

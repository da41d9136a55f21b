//! Services in nft's JSON (libnftables-json(5)), as kube-proxy's nftables mode writes them
//! (pkg/proxy/nftables/proxier.go): maps from address, protocol and port to a chain that leads to
//! `dnat`, or that rejects.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::model::{
    flow,
    services::{Engine, Service, Services},
};

const TABLE: &str = "kube-proxy";

/// Family, table and chain.
type Chain = (String, String, String);

pub fn read(text: &str, found: &mut Services) -> Result<()> {
    let document: Value = serde_json::from_str(text).context("no JSON")?;
    let objects = document["nftables"]
        .as_array()
        .context("no list of rules")?;
    let mut chains: BTreeMap<Chain, Vec<&Value>> = BTreeMap::new();
    for rule in objects.iter().filter_map(|o| o.get("rule")) {
        chains
            .entry(key(rule, &rule["chain"]))
            .or_default()
            .push(&rule["expr"]);
    }
    for table in objects.iter().filter_map(|o| o.get("table")) {
        found.kube_proxy |= table["name"] == TABLE;
    }
    for map in objects.iter().filter_map(|o| o.get("map")) {
        for entry in map["elem"].as_array().into_iter().flatten() {
            found.rules.extend(service(&chains, map, entry));
        }
    }
    Ok(())
}

fn key(of: &Value, chain: &Value) -> Chain {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    (text(&of["family"]), text(&of["table"]), text(chain))
}

/// `[KEY, VERDICT]` with the key `ADDRESS . PROTOCOL . PORT`.
fn service(chains: &BTreeMap<Chain, Vec<&Value>>, map: &Value, entry: &Value) -> Option<Service> {
    let (key_of, verdict) = (entry.get(0)?, entry.get(1)?);
    let value = key_of.get("elem").map_or(key_of, |e| &e["val"]);
    let [address, protocol, port] = value["concat"].as_array()?.as_slice() else {
        return None;
    };
    let mut end = End::default();
    end.follow(chains, map, verdict, 8);
    let address: IpAddr = address.as_str()?.parse().ok()?;
    let comment = key_of["elem"]["comment"].as_str().map(str::to_owned);
    let port = u16::try_from(port.as_u64()?).ok()?;
    let backends = end.backends.into_iter();
    let backends: Vec<_> = backends.map(|(a, p)| (a, p.unwrap_or(port))).collect();
    (end.rejects || !backends.is_empty()).then_some(Service {
        address,
        port,
        protocol: number(protocol)?,
        name: comment.or_else(|| name(verdict)),
        rejected: end.rejects && backends.is_empty(),
        backends,
        engine: Engine::Nftables,
    })
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

/// What a verdict comes to.
#[derive(Default)]
struct End {
    backends: BTreeSet<(IpAddr, Option<u16>)>,
    rejects: bool,
}

impl End {
    /// Looks at everything within an expression, and within the chains that it leads to.
    fn follow(&mut self, chains: &BTreeMap<Chain, Vec<&Value>>, of: &Value, at: &Value, depth: u8) {
        if depth == 0 {
            return;
        }
        match at {
            Value::Array(all) => all.iter().for_each(|v| self.follow(chains, of, v, depth)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "goto" | "jump" => {
                            for rule in chains.get(&key(of, &value["target"])).into_iter().flatten()
                            {
                                self.follow(chains, of, rule, depth - 1);
                            }
                        }
                        "dnat" => self.backends.extend(destination(value)),
                        "reject" | "drop" => self.rejects = true,
                        _ => self.follow(chains, of, value, depth),
                    }
                }
            }
            _ => {}
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

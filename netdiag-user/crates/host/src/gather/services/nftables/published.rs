//! Which ports a rule is about, in nft's JSON (libnftables-json(5)).
use std::net::IpAddr;

use serde_json::Value;

use crate::{
    gather::rulesets::json::Rule,
    model::{
        flow::{TCP, UDP},
        services::Published,
    },
};

/// Ports of one rule's set that are kept.
const MOST: usize = 256;

/// What a rule says of a packet, as far as it is for ports.
#[derive(Default)]
struct About {
    protocol: Option<u8>,
    ports: Vec<(u16, u16)>,
    address: Option<IpAddr>,
}

/// The ports that a rule is for; nothing where it is for none.
pub fn of(rule: &Rule) -> Vec<Published> {
    let mut about = About::default();
    rule.expressions().iter().for_each(|e| about.read(e));
    let Some(protocol) = about.protocol else {
        return Vec::new();
    };
    let families = match (about.address, rule.family.as_str()) {
        (Some(address), _) => vec![address.is_ipv6()],
        (None, "ip") => vec![false],
        (None, "ip6") => vec![true],
        (None, _) => vec![false, true],
    };
    let published = |ipv6: bool| {
        let address = about.address;
        about.ports.iter().map(move |&ports| Published {
            address,
            ipv6,
            protocol,
            ports,
        })
    };
    families.into_iter().flat_map(published).collect()
}

impl About {
    fn read(&mut self, expression: &Value) {
        let is = &expression["match"];
        if is["op"] == "==" {
            let (field, right) = (&is["left"]["payload"], &is["right"]);
            match field["field"].as_str() {
                Some("dport") => self.port(field, right),
                Some("daddr") => self.address = right.as_str().and_then(|a| a.parse().ok()),
                _ => {}
            }
        }
        // `dnat to tcp dport map { 8080 : 10.0.0.1 }`
        for way in ["addr", "port"] {
            let map = &expression["dnat"][way]["map"];
            let key = &map["key"]["payload"];
            if key["field"] == "dport" {
                let elements = map["data"]["set"].as_array().into_iter().flatten();
                let keys = elements.filter_map(|e| e.get(0));
                keys.for_each(|value| self.port(key, value));
            }
        }
    }

    fn port(&mut self, field: &Value, value: &Value) {
        self.protocol = match field["protocol"].as_str() {
            Some("tcp") => Some(TCP),
            Some("udp") => Some(UDP),
            _ => return,
        };
        let number = |v: &Value| v.as_u64().and_then(|n| u16::try_from(n).ok());
        let one = |v: &Value| match v["range"].as_array().map(Vec::as_slice) {
            Some([first, last]) => number(first).zip(number(last)),
            _ => number(v).map(|n| (n, n)),
        };
        let all = value["set"]
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        let room = MOST.saturating_sub(self.ports.len());
        self.ports.extend(all.iter().filter_map(one).take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Listed;
    use crate::{gather::rulesets::json, model::services::Services};

    fn found(expressions: &str) -> Services {
        let text = format!(
            r#"{{"nftables": [
              {{"rule": {{"family": "ip", "table": "nat", "chain": "pre", "expr": [{expressions}]}}}},
              {{"rule": {{"family": "ip", "table": "nat", "chain": "to-web", "expr": [
                {{"dnat": {{"addr": "10.0.0.1", "port": 8080}}}}]}}}}]}}"#
        );
        let (mut listed, mut found) = (Listed::default(), Services::default());
        json::read(text.as_bytes(), &mut listed).expect("a ruleset");
        listed.close(&mut found);
        found
    }

    fn port(right: &str) -> String {
        let left = r#"{"payload": {"protocol": "tcp", "field": "dport"}}"#;
        format!(r#"{{"match": {{"op": "==", "left": {left}, "right": {right}}}}}"#)
    }

    #[test]
    fn ports_that_lead_on_are_published() {
        let node = "192.0.2.1".parse().expect("valid");
        let has = |text: &str, at, protocol| found(text).publishes((node, at), protocol, true);
        let jump = r#"{"goto": {"target": "to-web"}}"#;
        let dnat = r#"{"dnat": {"addr": "10.0.0.1"}}"#;
        let map = r#"{"dnat": {"addr": {"map": {"key": {"payload": {"protocol": "udp", "field":
            "dport"}}, "data": {"set": [[53, "10.0.0.1"]]}}}}}"#;
        assert!(has(&format!("{}, {dnat}", port("30080")), 30080, 6));
        assert!(has(
            &format!("{}, {jump}", port(r#"{"range": [80, 90]}"#)),
            85,
            6
        ));
        assert!(has(
            &format!("{}, {dnat}", port(r#"{"set": [80, {"range": [90, 99]}]}"#)),
            91,
            6
        ));
        assert!(has(map, 53, 17));
        assert!(!has(&format!("{}, {dnat}", port("30080")), 30081, 6));
        let accepted = r#"{"accept": null}, {"jump": {"target": "nowhere"}}"#;
        assert!(!has(&format!("{}, {accepted}", port("80")), 80, 6));
    }

    #[test]
    fn of_an_address_that_it_names_it_is_for_that_alone() {
        let daddr = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}},
            "right": "192.0.2.50"}}"#;
        let text = format!(
            r#"{daddr}, {}, {{"dnat": {{"addr": "10.0.0.1"}}}}"#,
            port("80")
        );
        let found = found(&text);
        let publishes = |a: &str, own| found.publishes((a.parse().expect("valid"), 80), 6, own);
        assert!(publishes("192.0.2.50", false));
        assert!(!publishes("192.0.2.1", true));
    }
}

//! Filters by interface and address, as typed.
use std::net::IpAddr;

use netdiag_common::flow::FlowKey;

use super::{address::Prefix, flow};

/// What `--filter` takes so far: `[src|dst] host ADDRESS` and `[src|dst] net PREFIX`, joined by
/// `or`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    side: Side,
    prefix: Prefix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Either,
    Source,
    Destination,
}

const KNOWN: &str = "known are: [src|dst] host ADDRESS, [src|dst] net PREFIX, joined by 'or'";

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace().peekable();
        let mut terms = Vec::new();
        loop {
            let mut word = words.next();
            let side = match word {
                Some("src") => Side::Source,
                Some("dst") => Side::Destination,
                _ => Side::Either,
            };
            if side != Side::Either {
                word = words.next();
            }
            let host = match word {
                Some("host") => true,
                Some("net") => false,
                Some(other) => return Err(format!("filter: '{other}' is not known; {KNOWN}")),
                None => return Err(format!("filter: it ends where a term should be; {KNOWN}")),
            };
            let value = words
                .next()
                .ok_or_else(|| format!("filter: an address is missing; {KNOWN}"))?;
            let prefix: Prefix = value.parse().map_err(|e| format!("filter: {e}"))?;
            if host && value.contains('/') {
                return Err(format!(
                    "filter: 'host' takes an address, '{value}' is a prefix"
                ));
            }
            terms.push(Term { side, prefix });
            match words.next() {
                None => return Ok(Self { terms }),
                Some("or") => {}
                Some(other) => return Err(format!("filter: '{other}' is not known; {KNOWN}")),
            }
        }
    }
}

impl Filter {
    pub fn matches(&self, key: &FlowKey) -> bool {
        let (source, destination) = flow::ends(key);
        self.terms.is_empty() || self.terms.iter().any(|t| t.matches(source, destination))
    }
}

impl Term {
    fn matches(&self, source: IpAddr, destination: IpAddr) -> bool {
        let (by_source, by_destination) = (
            self.prefix.contains(source),
            self.prefix.contains(destination),
        );
        match self.side {
            Side::Either => by_source || by_destination,
            Side::Source => by_source,
            Side::Destination => by_destination,
        }
    }
}

/// Whether `name` matches a glob of `*` and `?`.
pub fn glob(pattern: &str, name: &str) -> bool {
    fn step(p: &[u8], n: &[u8]) -> bool {
        match (p.first(), n.first()) {
            (None, None) => true,
            (Some(b'*'), _) => step(&p[1..], n) || (!n.is_empty() && step(p, &n[1..])),
            (Some(b'?'), Some(_)) => step(&p[1..], &n[1..]),
            (Some(a), Some(b)) if a == b => step(&p[1..], &n[1..]),
            _ => false,
        }
    }
    step(pattern.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::to_wire;

    fn flow(source: &str, destination: &str) -> FlowKey {
        FlowKey {
            source: to_wire(source.parse().expect("valid")),
            destination: to_wire(destination.parse().expect("valid")),
            ..FlowKey::default()
        }
    }

    #[test]
    fn terms_are_alternatives() {
        let filter: Filter = "src host 10.0.0.1 or net fd00::/8".parse().expect("valid");
        assert!(filter.matches(&flow("10.0.0.1", "10.0.0.2")));
        assert!(!filter.matches(&flow("10.0.0.2", "10.0.0.1")));
        assert!(filter.matches(&flow("2001:db8::1", "fd00::1")));
    }

    #[test]
    fn what_is_not_known_is_said() {
        for bad in [
            "",
            "host",
            "host x",
            "tcp port 80",
            "host 10.0.0.1 and host 10.0.0.2",
            "host 10.0.0.0/8",
        ] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn globs() {
        assert!(glob("veth*", "veth12ab"));
        assert!(glob("*", ""));
        assert!(!glob("eth?", "eth"));
        assert!(!glob("eth0", "eth01"));
    }
}

//! Names and codes of DNS as people write them (RFC 1035).
use std::net::IpAddr;

use netdiag_common::{
    dns::{DnsKey, NAME, PORT},
    flow::FlowKey,
};

use super::{flow::UDP, gather::Resolver};

/// The question's way to its server; many ports stand for it.
pub fn flow(key: &DnsKey) -> FlowKey {
    FlowKey {
        source: key.client,
        destination: key.server,
        source_port: 0,
        destination_port: PORT,
        protocol: UDP,
        family: key.family,
        padding: [0; 2],
    }
}

/// A name out of its wire labels, without the last dot; `.` is the root. What is no letter,
/// digit, hyphen or underscore is written as a master file has it (RFC 1035 5.1), so that no
/// label can pose as something else; a name that was cut ends in `…`.
pub fn name(wire: &[u8; NAME]) -> String {
    let mut text = String::new();
    let mut rest = wire.as_slice();
    while let Some((length, after)) = rest.split_first() {
        let length = usize::from(*length);
        if length == 0 {
            break;
        }
        if !text.is_empty() {
            text.push('.');
        }
        let label = after.get(..length).unwrap_or(after);
        label.iter().for_each(|byte| push(&mut text, *byte));
        rest = after.get(length..).unwrap_or_default();
        if rest.is_empty() {
            text.push('…');
        }
    }
    if text.is_empty() { ".".into() } else { text }
}

fn push(text: &mut String, byte: u8) {
    match byte {
        b'.' | b'\\' => text.extend(['\\', char::from(byte)]),
        b'!'..=b'~' => text.push(char::from(byte)),
        other => text.push_str(&format!("\\{other:03}")),
    }
}

/// A question's type (IANA), its number for the rarer ones.
pub fn kind(number: u16) -> String {
    match number {
        0 => "?".into(),
        1 => "A".into(),
        5 => "CNAME".into(),
        6 => "SOA".into(),
        2 => "NS".into(),
        12 => "PTR".into(),
        15 => "MX".into(),
        16 => "TXT".into(),
        28 => "AAAA".into(),
        33 => "SRV".into(),
        64 => "SVCB".into(),
        65 => "HTTPS".into(),
        255 => "ANY".into(),
        other => format!("TYPE{other}"),
    }
}

/// Whether `name` lies in `domain`, or is it.
pub fn within(name: &str, domain: &str) -> bool {
    let rest = name.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What a resolv.conf says (resolv.conf(5)); a later `search` or `domain` replaces an earlier one.
pub fn resolver(netns: u32, text: &str) -> Resolver {
    let mut resolver = Resolver {
        netns,
        ..Resolver::default()
    };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                // A link-local server may carry its zone.
                let address = words.next().and_then(|w| w.split('%').next());
                resolver
                    .servers
                    .extend(address.and_then(|a| a.parse::<IpAddr>().ok()));
            }
            Some("search" | "domain") => {
                let tidy = |w: &str| w.trim_end_matches('.').to_ascii_lowercase();
                resolver.search = words.map(tidy).collect();
            }
            _ => {}
        }
    }
    resolver
}

/// Servers and domain of kubelet's configuration (KubeletConfiguration, clusterDNS and
/// clusterDomain): YAML, the list on lines of its own or within brackets.
pub fn of_kubelet(text: &str) -> Resolver {
    let mut resolver = Resolver {
        kubelet: true,
        ..Resolver::default()
    };
    let word = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    let mut listed = false;
    for line in text.lines() {
        if let Some(item) = line.trim_start().strip_prefix("- ").filter(|_| listed) {
            resolver.servers.extend(word(item).parse::<IpAddr>());
            continue;
        }
        listed = false;
        if let Some(rest) = line.strip_prefix("clusterDNS:") {
            let rest = rest.trim().trim_start_matches('[').trim_end_matches(']');
            let servers = rest
                .split(',')
                .filter_map(|item| word(item).parse::<IpAddr>().ok());
            resolver.servers.extend(servers);
            listed = true;
        } else if let Some(rest) = line.strip_prefix("clusterDomain:") {
            let domain = word(rest).trim_end_matches('.').to_ascii_lowercase();
            if !domain.is_empty() {
                resolver.search.push(format!("svc.{domain}"));
            }
        }
    }
    resolver
}

#[cfg(any(test, feature = "testing"))]
pub fn wire(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    let labels = name.split('.').filter(|l| !l.is_empty());
    let all = labels.flat_map(|l| std::iter::once(l.len() as u8).chain(l.bytes()));
    bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_configuration_names_servers_and_domain() {
        let lines = "kind: KubeletConfiguration\nclusterDNS:\n  - 10.96.0.10\n- \"fd00::a\"\n\
                     clusterDomain: Example.local.\nx:\n- 10.0.0.1\n";
        let within = "clusterDNS: [\"10.96.0.10\", fd00::a]\nclusterDomain: \"example.local\"\n";
        for text in [lines, within] {
            let found = of_kubelet(text);
            let servers = ["10.96.0.10", "fd00::a"].map(crate::testing::ip);
            assert_eq!(found.servers, servers, "{text}");
            assert_eq!(found.search, ["svc.example.local"]);
            assert!(found.kubelet);
        }
        assert_eq!(
            of_kubelet("x: clusterDNS:\n- 10.0.0.1\n").servers,
            Vec::<IpAddr>::new()
        );
    }

    #[test]
    fn labels_become_names() {
        assert_eq!(name(&wire("")), ".");
        assert_eq!(name(&wire("web.shop.svc")), "web.shop.svc");
        let long = "a".repeat(40);
        let cut = name(&wire(&format!("{long}.{long}")));
        assert!(cut.starts_with(&long) && cut.ends_with("a…"), "{cut}");
    }

    #[test]
    fn hostile_labels_are_shown_and_not_obeyed() {
        let mut bytes = [0; NAME];
        bytes[..6].copy_from_slice(b"\x05\x1b[.\\\xff");
        assert_eq!(name(&bytes), "\\027[\\.\\\\\\255");
        assert!(name(&[63; NAME]).ends_with('…'));
        assert!(name(&[255; NAME]).is_ascii() || name(&[255; NAME]).ends_with('…'));
    }

    #[test]
    fn a_resolv_conf_names_servers_and_domains() {
        let text = "# x\nsearch a.b\nsearch Shop.svc.k8s. svc.k8s\nnameserver fe80::1%eth0\n\
                    nameserver 192.0.2.53\nnameserver nonsense\noptions ndots:5\n";
        let resolver = resolver(7, text);
        assert_eq!(resolver.search, ["shop.svc.k8s", "svc.k8s"]);
        let servers: Vec<_> = resolver.servers.iter().map(IpAddr::to_string).collect();
        assert_eq!(servers, ["fe80::1", "192.0.2.53"]);
    }

    #[test]
    fn a_domain_ends_at_a_label() {
        assert!(within("web.cluster.local", "cluster.local"));
        assert!(within("cluster.local", "cluster.local"));
        assert!(!within("mycluster.local", "cluster.local"));
    }
}

//! Commands that let some packets pass a rule or a policy of netfilter's, and leave it as it is for all others.
use std::net::IpAddr;

use super::rule_commands::name;
use crate::{
    netfilter::{Family, RuleOrigin},
    shell,
    shell::CommandLine,
};

/// (include/uapi/linux/in.h)
const WITH_PORTS: [(u8, &str); 3] = [(6, "tcp"), (17, "udp"), (132, "sctp")];
/// As both programs name them.
const WITHOUT: [(u8, &str); 2] = [(1, "icmp"), (58, "ipv6-icmp")];

/// What is to pass; what is not told may be any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    pub ipv6: bool,
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    pub protocol: u8,
    /// The server's.
    pub port: Option<u16>,
    /// It is what the server answers.
    pub answer: bool,
    /// Only of connections that are known by then.
    pub established: bool,
}

impl Pass {
    fn named(&self) -> Option<&'static str> {
        let (_, name) = { WITH_PORTS.iter() }.find(|(protocol, _)| *protocol == self.protocol)?;
        Some(name)
    }

    fn without_ports(&self) -> String {
        let mut all = WITHOUT.iter();
        let found = all.find(|(protocol, _)| *protocol == self.protocol);
        found.map_or_else(|| self.protocol.to_string(), |(_, name)| (*name).into())
    }

    /// Not everything that there is.
    fn is_some(&self) -> bool {
        let port = self.port.is_some() && self.named().is_some();
        port || self.source.is_some() || self.destination.is_some()
    }

    /// (nft(8), PAYLOAD EXPRESSIONS)
    fn by_nft(&self) -> Vec<String> {
        let ip = if self.ipv6 { "ip6" } else { "ip" };
        let mut words = Vec::new();
        for (side, address) in [("saddr", self.source), ("daddr", self.destination)] {
            let address = address.map(|address| address.to_string());
            words.extend(
                address
                    .into_iter()
                    .flat_map(|is| [ip.into(), side.into(), is]),
            );
        }
        match (self.named(), self.port) {
            (Some(named), Some(port)) => {
                let side = if self.answer { "sport" } else { "dport" };
                words.extend([named.into(), side.into(), port.to_string()]);
            }
            _ => words.extend(["meta".into(), "l4proto".into(), self.without_ports()]),
        }
        if self.established {
            words.extend(["ct", "state", "established"].map(String::from));
        }
        words.push("accept".into());
        words
    }

    /// (iptables(8), iptables-extensions(8))
    fn by_iptables(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (side, address) in [("-s", self.source), ("-d", self.destination)] {
            let address = address.map(|address| address.to_string());
            words.extend(address.into_iter().flat_map(|is| [side.into(), is]));
        }
        let protocol = self
            .named()
            .map_or_else(|| self.without_ports(), String::from);
        words.extend(["-p".into(), protocol]);
        if let (Some(_), Some(port)) = (self.named(), self.port) {
            let side = if self.answer { "--sport" } else { "--dport" };
            words.extend([side.into(), port.to_string()]);
        }
        if self.established {
            words.extend(["-m", "conntrack", "--ctstate", "ESTABLISHED"].map(String::from));
        }
        words.extend(["-j", "ACCEPT"].map(String::from));
        words
    }
}

impl RuleOrigin {
    /// Accepts what is to pass right before this rule, or, of a policy, behind all rules of its chain.
    pub fn let_pass(&self, pass: &Pass) -> Option<CommandLine> {
        if !pass.is_some() {
            return None;
        }
        match self {
            Self::Nft { chain, .. } if chain.family == Family::Arp => None,
            Self::Nft { chain, handle } => {
                let [family, table, chain] = chain.plain()?;
                let command = match handle {
                    Some(handle) => {
                        shell!(
                            "nft insert rule {} {} {} handle {}",
                            family,
                            table,
                            chain,
                            handle
                        )
                    }
                    None => shell!("nft add rule {} {} {}", family, table, chain),
                };
                Some(command.with_words(pass.by_nft()))
            }
            Self::Iptables {
                program,
                table,
                chain,
                words,
                number,
            } => {
                let (program, table, chain) = (program.name(), name(table)?, name(chain)?);
                let command = match (number, words) {
                    (Some(number), _) => shell!("{} -t {} -I {} {}", program, table, chain, number),
                    (None, Some(_)) => shell!("{} -t {} -I {}", program, table, chain),
                    (None, None) => shell!("{} -t {} -A {}", program, table, chain),
                };
                Some(command.with_words(pass.by_iptables()))
            }
            Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::{Chain, Iptables};

    const LOOKUP: Pass = Pass {
        ipv6: false,
        source: None,
        destination: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 53))),
        protocol: 17,
        port: Some(53),
        answer: false,
        established: false,
    };

    fn nft(family: Family, handle: Option<u64>) -> RuleOrigin {
        let chain = Chain {
            family,
            table: "filter".into(),
            chain: "fwd".into(),
        };
        RuleOrigin::Nft { chain, handle }
    }

    fn legacy(words: Option<Vec<String>>, number: Option<u64>) -> RuleOrigin {
        RuleOrigin::Iptables {
            program: Iptables::Legacy4,
            table: "filter".into(),
            chain: "FORWARD".into(),
            words,
            number,
        }
    }

    fn text(origin: &RuleOrigin, pass: Pass) -> Option<String> {
        origin
            .let_pass(&pass)
            .map(|command| command.text().to_owned())
    }

    #[test]
    fn before_a_rule_and_behind_all_rules_of_a_policy() {
        let words = "ip daddr 10.0.0.53 udp dport 53 accept";
        assert_eq!(
            text(&nft(Family::Inet, Some(7)), LOOKUP),
            Some(format!("nft insert rule inet filter fwd handle 7 {words}"))
        );
        assert_eq!(
            text(&nft(Family::Inet, None), LOOKUP),
            Some(format!("nft add rule inet filter fwd {words}"))
        );
        let words = "-d 10.0.0.53 -p udp --dport 53 -j ACCEPT";
        assert_eq!(
            text(&legacy(Some(Vec::new()), Some(3)), LOOKUP),
            Some(format!("iptables-legacy -t filter -I FORWARD 3 {words}"))
        );
        assert_eq!(
            text(&legacy(None, None), LOOKUP),
            Some(format!("iptables-legacy -t filter -A FORWARD {words}"))
        );
    }

    #[test]
    fn answers_are_known_by_their_server_and_never_is_everything_let_pass() {
        let answer = Pass {
            source: LOOKUP.destination,
            destination: None,
            answer: true,
            established: true,
            ..LOOKUP
        };
        let words = "ip saddr 10.0.0.53 udp sport 53 ct state established accept";
        assert_eq!(
            text(&nft(Family::Ip, None), answer),
            Some(format!("nft add rule ip filter fwd {words}"))
        );
        let all = Pass {
            destination: None,
            port: None,
            ..LOOKUP
        };
        assert_eq!(text(&nft(Family::Ip, Some(7)), all), None);
        let errors = Pass { protocol: 1, ..all };
        assert_eq!(text(&legacy(None, None), errors), None);
        let pings = Pass {
            protocol: 1,
            ..LOOKUP
        };
        assert_eq!(
            text(&nft(Family::Inet, None), pings).as_deref(),
            Some("nft add rule inet filter fwd ip daddr 10.0.0.53 meta l4proto icmp accept")
        );
        assert_eq!(
            text(&legacy(None, None), pings).as_deref(),
            Some("iptables-legacy -t filter -A FORWARD -d 10.0.0.53 -p icmp -j ACCEPT")
        );
        assert_eq!(text(&nft(Family::Arp, Some(7)), LOOKUP), None);
    }
}

//! Words in place of others: of the same length, each always by the same one, and none by another
//! one that is there.
//!
//! A name keeps what every cluster has (`kube-system`, `coredns`, `svc.cluster.local`, `eth0`). A
//! text keeps the words that netdiag's own sentences and the kernel are made of
//! (`words.txt`) and its numbers, so that rules still find in it what they look for; whatever else is
//! in it is replaced, known to this netdiag or not.
use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

use super::address::Addresses;
use crate::model::address::Prefix;

/// The words that texts may keep.
const VOCABULARY: &str = include_str!("words.txt");
/// Parts of names that name nothing of one's own.
const EVERYBODYS: [&str; 63] = [
    "aaaa",
    "agent",
    "apiserver",
    "app",
    "arpa",
    "calico",
    "canal",
    "cilium",
    "cluster",
    "component",
    "containerd",
    "controller",
    "coredns",
    "crio",
    "daemonset",
    "default",
    "deployment",
    "dns",
    "dnsmasq",
    "ds",
    "envoy",
    "etcd",
    "etcdctl",
    "felix",
    "flannel",
    "flanneld",
    "host",
    "hubble",
    "in",
    "io",
    "ip6",
    "istio",
    "istiod",
    "job",
    "k3s",
    "k8s",
    "kube",
    "kubelet",
    "kubernetes",
    "lease",
    "linkerd",
    "local",
    "manager",
    "mesh",
    "metrics",
    "name",
    "node",
    "of",
    "operator",
    "pod",
    "proxy",
    "public",
    "replicaset",
    "scheduler",
    "server",
    "statefulset",
    "svc",
    "system",
    "tier",
    "typha",
    "udp",
    "unbound",
    "tcp",
];
/// How links are called everywhere: these, and a number.
const LINKS: [&str; 24] = [
    "lo", "eth", "ens", "eno", "enp", "bond", "br", "cni", "cbr", "docker", "dummy", "flannel",
    "geneve", "gre", "gretap", "erspan", "ip6tnl", "sit", "tap", "tun", "tunl", "veth", "vxlan",
    "wg",
];
/// What begins so, and goes on with a hash or a random number, keeps its beginning.
const STEMS: [&str; 5] = ["veth", "cali", "lxc", "eni", "azv"];
const TRIES: u64 = 64;

pub struct Words {
    addresses: Addresses,
    key: RandomState,
    vocabulary: HashSet<&'static str>,
    /// Parts of names that were seen: they are replaced in texts too.
    named: HashSet<String>,
    /// Names with numbers that may be an address's.
    numbered: HashSet<String>,
    known: HashMap<String, String>,
    taken: HashSet<String>,
}

impl Words {
    /// `names` are those of pods, Services, nodes and whatever else people named.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str> + Clone, addresses: Addresses) -> Self {
        let parts = names.clone().into_iter().flat_map(pieces);
        let words = parts.filter(|(is_word, part)| *is_word && part.len() > 1);
        let own = words.filter(|(_, part)| !is_everybodys(part) && !is_number(part));
        Self {
            addresses,
            key: RandomState::new(),
            vocabulary: VOCABULARY.lines().collect(),
            named: own.map(|(_, part)| part.to_lowercase()).collect(),
            numbered: names
                .into_iter()
                .filter(|it| numbers(it) > 1)
                .map(str::to_owned)
                .collect(),
            known: HashMap::new(),
            taken: HashSet::new(),
        }
    }

    /// A name of a pod, a node, a link, a process with its number. More than one number may be an
    /// address: `ip-10-1-2-3`.
    pub fn name(&mut self, name: &str) -> String {
        let keeps = numbers(name) < 2;
        let mut out = String::with_capacity(name.len());
        let mut rest = name;
        while let Some((is_word, piece)) = pieces(rest).next() {
            if let Some((new, length)) = dashed(rest, &self.addresses) {
                out.push_str(&new);
                rest = &rest[length..];
                continue;
            }
            let number = is_number(piece) && (out.ends_with('[') || keeps && piece.len() < 5);
            match !is_word || number || is_everybodys(piece) {
                true => out.push_str(piece),
                false => out.push_str(&self.word(piece)),
            }
            rest = &rest[piece.len()..];
        }
        out
    }

    /// One label of a DNS name, of any bytes.
    pub fn label(&mut self, label: &[u8]) -> Vec<u8> {
        let text: String = label.iter().copied().map(char::from).collect();
        match is_number(&text) {
            true => self.word(&text).into_bytes(),
            false => {
                let new = self.name(&text);
                // Bytes that are no text are no letters of ours either.
                new.chars()
                    .map(|c| u8::try_from(c).unwrap_or(b'x'))
                    .collect()
            }
        }
    }

    /// A struct's member, as netdiag's are called.
    pub fn is_field(&self, name: &str) -> bool {
        let known = |word: &str| word.len() < 2 || self.is_known(word);
        name.split('_').all(known)
    }

    fn is_known(&self, word: &str) -> bool {
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
        self.vocabulary.contains(word)
    }

    /// One of an enum's, as serde writes them: `IptablesNft`. Kubernetes' names have no capitals.
    pub fn is_variant(&self, text: &str) -> bool {
        let begins = text.starts_with(|c: char| c.is_ascii_uppercase());
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric());
        begins && plain && camels(text).all(|word| self.is_known(&word))
    }

    /// A name with numbers at the beginning of a text, and how long it was.
    fn numbered(&mut self, text: &str) -> Option<(String, usize)> {
        let of_it = |c: char| c.is_alphanumeric() || "-._".contains(c);
        let end = text.find(|c| !of_it(c)).unwrap_or(text.len());
        let mut ends = (2..=end.min(253))
            .rev()
            .filter(|end| text.is_char_boundary(*end));
        let end = ends.find(|end| self.numbered.contains(&text[..*end]))?;
        Some((self.name(&text[..end]), end))
    }

    /// A sentence, a rule, a path, an argument: addresses in it are mapped as they are elsewhere.
    pub fn text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let inside = out
                .chars()
                .next_back()
                .is_some_and(|c| c.is_alphanumeric() || c == '.');
            let begins = !inside && (next.is_alphanumeric() || next == ':');
            let found = || address(rest, &self.addresses).or_else(|| self.numbered(rest));
            if let Some((new, length)) = begins.then(found).flatten() {
                out.push_str(&new);
                rest = &rest[length..];
                continue;
            }
            if !next.is_alphanumeric() {
                out.push(next);
                rest = &rest[next.len_utf8()..];
                continue;
            }
            let end = rest
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(rest.len());
            let word = self.of_text(&rest[..end]);
            out.push_str(&word);
            rest = &rest[end..];
        }
        out
    }

    fn of_text(&mut self, word: &str) -> String {
        let lower = word.to_lowercase();
        let usual = || self.vocabulary.contains(lower.as_str()) && !self.named.contains(&lower);
        match is_number(word) || word.len() == 1 || is_everybodys(word) || usual() {
            true => word.to_owned(),
            false => self.word(word),
        }
    }

    /// Another word of the same length; a hexadecimal number stays one.
    fn word(&mut self, word: &str) -> String {
        // A single digit or letter tells nothing, and numbers the nodes of every cluster.
        if word.len() == 1 {
            return word.to_owned();
        }
        let stem = STEMS.iter().find(|stem| word.starts_with(*stem));
        if let Some((stem, rest)) = stem.and_then(|stem| word.split_at_checked(stem.len()))
            && rest.len() > 5
            && rest.bytes().all(|b| b.is_ascii_hexdigit())
        {
            // The CNI plugin bridge draws veths' names; others hash the pod's.
            let random = stem == "veth";
            return format!(
                "{stem}{}",
                if random {
                    rest.to_owned()
                } else {
                    self.word(rest)
                }
            );
        }
        let lower = word.to_lowercase();
        let new = match self.known.get(&lower) {
            Some(new) => new.clone(),
            None => {
                let new = self.fresh(&lower);
                self.taken.insert(new.clone());
                self.known.insert(lower, new.clone());
                new
            }
        };
        match word.chars().any(char::is_lowercase) || !word.chars().any(char::is_uppercase) {
            true => new,
            false => new.to_uppercase(),
        }
    }

    fn fresh(&self, word: &str) -> String {
        let candidates = (0..TRIES).map(|n| self.drawn(word, n));
        let is_free = |new: &String| {
            let meaning = self.vocabulary.contains(new.as_str()) || is_everybodys(new);
            !meaning && !self.taken.contains(new) && !self.named.contains(new) && new != word
        };
        let mut fresh = candidates.chain((0..).map(|n| format!("{}{n}", self.drawn(word, n))));
        fresh.find(is_free).unwrap_or_default()
    }

    fn drawn(&self, word: &str, attempt: u64) -> String {
        let hex = word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
        let one = |(at, c): (usize, char)| {
            let n = self.key.hash_one((word, at, attempt));
            let of = |some: &[u8]| char::from(some[(n % some.len() as u64) as usize]);
            match c {
                _ if hex => of(b"0123456789abcdef"),
                '0'..='9' => of(b"0123456789"),
                _ => of(b"abcdefghijklmnopqrstuvwxyz"),
            }
        };
        word.chars().enumerate().map(one).collect()
    }
}

/// The words of `CamelCase`, in small letters.
fn camels(text: &str) -> impl Iterator<Item = String> {
    let mut words: Vec<String> = Vec::new();
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if !c.is_ascii_uppercase() => word.push(c),
            _ => words.push(c.to_ascii_lowercase().into()),
        }
    }
    words.into_iter()
}

/// Runs of letters and digits, and what is between them.
fn pieces(text: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_word = rest.chars().next()?.is_alphanumeric();
        let end = rest.find(|c: char| c.is_alphanumeric() != is_word);
        let (piece, more) = rest.split_at(end.unwrap_or(rest.len()));
        rest = more;
        Some((is_word, piece))
    })
}

/// How many numbers are in a name.
fn numbers(name: &str) -> usize {
    pieces(name).filter(|(_, piece)| is_number(piece)).count()
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_digit())
}

pub fn is_everybodys(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    EVERYBODYS.contains(&lower.as_str()) || lower.len() - stem.len() < 4 && LINKS.contains(&stem)
}

/// `10-1-2-3`, as it stands in names of pods and nodes.
fn dashed(text: &str, addresses: &Addresses) -> Option<(String, usize)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '-')
        .unwrap_or(text.len());
    let v4: std::net::Ipv4Addr = text[..end].replace('-', ".").parse().ok()?;
    Some((
        addresses.address(v4.into()).to_string().replace('.', "-"),
        end,
    ))
}

/// An address or a prefix at the beginning of a text, mapped, and how long it was.
fn address(text: &str, addresses: &Addresses) -> Option<(String, usize)> {
    let of_it = |c: char| c.is_ascii_hexdigit() || ".:".contains(c);
    let end = text.find(|c| !of_it(c)).unwrap_or(text.len());
    // Shorter ends are tried too: a port may follow, or a full stop.
    let ends = (2..=end.min(45))
        .rev()
        .filter(|end| text.is_char_boundary(*end));
    let is_whole = |end: usize| !text[end..].starts_with(|c: char| c.is_alphanumeric());
    for end in ends.filter(|end| is_whole(*end)) {
        if let Some(mac) = mac(&text[..end]) {
            return Some((crate::model::address::mac(&addresses.mac(mac)), end));
        }
        let Ok(address) = text[..end].parse::<IpAddr>() else {
            continue;
        };
        let Some(digits) = text[end..].strip_prefix('/') else {
            return Some((addresses.address(address).to_string(), end));
        };
        let length = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let whole = end + 1 + length;
        return match text[..whole].parse::<Prefix>() {
            Ok(prefix) => Some((addresses.prefix(prefix).to_string(), whole)),
            Err(_) => Some((addresses.address(address).to_string(), end)),
        };
    }
    dashed(text, addresses)
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = text.split(':').map(|byte| match byte.len() {
        2 => u8::from_str_radix(byte, 16).ok(),
        _ => None,
    });
    let mut mac = [0; 6];
    for to in &mut mac {
        *to = bytes.next()??;
    }
    bytes.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_form() {
        let mut words = Words::new(["shop"], Addresses::default());
        let new = words.name("cart-psst9cbl8-xlksm");
        assert_eq!(new.len(), 20);
        assert_eq!(new.matches('-').count(), 2);
        assert!(!new.contains("cart") && new == words.name("cart-psst9cbl8-xlksm"));
        let node = words.name("ip-10-1-2-3");
        assert!(node.ends_with("-3") && !node.contains("-1-2-"), "{node}");
        assert_eq!(words.name("coredns[4242]"), "coredns[4242]");
        for kept in [
            "kube-system",
            "coredns",
            "svc.cluster.local",
            "eth0",
            "bond1",
            "flannel.1",
            "default",
        ] {
            assert_eq!(words.name(kept), kept);
        }
        let veth = words.name("veth334aecb1");
        let cali = words.name("cali0123456789a");
        assert!(veth.starts_with("veth") && cali.starts_with("cali") && cali.len() == 15);
        assert_ne!(cali, "cali0123456789a");
        let id = "0123456789abcdef".repeat(4);
        let new = words.name(&id);
        assert!(new != id && new.len() == 64 && new.bytes().all(|b| b.is_ascii_hexdigit()));
    }

    #[test]
    fn texts_keep_what_rules_look_for() {
        let mut words = Words::new(
            ["bridge-of-mine", "web", "node-44-55"],
            Addresses::default(),
        );
        let mut text = |text: &str| words.text(text);
        let new = text("tcp dport 8081 counter packets 16 bytes 960 drop");
        assert_eq!(new, "tcp dport 8081 counter packets 16 bytes 960 drop");
        let new = text("the bridge at 10.1.2.3:80, [fd00::5]:443 and 10.0.0.0/8 of acme.example.");
        assert!(
            new.starts_with("the ") && new.contains("10.0.0.0/8 of "),
            "{new}"
        );
        for gone in ["bridge", "10.1.2.3", "fd00::5", "acme", "example"] {
            assert!(!new.contains(gone), "{new}");
        }
        assert!(new.contains(":80, [fd") && new.contains("]:443"), "{new}");
        let new = text(
            "/var/lib/cni/networks/cbr0/10.42.39.230 02:f1:c5:f6:2a:01 10.42.39.230-10.42.39.232",
        );
        assert!(!new.contains("42.39") && !new.contains("f1:c5"), "{new}");
        assert!(new.contains(".230-10."), "{new}");
        let new = text("on ip-10-1-2-3 and node-44-55");
        assert!(!new.contains("10-1-2-3") && !new.contains("44-55"), "{new}");
        assert_eq!(
            text("WEB_SERVICE_HOST of 127.0.0.1"),
            text("WEB_SERVICE_HOST of 127.0.0.1")
        );
        assert!(!text("WEB_SERVICE_HOST").contains("WEB"));
    }

    /// Each of them that the scene's types have, and what nobody calls a variant.
    #[test]
    fn variants_are_told_from_names() {
        let words = Words::new([], Addresses::default());
        for variant in [
            "IptablesNft",
            "NftChain",
            "Legacy4",
            "Ip6Tunnel",
            "Ok",
            "Err",
            "MemoryCgroup",
            "Veth",
            "EndpointSlices",
            "Unicast",
            "Netdev",
            "PodNetworks",
            "Forbidden",
            "Goto",
        ] {
            assert!(words.is_variant(variant), "{variant}");
        }
        for name in [
            "veth",
            "Acme",
            "AcmeNode",
            "Node of Acme",
            "",
            "WEB",
            "A6A6",
            "WEB_SERVICE_HOST",
        ] {
            assert!(!words.is_variant(name), "{name}");
        }
    }

    #[test]
    fn no_two_words_become_one() {
        let mut words = Words::new([], Addresses::default());
        let all: HashSet<String> = (0..600).map(|n| words.name(&format!("{n:02x}"))).collect();
        assert_eq!(all.len(), 600);
        assert!((0..600).all(|n| words.name(&format!("{n:02x}")).len() < 8));
    }
}

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
};

use super::{
    address::Addresses,
    tokens::{Token, signs, tokens},
};

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
/// Digits of a number that a name may keep.
const NUMBER: usize = 4;
const TRIES: u64 = 64;

/// How kernels are called by those who build them, with a number.
const FLAVOURS: [&str; 45] = [
    "aarch",
    "amd",
    "amzn",
    "arch",
    "arm",
    "aws",
    "azl",
    "azure",
    "bpo",
    "cloud",
    "cos",
    "deb",
    "debug",
    "default",
    "edge",
    "el",
    "fc",
    "flatcar",
    "gcp",
    "generic",
    "gke",
    "hwe",
    "kvm",
    "linuxkit",
    "lowlatency",
    "lts",
    "microsoft",
    "oracle",
    "ph",
    "photon",
    "ppc64le",
    "pve",
    "rc",
    "riscv",
    "rpi",
    "rt",
    "s390x",
    "standard",
    "talos",
    "ubuntu",
    "uek",
    "v",
    "virtual",
    "wsl",
    "x",
];

pub struct Words {
    pub addresses: Addresses,
    key: RandomState,
    vocabulary: HashSet<&'static str>,
    /// Parts of names that were seen: they are replaced in texts too.
    named: HashSet<String>,
    /// Names that are to be known as a whole: their numbers may be an address's.
    whole: HashSet<String>,
    known: HashMap<String, String>,
    taken: HashSet<String>,
}

impl Words {
    /// `names`: of pods, Services, nodes and whatever else people named.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str> + Clone, addresses: Addresses) -> Self {
        let parts = names.clone().into_iter().flat_map(pieces);
        let words = parts.filter(|(is_word, part)| *is_word && part.len() > 1);
        let own = words.filter(|(_, part)| !is_everybodys(part) && !is_number(part));
        let whole = names.into_iter().filter(|it| is_telling(it));
        Self {
            addresses,
            key: RandomState::new(),
            vocabulary: VOCABULARY.lines().collect(),
            named: own.map(|(_, part)| part.to_lowercase()).collect(),
            whole: whole.map(str::to_owned).collect(),
            known: HashMap::new(),
            taken: HashSet::new(),
        }
    }

    /// Draws none of these: what is somebody's is not to stand in place of another's either.
    pub fn avoiding(mut self, words: impl IntoIterator<Item = String>) -> Self {
        let words = words.into_iter().map(|word| word.to_lowercase());
        self.taken.extend(words);
        self
    }

    /// A name of a pod, a node, a link, a process with its number.
    pub fn name(&mut self, name: &str) -> String {
        self.named_with(name, if is_telling(name) { 0 } else { NUMBER })
    }

    /// A label's key or value. One that is a number is somebody's.
    pub fn of_label(&mut self, label: &str) -> String {
        self.named_with(label, if is_number(label) { 0 } else { NUMBER })
    }

    /// `digits`: how long a number may be that stays.
    fn named_with(&mut self, name: &str, digits: usize) -> String {
        let all = tokens(name, &self.addresses, |_| None);
        let mut out = String::with_capacity(name.len());
        let (mut at, mut single) = (0, 0);
        while let Some(token) = all.get(at) {
            at += 1;
            match token {
                Token::Mapped(new) => out.push_str(new),
                Token::Gap(gap) => out.push_str(&signs(gap)),
                Token::Word(word) | Token::Known(word) => {
                    single = if word.len() == 1 { single + 1 } else { 0 };
                    let is_pid = out.ends_with('[') && word.len() < 8;
                    let number = is_number(word) && (is_pid || word.len() <= digits);
                    match number && single < 3 || is_everybodys(word) {
                        true => out.push_str(word),
                        false if single > 2 => out.push_str(&self.single(word, &out)),
                        false => out.push_str(&self.word(word)),
                    }
                }
            }
        }
        out
    }

    /// One character of many, as the nibbles of an address are.
    fn single(&self, word: &str, before: &str) -> String {
        self.drawn(word, before.len() as u64)
    }

    /// A version: its numbers, and what builders of kernels call theirs.
    pub fn release(&mut self, release: &str) -> String {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = release.find(|c| !is_number(c)).unwrap_or(release.len());
        let (number, rest) = release.split_at(end);
        let mut out = number.to_owned();
        for token in tokens(rest, &self.addresses, |_| None) {
            match token {
                Token::Mapped(new) => out.push_str(&new),
                Token::Gap(gap) => out.push_str(&signs(gap)),
                Token::Word(word) | Token::Known(word) => {
                    let lower = word.to_lowercase();
                    let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit());
                    let usual = FLAVOURS.contains(&stem) || FLAVOURS.contains(&lower.as_str());
                    match word.len() - stem.len() <= NUMBER && (usual || stem.is_empty()) {
                        true => out.push_str(word),
                        false => out.push_str(&self.word(word)),
                    }
                }
            }
        }
        out
    }

    /// One label of a DNS name, of any bytes.
    pub fn label(&mut self, label: &[u8]) -> Vec<u8> {
        let text: String = label.iter().copied().map(char::from).collect();
        let new = match is_number(&text) {
            true => self.word(&text),
            false => self.name(&text),
        };
        // Bytes that are no text are no letters of ours either.
        new.chars()
            .map(|c| u8::try_from(c).unwrap_or(b'x'))
            .collect()
    }

    /// Numbers and single characters that are one.
    pub fn row(&mut self, row: &str) -> String {
        if row.len() > 1 {
            return self.word(row);
        }
        let mut other = (0..TRIES).map(|n| self.drawn(row, n));
        other.find(|new| new != row).unwrap_or_default()
    }

    /// One of the words that texts may keep.
    pub fn is_usual(&self, word: &str) -> bool {
        self.vocabulary.contains(word) && !self.named.contains(word)
    }

    /// How long the name is that a text begins with, if it is one that is known as a whole.
    pub fn known_name(&self, text: &str) -> Option<usize> {
        let of_it = |c: char| c.is_alphanumeric() || "-._".contains(c);
        let end = text.find(|c| !of_it(c)).unwrap_or(text.len());
        let mut ends = (2..=end.min(253))
            .rev()
            .filter(|end| text.is_char_boundary(*end));
        ends.find(|end| self.whole.contains(&text[..*end]))
    }

    /// Another word of the same length; a hexadecimal number stays one, and so do the signs in an id.
    pub fn word(&mut self, word: &str) -> String {
        // A single digit or letter tells nothing, and numbers the nodes of every cluster.
        if word.len() == 1 {
            return word.to_owned();
        }
        let stem = STEMS.iter().find(|stem| word.starts_with(*stem));
        if let Some((stem, rest)) = stem.and_then(|stem| word.split_at_checked(stem.len()))
            && rest.len() > 5
            && rest.bytes().all(|b| b.is_ascii_hexdigit())
        {
            // Rules ask what `eth1` matches: `veth1a2b3c4d`. The plugin bridge draws the rest.
            let kept = if stem == "veth" { 2 } else { 0 };
            let (kept, rest) = rest.split_at(kept);
            return format!("{stem}{kept}{}", self.word(rest));
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
        let letters = || word.bytes().filter(u8::is_ascii_alphanumeric);
        let hex =
            letters().all(|b| b.is_ascii_hexdigit()) && !letters().all(|b| b.is_ascii_digit());
        let hex = hex && letters().count() >= 8;
        let one = |(at, c): (usize, char)| {
            let n = self.key.hash_one((word, at, attempt));
            let of = |some: &[u8]| char::from(some[(n % some.len() as u64) as usize]);
            match c {
                '0'..='9' if !hex => of(b"0123456789"),
                _ if !c.is_alphanumeric() => c,
                _ if hex => of(b"0123456789abcdef"),
                _ => of(b"abcdefghijklmnopqrstuvwxyz"),
            }
        };
        word.chars().enumerate().map(one).collect()
    }
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

/// More than one number may be an address's: `ip-10-1-2-3`. Hexadecimal groups in a row are an id's.
fn is_telling(name: &str) -> bool {
    let mut row = 0;
    let is_id = pieces(name)
        .filter(|(is_word, _)| *is_word)
        .any(|(_, word)| {
            let hex = word.bytes().all(|b| b.is_ascii_hexdigit());
            row = if hex { row + 1 } else { 0 };
            row > 2
        });
    is_id || numbers(name) > 1
}

pub fn is_number(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_digit())
}

pub fn is_everybodys(word: &str) -> bool {
    EVERYBODYS.contains(&word.to_ascii_lowercase().as_str()) || is_link(word)
}

/// `eth0`
pub fn is_link(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    lower.len() - stem.len() < 4 && LINKS.contains(&stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_drawn_that_is_somebodys() {
        let hosts = || (0..1_000).map(|n| format!("h{n:03}"));
        let mut words = Words::new([], Addresses::default()).avoiding(hosts());
        for host in hosts() {
            let new = words.word(&host);
            assert!(!hosts().any(|it| it == new), "{new}");
        }
    }

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
    fn no_part_of_a_name_tells_an_address() {
        let mut words = Words::new([], Addresses::default());
        for (name, telling) in [
            ("node10-20-30-40", "20-30"),
            ("10_20_30_40", "20_30"),
            ("2001-db8--7", "db8"),
            ("02-f1-c5-f6-2a-b1", "02-f1"),
            ("3f2504e0-4f89-1103-9a0c-a305e82c3301", "1103"),
            ("2-0-0-1-0-d-b-8", "0-0-1-0-d-b-8"),
            ("acme\u{1f984}", "\u{1f984}"),
            ("veth334aecb1", "4aecb1"),
        ] {
            // By chance a key may draw it again.
            let new = || Words::new([], Addresses::default()).name(name);
            let left = (0..3).all(|_| new().contains(telling));
            assert!(!left, "{name} became {}", words.name(name));
        }
        assert_ne!(words.of_label("4711"), "4711");
        assert_eq!(words.of_label("tier"), "tier");
        for (kernel, stays) in [
            ("6.1.0-13-amd64", true),
            ("5.14.0-427.13.1.el9_4.x86_64", true),
            ("5.15.167.4-microsoft-standard-WSL2", true),
            ("3.5.9", true),
            ("6.1.0-payroll", false),
            ("6.1.0-10.20.30.40", false),
        ] {
            assert_eq!(words.release(kernel) == kernel, stays, "{kernel}");
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

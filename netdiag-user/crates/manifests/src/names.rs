//! What Kubernetes and registries take for names, so that a wrong one is refused here and not by the
//! API server after half of the objects were made.
use std::{collections::BTreeMap, fmt, str::FromStr};

/// A label of DNS (RFC 1123), which names of namespaces and of objects are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// Longest label of DNS, and longest value of a label.
const LABEL: usize = 63;
/// Longest name of DNS.
const DNS: usize = 253;

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match is_dns_label(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "'{}' is no name for Kubernetes: at most 63 lower-case letters, digits and hyphens, \
                 with a letter or a digit first and last",
                shown(text)
            )),
        }
    }
}

fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = !text.starts_with('-') && !text.ends_with('-');
    (1..=LABEL).contains(&text.len()) && ends && text.bytes().all(inner)
}

fn is_dns_name(text: &str) -> bool {
    text.len() <= DNS && text.split('.').all(is_dns_label)
}

/// Letters, digits, `-`, `_` and `.` with a letter or a digit first and last.
fn is_qualified(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let bytes = || text.bytes();
    (1..=LABEL).contains(&text.len())
        && bytes().all(inner)
        && ends(bytes().next())
        && ends(bytes().next_back())
}

/// One label more for every object: `release=monitoring`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub key: String,
    pub value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let clean = shown(text);
        let Some((key, value)) = text.split_once('=') else {
            return Err(format!("'{clean}' is no label: release=monitoring is one"));
        };
        let (prefix, name) = match key.split_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, key),
        };
        if !is_qualified(name) || prefix.is_some_and(|it| !is_dns_name(it)) {
            return Err(format!(
                "'{clean}' has no key that Kubernetes takes for a label"
            ));
        }
        if !value.is_empty() && !is_qualified(value) {
            return Err(format!(
                "'{clean}' has no value that Kubernetes takes for a label: at most 63 letters, \
                 digits, '-', '_' and '.', with a letter or a digit first and last"
            ));
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// All of them, the last one of each key.
pub fn labels(all: &[Label]) -> BTreeMap<String, String> {
    let each = all.iter().map(|it| (it.key.clone(), it.value.clone()));
    each.collect()
}

/// Where an image is: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(String);

impl Image {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match is_image(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "'{}' is no reference of an image: registry.example/netdiag:1.0 is one",
                shown(text)
            )),
        }
    }
}

/// As the registries' reference grammar has it (distribution/reference).
fn is_image(text: &str) -> bool {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let path = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[path..].split_once(':') {
        Some((last, tag)) => (&rest[..path + last.len()], Some(tag)),
        None => (rest, None),
    };
    let host_or_path = |part: &str, first: bool| {
        let is_host = first && part.contains(['.', ':']) || part == "localhost";
        match is_host {
            true => is_host_with_port(part),
            false => is_component(part),
        }
    };
    let several = name.contains('/');
    let mut parts = name.split('/').enumerate();
    name.len() <= 255
        && parts.all(|(n, part)| host_or_path(part, n == 0 && several))
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

fn is_host_with_port(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    is_dns_name(&host.to_ascii_lowercase()) && port.is_none_or(is_port)
}

/// Lower-case letters and digits, between them one `.`, up to two `_` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_separator =
        |it: &str| it.is_empty() || [".", "_", "__"].contains(&it) || it.bytes().all(|b| b == b'-');
    let ends = |b: Option<u8>| b.is_some_and(is_word);
    ends(text.bytes().next())
        && ends(text.bytes().next_back())
        && text
            .split(|c: char| is_word(u8::try_from(c).unwrap_or(b' ')))
            .all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    let long = hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    long && !algorithm.is_empty() && algorithm.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A part of what was typed, with nothing in it that a terminal would obey.
pub(crate) fn shown(text: &str) -> String {
    let printable = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
    printable.take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["netdiag", "a", "9-x", &"a".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "ä",
            "a b",
            &"a".repeat(64),
        ] {
            let why = bad.parse::<Name>().expect_err(bad);
            assert!(why.starts_with('\''), "{why}");
        }
    }

    #[test]
    fn images() {
        let digest = format!("netdiag@sha256:{}", "0a".repeat(32));
        for good in [
            "netdiag",
            "netdiag:0.1.0",
            "registry.example/tools/netdiag:1.0-rc_1",
            "localhost:5000/netdiag",
            "localhost/netdiag",
            "REGISTRY.example:443/a/b",
            "a/b__c/d--e.f:X",
            &digest,
        ] {
            assert!(good.parse::<Image>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "Netdiag",
            "net diag",
            "netdiag:",
            "netdiag:.x",
            "a//b",
            "/a",
            "a/",
            "a___b",
            "a.example:0/x",
            "a.example:99999/x",
            "netdiag@sha256:12",
            "netdiag@",
            "é",
            "a\u{1b}[31m",
            "https://a.example/netdiag",
        ] {
            assert!(bad.parse::<Image>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_of_objects() {
        for good in ["release=monitoring", "example.com/team=net_1", "a="] {
            assert!(good.parse::<Label>().is_ok(), "{good}");
        }
        for bad in [
            "release",
            "=x",
            "a=-b",
            "-a=b",
            "ex_ample/a=b",
            "a/b/c=d",
            "a=ä",
        ] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
        let two: Vec<Label> = ["a=1", "a=2"].map(|it| it.parse().expect("a label")).into();
        assert_eq!(labels(&two)["a"], "2");
    }
}

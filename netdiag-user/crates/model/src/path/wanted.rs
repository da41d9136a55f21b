//! The ends of a path as people type them.
use std::net::{IpAddr, Ipv6Addr};

use crate::selection;

/// An end as typed: a name or an address, with or without `:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub text: String,
    pub who: Who,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// What it can mean, the likelier first: `job/cart` is the pod of a namespace, or a Job.
    Named(Vec<Name>),
    Address(IpAddr),
}

/// `[KIND/][NAMESPACE/]NAME`: a pod or a Service where no kind is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// As kubectl has it in full: `service`.
    pub kind: Option<&'static str>,
    pub namespace: Option<String>,
    pub name: String,
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (who, port) = split(text)?;
        let who = match who.parse() {
            Ok(address) => Who::Address(one_host(address)?),
            Err(_) => match names(who) {
                names if names.is_empty() => return Err(no_end(text, who)),
                names => Who::Named(names),
            },
        };
        let text = text.to_owned();
        Ok(Self { text, who, port })
    }
}

impl Wanted {
    /// Whether a namespace beside it can be meant for it.
    pub fn lacks_namespace(&self) -> bool {
        let lacks = |n: &Name| n.namespace.is_none() && n.kind != Some("node");
        matches!(&self.who, Who::Named(names) if names.iter().any(lacks))
    }

    /// In the namespace that was given beside it, where it names none itself.
    pub fn within(mut self, namespaces: &[String]) -> Self {
        if let ([one], Who::Named(names)) = (namespaces, &mut self.who) {
            for name in names.iter_mut().filter(|n| n.namespace.is_none()) {
                name.namespace = Some(one.clone()).filter(|one| is_part(one));
            }
        }
        self
    }
}

fn no_end(text: &str, who: &str) -> String {
    let address = |text: &str| text.parse::<IpAddr>().is_ok();
    if who
        .split_once('/')
        .is_some_and(|(before, _)| address(before))
    {
        return format!("'{who}' is a range: name the address of one pod or host");
    }
    let hint = bracketed(text).map_or_else(String::new, |b| format!(": write {b}"));
    format!(
        "'{text}' is neither an address nor a name like shop/cart-5d4f or svc/cart, with :PORT or \
         without{hint}"
    )
}

/// No packet travels from or to these over a node's links as one flow.
fn one_host(address: IpAddr) -> Result<IpAddr, String> {
    let what = match address {
        a if a.is_unspecified() => "stands for any address",
        a if a.is_loopback() => "is reached without any link",
        a if a.is_multicast() => "is a group's",
        IpAddr::V4(v4) if v4.is_broadcast() => "is everybody's",
        _ => return Ok(address),
    };
    Err(format!(
        "{address} {what}: name the address of one pod or host"
    ))
}

/// `fd00::1:80` as it should be written, where its last part may be a port.
pub fn bracketed(text: &str) -> Option<String> {
    let (address, port) = text.rsplit_once(':')?;
    let (_, _): (Ipv6Addr, u16) = (address.parse().ok()?, port.parse().ok()?);
    Some(format!("[{address}]:{port}"))
}

/// `[ADDRESS]:PORT`, `ADDRESS`, `ADDRESS:PORT`, `NAME:PORT`.
fn split(text: &str) -> Result<(&str, Option<u16>), String> {
    let number = |port: &str| match port.parse() {
        Ok(0) | Err(_) => Err(format!(
            "'{port}' is no port in '{text}': a number from 1 to 65535 is one"
        )),
        Ok(port) => Ok(Some(port)),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest
            .split_once(']')
            .ok_or_else(|| format!("'{text}' lacks its closing bracket"))?;
        return Ok((address, port.strip_prefix(':').map_or(Ok(None), number)?));
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address without a port.
        Some((who, port)) if !port.contains(':') => Ok((who, number(port)?)),
        _ => Ok((text, None)),
    }
}

/// Everything that a name can mean; nothing where it is none.
fn names(text: &str) -> Vec<Name> {
    let parts: Vec<&str> = text.split('/').collect();
    let of = |kind, namespace: Option<&str>, name: &str| Name {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    if !parts.iter().all(|p| is_part(p)) {
        return Vec::new();
    }
    match parts[..] {
        // What has no letter is an address that lacks something.
        [name] if name.contains(|c: char| c.is_ascii_alphabetic()) => vec![of(None, None, name)],
        [before, name] => {
            let kind = selection::kind(before);
            let as_kind = kind.map(|kind| of(Some(kind), None, name));
            let in_namespace = of(None, Some(before), name);
            std::iter::once(in_namespace).chain(as_kind).collect()
        }
        [kind, namespace, name] => match selection::kind(kind) {
            Some(kind) => vec![of(Some(kind), Some(namespace), name)],
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn is_part(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    // A prefix's address is no namespace.
    !text.is_empty() && text.chars().all(allowed) && text.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Who, Option<u16>) {
        let wanted: Wanted = text.parse().expect(text);
        (wanted.who, wanted.port)
    }

    fn name(kind: Option<&'static str>, namespace: Option<&str>, name: &str) -> Name {
        Name {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.into(),
        }
    }

    #[test]
    fn ends_as_people_type_them() {
        let address = |text: &str| Who::Address(text.parse().expect("an address"));
        assert_eq!(parsed("10.0.0.1:80"), (address("10.0.0.1"), Some(80)));
        assert_eq!(parsed("fd00::1"), (address("fd00::1"), None));
        assert_eq!(parsed("[fd00::1]:80"), (address("fd00::1"), Some(80)));
        assert_eq!(parsed("[fd00::1]"), (address("fd00::1"), None));
        let pod = || Who::Named(vec![name(None, Some("shop"), "cart-5d4f")]);
        assert_eq!(parsed("shop/cart-5d4f:8080"), (pod(), Some(8080)));
        assert_eq!(parsed("shop/cart-5d4f"), (pod(), None));
        assert_eq!(
            parsed("cart"),
            (Who::Named(vec![name(None, None, "cart")]), None)
        );
    }

    #[test]
    fn kinds_as_kubectl_has_them() {
        let both = |kind, before| {
            let as_namespace = name(None, Some(before), "cart");
            Who::Named(vec![as_namespace, name(Some(kind), None, "cart")])
        };
        assert_eq!(parsed("svc/cart:80"), (both("service", "svc"), Some(80)));
        assert_eq!(parsed("pod/cart").0, both("pod", "pod"));
        assert_eq!(parsed("deploy/cart").0, both("deployment", "deploy"));
        let full = name(Some("service"), Some("shop"), "cart");
        assert_eq!(parsed("svc/shop/cart").0, Who::Named(vec![full]));
    }

    #[test]
    fn a_namespace_beside_it_counts_where_it_names_none() {
        let wanted = |text: &str, namespaces: &[&str]| {
            let wanted: Wanted = text.parse().expect(text);
            let all: Vec<String> = namespaces.iter().map(|n| (*n).to_owned()).collect();
            match wanted.within(&all).who {
                Who::Named(names) => names.last().and_then(|n| n.namespace.clone()),
                Who::Address(_) => None,
            }
        };
        assert_eq!(wanted("cart", &["shop"]).as_deref(), Some("shop"));
        assert_eq!(wanted("svc/cart", &["shop"]).as_deref(), Some("shop"));
        assert_eq!(wanted("test/cart", &["shop"]).as_deref(), Some("test"));
        assert_eq!(wanted("cart", &["shop*"]), None, "a glob is no namespace");
        assert_eq!(wanted("cart", &["shop", "test"]), None);
    }

    #[test]
    fn a_port_without_brackets_is_pointed_out() {
        let why = "2001:db8:0:0:0:0:0:7:443".parse::<Wanted>().unwrap_err();
        assert!(why.ends_with("write [2001:db8:0:0:0:0:0:7]:443"), "{why}");
    }

    #[test]
    fn a_range_is_pointed_out() {
        for range in ["10.244.0.0/16", "fd00::/8"] {
            let why = range.parse::<Wanted>().unwrap_err();
            assert!(why.contains("is a range"), "{why}");
        }
    }

    #[test]
    fn what_is_no_end_is_refused() {
        for bad in [
            "",
            "10.244.1",
            "10.0.0.1:0",
            "10.0.0.1:http",
            "[fd00::1:80",
            "shop/",
            "/cart",
            "a/b/c",
            "svc/a/b/c",
            "a/\x1b[2J",
            "0.0.0.0",
            "127.0.0.1:80",
            "::",
            "[::1]:80",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
    }
}

//! A scene without names and addresses: each text is replaced by what its place says that it is.
use std::{collections::HashSet, net::IpAddr};

use super::{
    address::Addresses,
    places::{Kind, kind},
    shape::{Place, Texts},
    words::Words,
};
use crate::model::address::Prefix;

pub struct Scrub<'a> {
    pub addresses: &'a Addresses,
    pub words: &'a mut Words,
}

impl Texts for Scrub<'_> {
    fn text(&mut self, text: &str, place: Place) -> String {
        if let Ok(address) = text.parse() {
            return self.addresses.address(address).to_string();
        }
        match kind(place) {
            Kind::Name => self.words.name(text),
            Kind::Label => self.words.of_label(text),
            Kind::Kernel if is_plain(text) => text.to_owned(),
            Kind::Time if text.parse::<jiff::Timestamp>().is_ok() => text.to_owned(),
            Kind::Setting if is_setting(text) => text.to_owned(),
            Kind::Release => self.words.release(text),
            Kind::Text | Kind::Kernel | Kind::Time | Kind::Setting => self.words.text(text),
        }
    }

    fn prefix(&mut self, prefix: Prefix) -> Prefix {
        self.addresses.prefix(prefix)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        match bytes.try_into() {
            Ok(mac) => self.addresses.mac(mac).to_vec(),
            // A tunnel's is an address; nothing is found by it.
            Err(_) => vec![0; bytes.len()],
        }
    }
}

/// What is to be mapped.
#[derive(Default)]
pub struct Found {
    pub addresses: HashSet<IpAddr>,
    pub names: HashSet<String>,
    /// Of names that were looked up.
    pub labels: HashSet<String>,
}

impl Texts for Found {
    fn text(&mut self, text: &str, place: Place) -> String {
        self.addresses.extend(text.parse::<IpAddr>());
        if matches!(kind(place), Kind::Name | Kind::Label) {
            self.names.insert(text.to_owned());
        }
        // Keys of one map stay apart.
        text.to_owned()
    }

    fn prefix(&mut self, prefix: Prefix) -> Prefix {
        self.addresses.insert(prefix.address);
        prefix
    }

    fn bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }
}

/// Nothing that people write can hide in it.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
    let numbers = text
        .split(['.', '_'])
        .filter(|it| it.parse::<u64>().is_ok());
    text.len() < 64 && text.chars().all(plain) && numbers.count() < 2
}

/// Numbers, and what is between them.
fn is_setting(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || b" \t-".contains(&b))
        && text.len() < 64
}

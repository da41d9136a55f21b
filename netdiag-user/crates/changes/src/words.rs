//! The words of a command, one after the other.
use std::{net::IpAddr, str::FromStr};

use netdiag_model::{address::Prefix, world::device::Mac};

use crate::{Done, Refused};

/// Those that are left of it.
#[derive(Clone)]
pub struct Words<'a> {
    left: &'a [&'a str],
}

impl<'a> Words<'a> {
    pub fn of(left: &'a [&'a str]) -> Self {
        Self { left }
    }

    pub fn next(&mut self) -> Result<&'a str, Refused> {
        self.more().ok_or(Refused::Ends)
    }

    /// The next one, if there is any.
    pub fn more(&mut self) -> Option<&'a str> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        Some(first)
    }

    pub fn peek(&self) -> Option<&'a str> {
        self.left.first().copied()
    }

    /// Whether it is next; then it is taken.
    pub fn take(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        if is {
            self.left = &self.left[1..];
        }
        is
    }

    pub fn rest(&mut self) -> &'a [&'a str] {
        std::mem::take(&mut self.left)
    }

    pub fn end(mut self) -> Done {
        match self.more() {
            None => Ok(()),
            Some(word) => Err(unknown(word)),
        }
    }

    pub fn value<T: FromStr>(&mut self) -> Result<T, Refused> {
        let word = self.next()?;
        word.parse().map_err(|_| unknown(word))
    }

    pub fn address(&mut self) -> Result<IpAddr, Refused> {
        self.value()
    }

    pub fn mac(&mut self) -> Result<Mac, Refused> {
        self.value()
    }

    /// A prefix, of which all bits behind its length are 0.
    pub fn prefix(&mut self) -> Result<Prefix, Refused> {
        let word = self.next()?;
        prefix(word)
    }

    /// In decimal, or in hexadecimal behind `0x`.
    pub fn number(&mut self) -> Result<u32, Refused> {
        let word = self.next()?;
        number(word)
    }

    /// `on` or `off`.
    pub fn switch(&mut self) -> Result<bool, Refused> {
        match self.next()? {
            "on" => Ok(true),
            "off" => Ok(false),
            other => Err(unknown(other)),
        }
    }
}

pub fn unknown(word: &str) -> Refused {
    Refused::Word(word.to_owned())
}

pub fn number(word: &str) -> Result<u32, Refused> {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    };
    parsed.ok_or_else(|| unknown(word))
}

pub fn prefix(word: &str) -> Result<Prefix, Refused> {
    let parsed = Prefix::from_str(word).map_err(|_| unknown(word))?;
    match is_network(parsed) {
        true => Ok(parsed),
        false => Err(unknown(word)),
    }
}

/// Whether all bits behind its length are 0.
fn is_network(prefix: Prefix) -> bool {
    let (bits, host) = match prefix.address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32 - u32::from(prefix.length)),
        IpAddr::V6(v6) => (v6.to_bits(), 128 - u32::from(prefix.length)),
    };
    let behind = 1_u128.checked_shl(host).map_or(u128::MAX, |bit| bit - 1);
    bits & behind == 0
}

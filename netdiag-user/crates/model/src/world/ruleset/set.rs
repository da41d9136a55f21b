//! Sets and maps.
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use smallvec::SmallVec;

use super::expression::{Expression, Verdict};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    pub name: String,
    /// It has ranges.
    pub intervals: bool,
    /// Bytes of each part of a concatenation, without what fills them up to words.
    pub parts: Vec<u8>,
    /// What is in it changes by the packets themselves, or with time.
    pub dynamic: bool,
    /// Of a map, which leads to something.
    pub map: bool,
    pub elements: Vec<Element>,
    /// Beyond what is kept of it, or a kind that is not known: what is not in it may be.
    pub partly: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// None of what stands for all others (`NFT_SET_ELEM_CATCHALL`).
    pub key: Option<Bytes>,
    /// Where a range of a concatenation ends, itself in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Bytes>,
    /// From here on is a gap (`NFT_SET_ELEM_INTERVAL_END`).
    #[serde(default)]
    pub gap: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// What is run where it is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expressions: Vec<Expression>,
    /// As that of a rule.
    #[serde(skip)]
    pub comment: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Data {
    Value(Bytes),
    Verdict(Verdict),
}

/// As registers have them; in a recording by their hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(SmallVec<[u8; SHORT]>);

/// As long as an address or a device's name; so many need no memory of their own.
const SHORT: usize = 16;

impl Bytes {
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        to.serialize_str(&digits)
    }
}

impl<'d> Deserialize<'d> for Bytes {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(from)?;
        let nibbles: Option<Vec<u8>> = digits
            .chars()
            .map(|c| Some(c.to_digit(16)? as u8))
            .collect();
        let nibbles = nibbles.filter(|all| all.len().is_multiple_of(2));
        let nibbles = nibbles.ok_or_else(|| D::Error::custom("no hexadecimal digits"))?;
        let (pairs, _) = nibbles.as_chunks::<2>();
        Ok(Self(
            pairs.iter().map(|[high, low]| high << 4 | low).collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_as_digits() {
        let bytes = Bytes::from(vec![0, 0x0a, 0xff]);
        let text = serde_json::to_string(&bytes).expect("text");
        assert_eq!(text, "\"000aff\"");
        assert_eq!(serde_json::from_str::<Bytes>(&text).expect("bytes"), bytes);
        for wrong in ["\"0\"", "\"0g\"", "1", "\"é0\""] {
            assert!(serde_json::from_str::<Bytes>(wrong).is_err(), "{wrong}");
        }
    }
}

//! The lines of a recording as they are written; [`super::lines`] reads them.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::table::Changes;
use crate::pipeline::scene::LinkChange;

/// One line; it has one of these.
#[derive(Debug, Default, Serialize)]
pub struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    /// A [`super::patch::Patch`] of each part that changed.
    pub scene: BTreeMap<String, Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick: Option<Box<Tick>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub end: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    pub netdiag: String,
    /// Names of the keys' and the values' columns of each table, and of the samples'.
    pub columns: BTreeMap<String, (Vec<String>, Vec<String>)>,
}

/// One reading.
#[derive(Debug, Default, Serialize)]
pub struct Tick {
    /// `CLOCK_MONOTONIC` ns.
    pub now: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, Changes>,
    /// By their numbers in [`netdiag_common::config::counter`].
    pub counters: Vec<u64>,
    pub evicted_flows: u64,
    pub evicted_others: u64,
    pub recursion_misses: u64,
    /// Names of addresses in the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub symbols: Vec<(u64, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkChange>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
}

/// A record of the ring, its packet in hexadecimal.
#[derive(Debug, Serialize)]
pub struct Sample {
    pub row: Vec<u64>,
    pub packet: String,
}

/// The kernel side's clock and the time of day, read at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockText {
    pub monotonic: u64,
    /// RFC 3339.
    pub wall: String,
}

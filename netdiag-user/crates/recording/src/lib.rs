//! Recordings (`.ndr`): everything that a trace was judged by, for looking at it again on any
//! machine, without root or eBPF.
//!
//! # What is in it
//! The line `netdiag.recording/1`, then blocks. A block is the length of its packed bytes and
//! their CRC-32 (both little-endian, four bytes), then those bytes: raw deflate of lines, each a
//! JSON object of its own. The lines are:
//! - `header`: netdiag's version, and the columns' names of every table;
//! - `scene`: what changed of the node, of the node when the run began (told as its difference
//!   from the first one), of pods, of what was gathered, of the run itself, of the kernel's drop
//!   reasons and of the clock;
//! - `tick`: one reading: rows that came, changed and went in each table, names of the kernel's
//!   functions that are new in it, samples of packets (up to 128 bytes each), links' changes;
//! - `end`: the recording was closed, not cut.
//!
//! A block is written at once, at least once a second, and once in two and a half where tens of
//! thousands of flows are watched: what a `kill -9` costs is the last of them. A reader uses all
//! blocks before the first that is cut or damaged, and says where it stopped.
//!
//! # What is promised
//! Every later netdiag reads it and comes to what it knows then: columns and fields are found by
//! their names, those that are new are taken as zero, those that it no longer knows are passed
//! over. Recordings of each released form are kept as fixtures and read by the tests. A form
//! that this cannot hold gets the next number in the first line, and an older netdiag refuses
//! that number in one sentence. An older netdiag reads a later recording of the same number as
//! far as it understands it, and says where it stopped.
//!
//! # What hostile files can do
//! It costs no more than the limits of `limits` allow: each is asked before anything is unpacked,
//! allocated or put in. Lists are read element by element, the scene's parts stay text until
//! they are what they stand for, and time grows from reading to reading. What contradicts itself
//! ends the reading, and what exceeds a limit refuses the file, in a sentence.
mod anonymise;
mod block;
mod cells;
mod entry;
#[cfg(test)]
mod full;
mod keep;
mod limits;
mod lines;
mod merge;
#[cfg(test)]
mod mutations;
mod parts;
mod patch;
mod pieces;
mod reader;
mod scan;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use self::{
    anonymise::Anonymiser,
    block::bytes_read,
    reader::{Replay, opened},
    writer::Recorder,
};

#[cfg(test)]
use netdiag_diagnosis as diagnosis;
use netdiag_model as model;
#[cfg(test)]
use netdiag_output as output;
use netdiag_pipeline as pipeline;
#[cfg(test)]
use netdiag_pipeline::testing;
use netdiag_sys as sys;

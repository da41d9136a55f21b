//! The full-screen view: tables of causes, pods, hops and reasons, the way down from a cause to a
//! flow's hops, and the way back in time.
//!
//! [`Lens`] makes a [`Reading`] of what was judged: rows that are small and named. [`History`]
//! keeps a bounded number of them, [`App`] is what is looked at of it, [`keys::action`] says what a
//! key does to that, and [`draw`] puts it into ratatui's buffer. Time comes with the readings:
//! nothing here asks a clock, a terminal or a file.
// What tests share names this crate as others know it.
#[cfg(test)]
extern crate self as netdiag_top;

mod app;
mod causes;
mod counts;
mod history;
mod items;
pub mod keys;
mod lens;
mod losses;
mod metric;
mod reading;
mod tab;
#[cfg(test)]
mod tests;
mod view;

use netdiag_diagnosis as diagnosis;
use netdiag_model::{self as model, shell};
use netdiag_pipeline as pipeline;

pub use self::{
    app::{App, Source},
    causes::Ways,
    history::{Budget, History},
    keys::Action,
    lens::Lens,
    reading::Reading,
    view::{Ink, draw},
};

//! One page of an incident: for its ticket as HTML that needs nothing beside itself, for a chat as
//! Markdown.
//!
//! Whoever reads it may have been sent it by a stranger, and names in it are strangers' too: all text
//! passes [`html`]'s or [`markdown`]'s escaping, and the HTML forbids itself to load, send or run
//! anything but its own few lines (Content Security Policy Level 3).
mod html;
mod markdown;
mod page;
mod timeline;
mod tree;

use netdiag_diagnosis::FlowWay;
use netdiag_model as model;
use netdiag_output as output;

pub use self::{
    html::html,
    markdown::markdown,
    page::{Page, Source},
    timeline::{Kind, Mark, Timeline},
};

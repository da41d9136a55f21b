//! What is asked for: `--filter` in pcap's words, and globs.
//!
//! An expression becomes tests joined by jumps ([`netdiag_common::filter`]), which the programs in
//! the kernel run on each packet's innermost flow before they count it. Whoever names one
//! direction only (`src`, `dst`) is given the packets of that direction; the answers to them are
//! counted too, because no cause can be told from one side of a conversation.
mod compile;
mod expression;
mod parse;
mod values;
mod words;

use netdiag_common::{filter::Rules, flow::FlowKey};

use self::expression::Expression;

/// A `--filter` as typed and as it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    exact: Box<Rules>,
    /// The same with the answers; nothing where they are in it anyway.
    both_ways: Option<Box<Rules>>,
}

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = parse::expression(text).and_then(|e| Self::new(text, &e));
        parsed.map_err(|why| format!("filter: {why}"))
    }
}

impl Filter {
    fn new(text: &str, expression: &Expression) -> Result<Self, String> {
        let both_ways = expression.with_answers();
        Ok(Self {
            text: text.to_owned(),
            exact: Box::new(compile::rules(expression)?),
            both_ways: match both_ways {
                Some(both) => Some(Box::new(compile::rules(&both)?)),
                None => None,
            },
        })
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the kernel counts by.
    pub fn rules(&self) -> &Rules {
        self.both_ways.as_ref().unwrap_or(&self.exact)
    }

    /// Whether it is counted: it matches, or answers what does.
    pub fn counts(&self, flow: &FlowKey) -> bool {
        self.rules().take(flow)
    }

    /// Whether it is what was asked for.
    pub fn matches(&self, flow: &FlowKey) -> bool {
        self.exact.take(flow)
    }

    /// Whether some of what is counted is not asked for.
    pub fn one_way(&self) -> bool {
        self.both_ways.is_some()
    }
}

/// Whether `name` matches a glob of `*` and `?`.
pub fn glob(pattern: &str, name: &str) -> bool {
    fn step(p: &[u8], n: &[u8]) -> bool {
        match (p.first(), n.first()) {
            (None, None) => true,
            (Some(b'*'), _) => step(&p[1..], n) || (!n.is_empty() && step(p, &n[1..])),
            (Some(b'?'), Some(_)) => step(&p[1..], &n[1..]),
            (Some(a), Some(b)) if a == b => step(&p[1..], &n[1..]),
            _ => false,
        }
    }
    step(pattern.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests;

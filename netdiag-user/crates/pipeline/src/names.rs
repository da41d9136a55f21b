//! Questions for names, joined over the links that they passed.
use std::{collections::HashMap, net::IpAddr};

use super::facts::Question;

/// An answer that is not there after this long has a client ask again soon; healthy recursion is
/// quicker by far.
pub const ANSWER_WAIT: u64 = 2_000_000_000;

/// Each question where it was seen first: nearest to the client. Address translation makes a
/// second question of it, to the server's own address.
pub fn first_hops(questions: &[Question]) -> Vec<&Question> {
    type Key<'a> = (IpAddr, IpAddr, &'a str, u16);
    let mut first: HashMap<Key<'_>, &Question> = HashMap::new();
    for question in questions {
        let key = (
            question.client,
            question.server,
            question.name.as_str(),
            question.key.kind,
        );
        let seen = |q: &Question| match q.dns.first_query {
            // Its answers alone were seen.
            0 => u64::MAX,
            time => time,
        };
        let best = first.entry(key).or_insert(question);
        if seen(question) < seen(best) {
            *best = question;
        }
    }
    let mut all: Vec<_> = first.into_values().collect();
    all.sort_by(|a, b| a.key_order().cmp(&b.key_order()));
    all
}

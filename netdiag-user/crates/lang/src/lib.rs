//! What people read, in their language.
//!
//! As gettext does it: the English sentence stands in the code and is the key, the others are in
//! catalogues (`zh/*.po`, one per crate) that `cargo xtask gen` keeps complete. What programs
//! read (JSON, metrics, events, recordings) is English always: a process that writes it never
//! calls [`choose`].
mod locale;
mod retold;

// The macro names this crate as others know it.
#[cfg(test)]
extern crate self as netdiag_lang;

use std::sync::OnceLock;

pub use locale::from_environment;
pub use netdiag_lang_macros::{english, mark, t};
pub use retold::retold;

/// Those there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    #[default]
    English,
    Chinese,
}

static CHOSEN: OnceLock<Lang> = OnceLock::new();

/// Sorted by the English sentence.
static CHINESE: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/zh.rs"));

/// Says which language this process speaks, once and before its first sentence.
pub fn choose(lang: Lang) {
    // A second choice would mix languages within a page: the first stands.
    let _ = CHOSEN.set(lang);
}

pub fn chosen() -> Lang {
    CHOSEN.get().copied().unwrap_or_default()
}

/// The template in the language that was chosen; nothing where that is English or has none.
pub fn translated(english: &str) -> Option<&'static str> {
    match chosen() {
        Lang::English => None,
        Lang::Chinese => chinese(english),
    }
}

fn chinese(english: &str) -> Option<&'static str> {
    let at = CHINESE.binary_search_by(|(key, _)| (*key).cmp(english));
    at.ok().map(|at| CHINESE[at].1)
}

/// A text without placeholders: one of a constant, by `mark!`, or by `t!`.
pub fn say(english: &'static str) -> &'static str {
    translated(english).unwrap_or(english)
}

/// The template with these values in its places.
pub fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(template.len() + 16 * values.len());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let (sign, after) = rest[at..].split_at(1);
        // Doubled braces stand for themselves.
        if let Some(after) = after.strip_prefix(sign) {
            out.push_str(sign);
            rest = after;
            continue;
        }
        let Some((key, after)) = after.split_once('}') else {
            break;
        };
        if let Some((_, value)) = values.iter().find(|(name, _)| *name == key) {
            out.push_str(value);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in_the_order_of_its_language() {
        let values = [("n", "3".to_owned()), ("0", "eth0".to_owned())];
        assert_eq!(
            fill("{0} 丢弃 {n} 个包 {{x}}", &values),
            "eth0 丢弃 3 个包 {x}"
        );
    }

    #[test]
    fn a_value_is_not_read_as_a_template() {
        let values = [("name", "{n}".to_owned()), ("n", "3".to_owned())];
        assert_eq!(fill("{name} {n}", &values), "{n} 3");
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(CHINESE.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn english_is_what_stands_in_the_code() {
        let (n, link) = (3, "eth0");
        assert_eq!(
            t!("{n} packets on {link}, {:.1} s", 1.25),
            "3 packets on eth0, 1.2 s"
        );
        assert_eq!(t!("healthy"), "healthy");
        assert_eq!(t!("{a} {{b}}", a = 1), "1 {b}");
    }

    #[test]
    fn arguments_may_have_any_name() {
        let said = ["eth0"];
        assert_eq!(t!("healthy: {}", said[0]), "healthy: eth0");
    }
}

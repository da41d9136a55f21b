//! Documents that are small enough to be read by a model, and harmless to whoever shows them: rows and
//! texts are cut, and what is left out is told by number.
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{model::text, output};

/// Bytes of one document.
pub const MOST_BYTES: usize = 64 << 10;

/// Rows of a list and characters of a text: the first that makes a document small enough is used.
const SIZES: [(usize, usize); 7] = [
    (100, 4096),
    (50, 2000),
    (20, 1000),
    (10, 500),
    (5, 300),
    (2, 200),
    (1, 100),
];

/// What there was no room for.
#[derive(Default, Serialize)]
pub struct LeftOut {
    /// Rows, by the list that they were in: `/findings/*/evidence`.
    pub rows: BTreeMap<String, usize>,
    /// Characters of texts, each of which ends with `…`.
    pub characters: usize,
}

/// The document within its bounds; or how large it is even so.
pub fn bounded(document: &Value) -> Result<(Value, LeftOut), usize> {
    let mut bytes = 0;
    for (rows, characters) in SIZES {
        let mut cut = Cut {
            rows,
            characters,
            left_out: LeftOut::default(),
        };
        let small = cut.value(document, "", "");
        bytes = output::json(&small).map_or(usize::MAX, |text| text.len());
        if bytes <= MOST_BYTES {
            return Ok((small, cut.left_out));
        }
    }
    Err(bytes)
}

/// Commands are whole or not there: half of one is another.
fn is_command(member: &str) -> bool {
    matches!(member, "commands" | "look" | "confirm") || member.ends_with("argv")
}

struct Cut {
    rows: usize,
    characters: usize,
    left_out: LeftOut,
}

impl Cut {
    fn value(&mut self, value: &Value, at: &str, member: &str) -> Value {
        match value {
            Value::String(text) if is_command(member) => Value::String(text::shown(text)),
            Value::String(text) => Value::String(self.text(text)),
            // The words of one command.
            Value::Array(all) if member == "confirm_argv" || at.ends_with("argv/*") => {
                all.iter().map(|it| self.value(it, at, member)).collect()
            }
            Value::Array(all) => self.list(all, at, member),
            Value::Object(members) => {
                let below = |(name, it): (&String, &Value)| {
                    (name.clone(), self.value(it, &format!("{at}/{name}"), name))
                };
                members.iter().map(below).collect()
            }
            other => other.clone(),
        }
    }

    fn list(&mut self, all: &[Value], at: &str, member: &str) -> Value {
        let more = all.len().saturating_sub(self.rows);
        if more > 0 {
            *self.left_out.rows.entry(at.to_owned()).or_default() += more;
        }
        let below = format!("{at}/*");
        let kept = all.iter().take(self.rows);
        kept.map(|it| self.value(it, &below, member)).collect()
    }

    /// A terminal obeys nothing in it, and nothing in it is unseen.
    fn text(&mut self, text: &str) -> String {
        let more = text.chars().count().saturating_sub(self.characters);
        if more == 0 {
            return text::shown(text);
        }
        self.left_out.characters += more;
        let kept: String = text.chars().take(self.characters).collect();
        text::shown(&kept) + "…"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_is_told() {
        let rows: Vec<Value> = (0..1000)
            .map(|n| json!({"n": n, "text": "x".repeat(99)}))
            .collect();
        let (small, left) = bounded(&json!({ "drops": rows })).expect("it fits");
        let kept = small["drops"].as_array().expect("rows").len();
        assert!(kept > 10, "{kept}");
        assert_eq!(
            left.rows,
            BTreeMap::from([("/drops".to_owned(), 1000 - kept)])
        );
        let (small, left) = bounded(&json!({ "text": "é".repeat(5000) })).expect("it fits");
        let text = small["text"].as_str().expect("text");
        assert_eq!(text.chars().count(), 4097);
        assert_eq!(left.characters, 5000 - 4096);
        let nothing = json!({"a": [1, 2], "b": null});
        let (same, left) = bounded(&nothing).expect("it fits");
        assert_eq!((same, left.rows.len(), left.characters), (nothing, 0, 0));
    }

    #[test]
    fn commands_are_whole_or_not_there() {
        let command = "ip -d link show ".repeat(20);
        let argv: Vec<&str> = command.split_whitespace().collect();
        let rows =
            vec![json!({"text": "y".repeat(3000), "confirm": command, "confirm_argv": argv}); 60];
        let fix = json!({"commands": vec![&command; 30], "argv": vec![&argv; 30]});
        let (small, left) = bounded(&json!({"evidence": rows, "fix": fix})).expect("it fits");
        for row in small["evidence"].as_array().expect("rows") {
            assert_eq!(row["confirm"], command);
            assert_eq!(row["confirm_argv"], json!(argv));
        }
        let [commands, words] = ["commands", "argv"].map(|it| small["fix"][it].as_array());
        let (commands, words) = (commands.expect("a list"), words.expect("a list"));
        assert_eq!(commands.len(), words.len(), "side by side");
        assert!(
            words.iter().all(|it| *it == json!(argv)),
            "{left_out:?}",
            left_out = left.rows
        );
    }

    #[test]
    fn nothing_in_it_is_obeyed_or_unseen() {
        let (small, _) = bounded(&json!(["a\u{1b}[2J\u{202e}b\u{e0041}"])).expect("it fits");
        assert_eq!(small[0], "a\\u{1b}[2J\\u{202e}b\\u{e0041}");
    }

    #[test]
    fn what_cannot_be_small_is_refused() {
        let members = (0..2000).map(|n| (format!("member-{n}"), json!("z".repeat(200))));
        assert!(bounded(&Value::Object(members.collect())).is_err());
    }
}

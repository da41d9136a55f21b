//! Cuts a JSON text into the elements and members that stand in it. They stay text, and nothing is
//! kept of those that went by: a list of millions costs what one of its elements does.
use std::borrow::Cow;

use super::{limits::Fault, scan::string};

/// A list's elements or an object's members, one after the other.
pub struct Pieces<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Pieces<'a> {
    pub fn of_list(text: &'a str) -> Result<Self, Fault> {
        Self::within(text, '[', ']')
    }

    pub fn of_object(text: &'a str) -> Result<Self, Fault> {
        Self::within(text, '{', '}')
    }

    fn within(text: &'a str, open: char, close: char) -> Result<Self, Fault> {
        let inner = text.trim().strip_prefix(open);
        let inner = inner.and_then(|rest| rest.strip_suffix(close));
        let text = inner.ok_or(Fault::Misfit)?;
        Ok(Self { text, at: 0 })
    }

    /// The next element.
    pub fn element(&mut self) -> Result<Option<&'a str>, Fault> {
        self.skip(b" \t\r\n,");
        if self.at == self.text.len() {
            return Ok(None);
        }
        self.value().map(Some)
    }

    /// The next member: its name as it stands there, with its quotes, and its value.
    pub fn member(&mut self) -> Result<Option<(&'a str, &'a str)>, Fault> {
        let Some(name) = self.element()? else {
            return Ok(None);
        };
        self.skip(b" \t\r\n:");
        Ok(Some((name, self.value()?)))
    }

    /// All that there are.
    pub fn all<const N: usize>(mut self) -> Result<[&'a str; N], Fault> {
        let mut all = [""; N];
        for place in &mut all {
            *place = self.element()?.ok_or(Fault::Misfit)?;
        }
        match self.element()? {
            None => Ok(all),
            Some(_) => Err(Fault::Misfit),
        }
    }

    fn skip(&mut self, some: &[u8]) {
        let rest = self.text.as_bytes()[self.at..].iter();
        self.at += rest.take_while(|byte| some.contains(byte)).count();
    }

    fn value(&mut self) -> Result<&'a str, Fault> {
        let from = self.at;
        self.at = end(self.text.as_bytes(), from);
        let value = self.text.get(from..self.at);
        value.filter(|it| !it.is_empty()).ok_or(Fault::Misfit)
    }
}

/// Where the value ends that begins there.
fn end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string(bytes, at + 1).0,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            // Within a list or an object, or the end of a number.
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth > 0 => at += 1,
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => break,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

/// A name without its quotes and escapes.
pub fn name(text: &str) -> Result<Cow<'_, str>, Fault> {
    let plain = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    match plain {
        Some(plain) if !plain.contains('\\') => Ok(plain.into()),
        _ => serde_json::from_str(text)
            .map(Cow::Owned)
            .map_err(|_| Fault::Misfit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Vec<&str> {
        let mut pieces = Pieces::of_list(text).expect("a list");
        let next = || pieces.element().expect("JSON");
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn elements_stay_text() {
        let text = r#" [1, "a,]\"" ,{"b":[2,{}]},[ ],null,-1.5e3] "#;
        let all = [
            "1",
            r#""a,]\"""#,
            r#"{"b":[2,{}]}"#,
            "[ ]",
            "null",
            "-1.5e3",
        ];
        assert_eq!(elements(text), all);
        assert_eq!(elements("[]"), [""; 0]);
    }

    #[test]
    fn members_have_names() {
        let mut pieces = Pieces::of_object(r#"{ "a" : 1,"é\u0062":{"c":2} }"#).expect("an object");
        assert_eq!(pieces.member(), Ok(Some((r#""a""#, "1"))));
        let (second, value) = pieces.member().expect("JSON").expect("there");
        assert_eq!((&*name(second).expect("text"), value), ("éb", r#"{"c":2}"#));
        assert_eq!(pieces.member(), Ok(None));
    }

    #[test]
    fn broken_texts_end() {
        for text in ["", "[", "{}", "[]]", "1"] {
            let _ = Pieces::of_list(text).map(|mut it| while let Ok(Some(_)) = it.element() {});
        }
        for text in ["{\"a\"}", "{\"\\u", "{\"a\":}", "{:1}", "{\"\\ué\":1}"] {
            let _ = Pieces::of_object(text).map(|mut it| while let Ok(Some(_)) = it.member() {});
        }
    }
}

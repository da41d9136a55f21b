//! A line of a log, taken apart as its writer put it together: what syslog or the journal put before
//! it, what the program says, and its fields. Programs quote what others chose (a probe's output, an
//! image's name), so that nothing but a whole message at its place is one: text within a quotation
//! never is.
use serde_json::Value;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub text: String,
    fields: Vec<(String, String)>,
}

impl Message {
    /// Of containerd and CRI-O (logrus, as text or JSON), of kubelet (klog). Others are nothing.
    pub fn of(line: &str) -> Option<Self> {
        let (_, rest) = split(line);
        if rest.starts_with('{') {
            return Self::of_json(rest);
        }
        if rest.starts_with(TIME) {
            let mut fields = fields(rest)?;
            let text = fields.iter().position(|(key, _)| key == "msg")?;
            let (_, text) = fields.remove(text);
            return Some(Self { text, fields });
        }
        let (_, said) = klog(rest)?;
        match said.strip_prefix('"') {
            Some(quoted) => {
                let (text, rest) = quotation(quoted)?;
                let fields = fields(rest)?;
                Some(Self { text, fields })
            }
            None => Some(Self {
                text: said.to_owned(),
                fields: Vec::new(),
            }),
        }
    }

    fn of_json(text: &str) -> Option<Self> {
        let Value::Object(mut members) = serde_json::from_str(text).ok()? else {
            return None;
        };
        let Value::String(text) = members.remove("msg")? else {
            return None;
        };
        let field = |(key, value): (String, Value)| match value {
            Value::String(value) => Some((key, value)),
            _ => None,
        };
        let fields = members.into_iter().filter_map(field).collect();
        Some(Self { text, fields })
    }

    /// The first of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// With what logrus begins a line.
const TIME: &str = "time=\"";

/// What was put before a program's own words (`Nov 20 15:00:00 n1 kubelet[7]: `, or with one word for
/// the time), and these.
pub fn split(line: &str) -> (&str, &str) {
    if line.starts_with(['{', ' ', '\t']) || line.starts_with(TIME) || klog(line).is_some() {
        return ("", line);
    }
    match line.split_once(": ") {
        Some((head, rest)) if matches!(head.split_ascii_whitespace().count(), 3 | 5) => {
            (head, rest)
        }
        _ => ("", line),
    }
}

/// `E1120 15:00:00.123456    7 file.go:1] `, and what follows (k8s.io/klog).
pub fn klog(text: &str) -> Option<(&str, &str)> {
    let (level, date) = text.split_at_checked(1)?;
    let (date, _) = date.split_at_checked(4)?;
    let known = "IWEF".contains(level) && date.bytes().all(|b| b.is_ascii_digit());
    let (head, said) = text.split_once("] ").filter(|_| known)?;
    (head.split_ascii_whitespace().count() == 4 && !head.contains('"')).then_some((head, said))
}

/// `key=value key="quoted value"`: nothing where it is anything else.
fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
        if key.is_empty() || !key.bytes().all(plain) {
            return None;
        }
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quotation(quoted)?,
            None => {
                let end = value.find(' ').unwrap_or(value.len());
                (value[..end].to_owned(), &value[end..])
            }
        };
        all.push((key.to_owned(), value));
        rest = after.trim_start_matches(' ');
    }
    Some(all)
}

/// Go's %q up to its end, and what follows.
fn quotation(text: &str) -> Option<(String, &str)> {
    let mut said = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((said, &text[at + 1..])),
            (_, '\\') => match chars.next()?.1 {
                'n' | 't' | 'r' => said.push(' '),
                escaped => said.push(escaped),
            },
            (_, c) => said.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writer_is_taken_apart() {
        let plain = r#"time="x" level=error msg="a \"b\" c" error="d = \"e\"""#;
        let json = r#"{"error":"d = \"e\"","level":"error","msg":"a \"b\" c","time":"x"}"#;
        let klog = r#"E1120 15:00:00.1 7 x.go:1] "a \"b\" c" error="d = \"e\"" level=x"#;
        for said in [plain, json, klog] {
            for head in [
                "",
                "Nov  5 16:00:00 n1 containerd[7]: ",
                "1795186800.000000 n1 kubelet[7]: ",
                "2026-11-20T16:00:00+01:00 n1 k3s: ",
            ] {
                let line = format!("{head}{said}");
                let message = Message::of(&line).expect("known");
                assert_eq!(message.text, "a \"b\" c", "{line}");
                assert_eq!(message.field("error"), Some("d = \"e\""), "{line}");
                assert_eq!(message.field("d"), None, "{line}");
            }
        }
        let old = Message::of("E1120 15:00:00.1 7 x.go:1] a=\"b\" c").expect("known");
        assert_eq!((old.text.as_str(), old.field("a")), ("a=\"b\" c", None));
    }

    #[test]
    fn what_does_not_begin_as_one_is_none() {
        for line in [
            "",
            "x",
            " time=\"x\" msg=\"a\"",
            "\ttime=\"x\" msg=\"a\"",
            "1795186800.000000 n1 kubelet[7]: \ttime=\"x\" msg=\"a\"",
            "1795186800.000000 n1 kubelet[7]:  E1120 15:00:00.1 7 x.go:1] a",
            "a b c d: time=\"x\" msg=\"a\"",
            "time=\"x\" msg=\"a",
            "time=\"x\" a b=c msg=\"a\"",
            "{\"msg\":1}",
            "{\"msg\":\"a\"",
            "E1120 \"15:00:00.1 7 x.go:1] a",
        ] {
            assert_eq!(Message::of(line), None, "{line}");
        }
    }
}

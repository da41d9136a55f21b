//! What is configured in a file: TOML, each key of which is an option of the command line, too. What
//! is given there counts before the environment, and that before the file.
use std::path::Path;

use serde::{Deserialize, de::DeserializeOwned};
use toml::Spanned;

/// Where the file is, unless another is named.
pub const USUAL: &str = "/etc/netdiag/agent.toml";

/// As it is written; what the values mean is said by who takes options.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub listen: Option<Spanned<String>>,
    pub level: Option<Spanned<String>>,
    pub max_cpu: Option<Spanned<String>>,
    pub read: Option<Spanned<String>>,
    pub resolve_after: Option<Spanned<String>>,
    pub canary: Option<Spanned<String>>,
    pub max_series: Option<Spanned<u32>>,
    pub history: Option<Spanned<String>>,
    pub history_for: Option<Spanned<String>>,
    pub history_size: Option<Spanned<String>>,
    pub otlp: Option<Spanned<String>>,
    pub events: Option<Spanned<bool>>,
    pub interfaces: Option<Spanned<Vec<String>>>,
    pub node_name: Option<Spanned<String>>,
    pub kubeconfig: Option<Spanned<String>>,
    pub cri_socket: Option<Spanned<String>>,
    pub cni_dir: Option<Spanned<String>>,
    pub pods: Option<Spanned<String>>,
    pub cgroup_root: Option<Spanned<String>>,
    pub etcd: Option<Spanned<Vec<String>>>,
    pub etcd_cacert: Option<Spanned<String>>,
    pub etcd_cert: Option<Spanned<String>>,
    pub etcd_key: Option<Spanned<String>>,
}

/// A file's text with what it says.
#[derive(Debug, Default)]
pub struct Read {
    pub file: File,
    name: String,
    text: String,
}

impl Read {
    /// One sentence of what is wrong in it, with its line.
    pub fn parse(path: &Path, text: String) -> Result<Self, String> {
        let name = path.display().to_string();
        match toml::from_str(&text) {
            Ok(file) => Ok(Self { file, name, text }),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let why = error.message().lines().collect::<Vec<_>>().join(", ");
                let why = why.replace("unknown field", "unknown key");
                Err(format!("{name} line {}: {why}", line(&text, at)))
            }
        }
    }

    /// A key's value as an option of that name would have it; one sentence with its line where it is
    /// none.
    pub fn value<T, R>(
        &self,
        key: &str,
        value: &Option<Spanned<T>>,
        parse: impl FnOnce(&T) -> Result<R, String>,
    ) -> Result<Option<R>, String>
    where
        T: DeserializeOwned,
    {
        let Some(value) = value else {
            return Ok(None);
        };
        let at = line(&self.text, value.span().start);
        let parsed = parse(value.get_ref());
        let parsed = parsed.map_err(|why| format!("{} line {at}: {key}: {why}", self.name))?;
        Ok(Some(parsed))
    }
}

fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    1 + before.iter().filter(|b| **b == b'\n').count()
}

/// A key as it is in effect.
pub struct Key {
    pub name: &'static str,
    /// What it means, a sentence.
    pub about: &'static str,
    pub value: Value,
}

pub enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<String>),
    /// Nothing, with an example of what could be there.
    Unset(&'static str),
}

/// A file that says the same.
pub fn print(keys: &[Key]) -> String {
    let each = keys.iter().map(|key| {
        let (name, about) = (key.name, key.about);
        match &key.value {
            Value::Text(text) => format!("# {about}\n{name} = {}\n", quoted(text)),
            Value::Number(number) => format!("# {about}\n{name} = {number}\n"),
            Value::Flag(flag) => format!("# {about}\n{name} = {flag}\n"),
            Value::List(all) => {
                let all: Vec<_> = all.iter().map(|text| quoted(text)).collect();
                format!("# {about}\n{name} = [{}]\n", all.join(", "))
            }
            Value::Unset(example) => format!("# {about}\n# {name} = {example}\n"),
        }
    });
    each.collect::<Vec<_>>().join("\n")
}

/// What JSON escapes, TOML's basic strings escape alike; what it does not but must be is DEL.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Read, String> {
        Read::parse(Path::new("agent.toml"), text.to_owned())
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse("# mine\nlisten = \"127.0.0.1:1\"\nlisen = 3\n").expect_err("unknown");
        assert!(
            error.starts_with("agent.toml line 3: unknown key `lisen`, expected one of"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
        let error = parse("max_series = \"many\"\n").expect_err("no number");
        assert!(
            error.starts_with("agent.toml line 1: invalid type"),
            "{error}"
        );
        let error = parse("level = \n").expect_err("no TOML");
        assert!(
            error.starts_with("agent.toml line 1: ") && !error.contains('\n'),
            "{error}"
        );
    }

    #[test]
    fn a_bad_value_is_told_with_its_line() {
        let read = parse("\nlevel = \"much\"\n").expect("it is TOML");
        let refused = |text: &String| Err::<(), _>(format!("'{text}' is no level"));
        let error = read.value("level", &read.file.level, refused);
        assert_eq!(
            error,
            Err("agent.toml line 2: level: 'much' is no level".to_owned())
        );
        let none = read.value("listen", &read.file.listen, |_| Ok(()));
        assert_eq!(none, Ok(None));
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let hostile = "a\"b\\c\n\u{1b}[2J\u{7f}é";
        let keys = [
            Key {
                name: "node_name",
                about: "Its name.",
                value: Value::Text(hostile.into()),
            },
            Key {
                name: "max_series",
                about: "At most.",
                value: Value::Number(7),
            },
            Key {
                name: "interfaces",
                about: "These.",
                value: Value::List(vec!["cali*".into(), hostile.into()]),
            },
            Key {
                name: "max_cpu",
                about: "A share.",
                value: Value::Unset("\"2%\""),
            },
        ];
        let file = parse(&print(&keys)).expect("it is accepted").file;
        assert_eq!(file.node_name.expect("set").into_inner(), hostile);
        assert_eq!(file.max_series.expect("set").into_inner(), 7);
        assert_eq!(
            file.interfaces.expect("set").into_inner(),
            ["cali*", hostile]
        );
        assert!(file.max_cpu.is_none());
    }
}

//! A running program's command line.
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub pid: u32,
    /// With the program's name as it was started.
    pub arguments: Vec<String>,
    /// The service of systemd's that it is: `flanneld.service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl Command {
    /// Every value of a flag, in order.
    pub fn flags(&self, name: &str) -> Vec<&str> {
        flags(&self.arguments, name)
    }
}

/// Values of a flag as Go's programs take it: `--name=value`, `-name value`.
pub fn flags<'a>(arguments: &'a [String], name: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, argument) in arguments.iter().enumerate() {
        let Some(bare) = argument.strip_prefix('-') else {
            continue;
        };
        let bare = bare.strip_prefix('-').unwrap_or(bare);
        match bare.split_once('=') {
            Some((key, value)) if key == name => found.push(value),
            None if bare == name => found.extend(arguments.get(at + 1).map(String::as_str)),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_as_go_takes_them() {
        let line = ["/usr/bin/etcd", "--a=1", "-b", "2", "--a", "3"].map(str::to_owned);
        assert_eq!(flags(&line, "a"), ["1", "3"]);
        assert_eq!(flags(&line, "b"), ["2"]);
        assert_eq!(flags(&line, "c"), [""; 0]);
    }
}

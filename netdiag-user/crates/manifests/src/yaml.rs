//! Objects as people read them before they give them to a cluster.
use anyhow::{Context, Result};
use serde::Serialize;

use crate::profile;

/// One object with what is said before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Of its file, without an ending.
    pub name: &'static str,
    /// Sentences for who reads it.
    pub about: String,
    pub yaml: String,
}

impl Document {
    pub fn new(name: &'static str, about: &str, object: &impl Serialize) -> Result<Self> {
        let yaml = serde_saphyr::to_string(object).context("encoding YAML")?;
        Ok(Self {
            name,
            about: about.to_owned(),
            yaml: with_reasons(&yaml),
        })
    }

    /// As a file that has nothing else.
    pub fn file(&self) -> String {
        let about: String = self
            .about
            .lines()
            .map(|line| format!("# {line}\n"))
            .collect();
        format!("{about}{}", self.yaml)
    }
}

/// Documents of one stream, in their order.
pub fn stream(documents: &[Document]) -> String {
    let each: Vec<_> = documents.iter().map(Document::file).collect();
    each.join("---\n")
}

/// The reason of each capability above it: they are the only lists whose members are called so.
fn with_reasons(yaml: &str) -> String {
    let mut commented = String::with_capacity(yaml.len() + 256);
    for line in yaml.split_inclusive('\n') {
        let text = line.trim_start();
        let name = text.strip_prefix("- ").map(str::trim_end);
        if let Some(why) = name.and_then(profile::reason) {
            let indent = &line[..line.len() - text.len()];
            commented.push_str(&format!("{indent}# {why}\n"));
        }
        commented.push_str(line);
    }
    commented
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Profile, Seccomp, pod_spec};

    #[test]
    fn each_capability_has_its_reason_above_it() {
        for profile in Profile::ALL {
            let pod = pod_spec(
                profile,
                &Seccomp::default(),
                "netdiag:1",
                &["agent".to_owned()],
            );
            let text = Document::new("pod", "A pod.", &pod)
                .expect("written")
                .file();
            assert!(text.starts_with("# A pod.\n"), "{text}");
            let lines: Vec<_> = text.lines().map(str::trim).collect();
            for (name, why) in profile.capabilities() {
                let at = lines.iter().position(|line| *line == format!("- {name}"));
                let above = lines[at.expect("listed") - 1];
                assert_eq!(above, format!("# {why}"));
            }
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let pod = pod_spec(
            Profile::Full,
            &Seccomp::default(),
            "netdiag:1",
            &["--a=b: c".to_owned()],
        );
        let text = Document::new("pod", "", &pod).expect("written").file();
        let read: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(read, serde_json::to_value(&pod).expect("JSON"));
    }
}

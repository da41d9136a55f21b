//! What a finding is about, and the name under which it is the same one in the next reading.
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The thing that does it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A rule of netfilter: `inet filter input`, and as `nft list` or `iptables-save` print it.
    Rule { place: String, text: String },
}

/// Digits that tell findings of one incident apart.
const BYTES: usize = 6;

/// Of a cause and its subject alone: the same in each reading, in a replay, and on another node
/// that has it too.
pub fn id(cause: &str, subject: Option<&Subject>) -> String {
    let mut hash = Sha256::new();
    hash.update(cause);
    match subject {
        None => {}
        Some(Subject::Rule { place, text }) => {
            // Each with its length: else two could be one.
            for part in ["rule", place, text] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
    }
    let digest = hash.finalize();
    digest
        .iter()
        .take(BYTES)
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_has_a_name_of_its_own() {
        let rule = |place: &str, text: &str| Subject::Rule {
            place: place.into(),
            text: text.into(),
        };
        let own = id("firewall-drop", Some(&rule("inet filter input", "drop")));
        assert_eq!(own.len(), 2 * BYTES);
        let others = [
            id("firewall-drop", Some(&rule("inet filter inpu", "tdrop"))),
            id("firewall-drop", None),
            id("no-route", None),
        ];
        assert!(!others.contains(&own));
    }
}

//! What is to be done: a sentence, and commands.
use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

use crate::shell::{CommandKind, CommandLine};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Read")]
pub struct Fix {
    pub summary: String,
    /// What changes something, and what helps to decide about it, in the order in which a person goes
    /// about it. Those that [`CommandLine::is_refused`] are never shown.
    pub commands: Vec<CommandLine>,
}

/// What is to be done. Each command stands as its text, as the words that execve(2) takes, and with its
/// kind, side by side.
#[derive(Serialize, JsonSchema)]
struct Written<'a> {
    /// What to do, in one sentence.
    summary: &'a str,
    /// Commands that repair, ready to be pasted.
    commands: Vec<&'a CommandLine>,
    /// The words of each of `commands`.
    argv: Vec<Vec<String>>,
    /// The kind of each of `commands`: `change` or `elsewhere`.
    kinds: Vec<CommandKind>,
    /// Commands that only show more, before anything is changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    look: Vec<&'a CommandLine>,
    /// The words of each of `look`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    look_argv: Vec<Vec<String>>,
    /// The kind of each of `look`: `show` or `watch`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    look_kinds: Vec<CommandKind>,
    /// How many commands are not printed, because a name in them could do harm.
    #[serde(skip_serializing_if = "is_none")]
    commands_left_out: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_none(n: &usize) -> bool {
    *n == 0
}

#[derive(Deserialize)]
struct Read {
    summary: String,
    #[serde(default)]
    look: Vec<CommandLine>,
    commands: Vec<CommandLine>,
}

impl From<Read> for Fix {
    fn from(read: Read) -> Self {
        let mut commands = read.look;
        commands.extend(read.commands);
        Self {
            summary: read.summary,
            commands,
        }
    }
}

/// Each command as its text, as the words that execve(2) takes, and its kind, side by side; what only
/// looks apart from what repairs. What cannot be printed safely is left out.
impl Serialize for Fix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let repairs: Vec<_> = self.repairs().collect();
        let looks: Vec<_> = self.looks().collect();
        let written = Written {
            summary: &self.summary,
            argv: argv(&repairs),
            kinds: kinds(&repairs),
            commands: repairs,
            look_argv: argv(&looks),
            look_kinds: kinds(&looks),
            look: looks,
            commands_left_out: self.left_out(),
        };
        written.serialize(serializer)
    }
}

/// It is what is written of it.
impl JsonSchema for Fix {
    fn schema_name() -> Cow<'static, str> {
        "Fix".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

fn argv(commands: &[&CommandLine]) -> Vec<Vec<String>> {
    commands.iter().map(|command| command.argv()).collect()
}

fn kinds(commands: &[&CommandLine]) -> Vec<CommandKind> {
    commands.iter().map(|command| command.kind()).collect()
}

impl Fix {
    /// How many commands cannot be printed safely.
    pub fn left_out(&self) -> usize {
        self.commands.iter().filter(|c| c.is_refused()).count()
    }

    /// What changes this node, and what is for the cluster's API or another node.
    pub fn repairs(&self) -> impl Iterator<Item = &CommandLine> {
        self.printed()
            .filter(|c| matches!(c.kind(), CommandKind::Change | CommandKind::Elsewhere))
    }

    /// What shows more before anything is changed.
    pub fn looks(&self) -> impl Iterator<Item = &CommandLine> {
        self.printed()
            .filter(|c| matches!(c.kind(), CommandKind::Show | CommandKind::Watch))
    }

    fn printed(&self) -> impl Iterator<Item = &CommandLine> {
        self.commands.iter().filter(|c| !c.is_refused())
    }
}

/// A fix on another node than the finding's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFix {
    pub node: String,
    #[serde(flatten)]
    pub fix: Fix,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::shell;

    #[test]
    fn what_looks_stands_apart_from_what_repairs() {
        let fix = Fix {
            summary: "s".into(),
            commands: vec![
                shell!("nft -a list ruleset"),
                shell!("nft delete rule inet a b handle {}", 3),
                shell!("kubectl get pods"),
                shell!("rm -- {}", "a\u{202e}b"),
            ],
        };
        let written = serde_json::to_value(&fix).expect("JSON");
        let expected = json!({
            "summary": "s",
            "commands": ["nft delete rule inet a b handle 3", "kubectl get pods"],
            "argv": [
                ["nft", "delete", "rule", "inet", "a", "b", "handle", "3"],
                ["kubectl", "get", "pods"],
            ],
            "kinds": ["change", "elsewhere"],
            "look": ["nft -a list ruleset"],
            "look_argv": [["nft", "-a", "list", "ruleset"]],
            "look_kinds": ["show"],
            "commands_left_out": 1,
        });
        assert_eq!(written, expected);
        let read: Fix = serde_json::from_value(written).expect("a fix");
        assert_eq!(read.commands, fix.commands[..3]);
        let before: Fix = serde_json::from_value(json!({"summary": "", "commands": ["ip link"]}))
            .expect("one of an older verdict");
        assert_eq!(before.looks().count(), 1);
    }
}

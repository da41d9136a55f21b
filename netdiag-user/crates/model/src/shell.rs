//! Command lines that netdiag prints for people to paste, often as root.
//!
//! Their names come from strangers: a pod's DNS question, an nft table in its namespace, a process
//! that calls itself etcd, a recording from a ticket. So a command line is no text but words: a
//! template is part of the program ([`crate::shell!`] takes literals only), each `{}` in it stands for one
//! value, and a value never becomes more than the word that it stands in (POSIX.1-2024, XCU 2.2).
//!
//! Where a value cannot be quoted safely, no command is printed at all: control and invisible
//! characters, a word that would be read as an option, an odd name in what another program takes
//! apart again (an expression of tcpdump's, nft's arguments, a line for a shell on another node).
mod kind;
mod ours;
mod parse;
mod shows;
mod template;
mod word;

use std::{
    borrow::Cow,
    fmt::{self, Display},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use kind::CommandKind;
pub use shows::Shows;
pub use template::holes;
use word::Word;
pub use word::quoted;

/// A longer line is for no terminal.
const LONGEST: usize = 4096;

/// A line of a POSIX shell's, from a literal with a `{}` for each value, one word each:
///
/// - `{}` stands for a word, or for a part of one; what begins with `-` refuses the command;
/// - `{v}` is the value of the option before it (`grep -e {v}`), and may begin so;
/// - within `'…'` a value must be plain: a number, an address, a name of letters and digits;
/// - `{{` and `}}` are braces; `|`, `;`, `&&`, `>`, `$(` and `)` stand as words of their own.
#[macro_export]
macro_rules! shell {
    ($template:literal $(, $value:expr)* $(,)?) => {{
        const GIVEN: usize = <[&str]>::len(&[$(stringify!($value)),*]);
        const { assert!($crate::shell::holes($template) == GIVEN) };
        $crate::shell::CommandLine::fill($template, &[$(&$value),*])
    }};
}

#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    words: Vec<Word>,
    /// Some value cannot be part of a command.
    refused: bool,
    /// Where the evidence has other words for it.
    shows: Option<Shows>,
}

impl CommandLine {
    /// For [`crate::shell!`] alone, which takes literals only.
    #[doc(hidden)]
    pub fn fill(template: &'static str, values: &[&dyn Display]) -> Self {
        template::fill(template, values).map_or_else(Self::refused, Self::of)
    }

    fn of(words: Vec<Word>) -> Self {
        let line = Self {
            words,
            ..Self::default()
        };
        line.bounded()
    }

    /// One of a sentence's, for tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn told_before(line: &str) -> Self {
        Self::parse(line)
    }

    /// The commands that operators join, for tests: each as it is pasted, and its words.
    #[cfg(any(test, feature = "testing"))]
    pub fn parts(&self) -> Vec<(String, Vec<String>)> {
        let all = self.words.split(|word| matches!(word, Word::Operator(_)));
        let all = all.filter(|words| !words.is_empty());
        let part = |words: &[Word]| {
            let part = Self {
                words: words.to_vec(),
                refused: self.refused,
                shows: None,
            };
            (part.text(), part.argv())
        };
        all.map(part).collect()
    }

    /// A line that netdiag printed before: the verdict of the lab's node.
    fn parse(line: &str) -> Self {
        match parse::parse(line) {
            Some(words) if !words.is_empty() => Self::of(words),
            _ => Self::refused(),
        }
    }

    fn refused() -> Self {
        Self {
            refused: true,
            ..Self::default()
        }
    }

    fn bounded(self) -> Self {
        match !self.refused && self.words.len() <= LONGEST && self.render().len() <= LONGEST {
            true => self,
            false => Self::refused(),
        }
    }

    /// Nothing is to be printed: a name in it could do harm.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// With words of somebody's at its end, as they are, options too: a rule's own.
    pub fn with_words<T: AsRef<str>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        for text in words {
            let text = text.as_ref();
            self.refused |= word::misleads(text);
            self.words.push(Word::Text(text.to_owned()));
        }
        self.bounded()
    }

    /// With names at its end, none of which is an option.
    pub fn with_names<T: AsRef<str>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        for text in names {
            let text = text.as_ref();
            self.refused |= word::misleads(text) || text.starts_with('-') || text.is_empty();
            self.words.push(Word::Text(text.to_owned()));
        }
        self.bounded()
    }

    /// It prints one of these words, where the evidence says it in others.
    pub fn showing(mut self, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned());
        self.shows = Some(Shows::Any(words.collect()));
        self
    }

    /// It prints nothing: there is no such entry.
    pub fn showing_nothing(mut self) -> Self {
        self.shows = Some(Shows::Nothing);
        self
    }

    /// What it asks for is refused.
    pub fn failing(mut self) -> Self {
        self.shows = Some(Shows::Failure);
        self
    }

    pub fn shows(&self) -> Option<&Shows> {
        self.shows.as_ref()
    }

    /// With what was written beside it.
    pub fn with_shows(mut self, shows: Option<Shows>) -> Self {
        self.shows = shows;
        self
    }

    /// `ip -6 …`, where the addresses in it do not say so.
    pub fn of_family(mut self, ipv6: bool) -> Self {
        if ipv6 && !self.words.is_empty() {
            self.words.insert(1, Word::Fixed("-6"));
        }
        self
    }

    /// `self | next`.
    pub fn pipe(self, next: Self) -> Self {
        self.joined("|", next)
    }

    /// `self; next`.
    pub fn then(self, next: Self) -> Self {
        self.joined(";", next)
    }

    fn joined(mut self, operator: &'static str, next: Self) -> Self {
        self.refused |= next.refused;
        self.words.push(Word::Operator(operator));
        self.words.extend(next.words);
        self.bounded()
    }

    /// Started by another program (`ip netns exec NAME …`): each of its commands, but for those that only
    /// read what one before them prints.
    pub fn under(self, prefix: &Self) -> Self {
        let mut words = prefix.words.clone();
        let mut depth = 0_usize;
        for word in self.words {
            depth += usize::from(word == Word::Operator("$("));
            depth -= usize::from(word == Word::Operator(")") && depth > 0);
            let next = depth == 0 && matches!(word, Word::Operator(";" | "&&"));
            words.push(word);
            if next {
                words.extend(prefix.words.iter().cloned());
            }
        }
        Self {
            words,
            refused: self.refused || prefix.refused,
            shows: self.shows,
        }
        .bounded()
    }

    /// In the middle of a sentence, between backticks. Nothing where it is refused, or where one of
    /// its own would end it.
    pub fn told(&self) -> Option<String> {
        let text = self.text();
        let whole = !text.is_empty() && !text.contains('`');
        whole.then(|| ["`", &text, "`"].concat())
    }

    /// The same, or other words in its place.
    pub fn told_or(&self, instead: &str) -> String {
        self.told().unwrap_or_else(|| instead.to_owned())
    }

    /// What it does; what nobody knows may change something.
    pub fn kind(&self) -> CommandKind {
        kind::of(&self.words).unwrap_or(CommandKind::Change)
    }

    /// The programs that it starts, but for those that only start another one (`timeout`, `nsenter`,
    /// `ip netns exec`).
    pub fn programs(&self) -> Vec<Vec<&str>> {
        kind::programs(&self.words)
    }

    /// Nothing where one of its programs, or what it is to do, is not in the table.
    #[cfg(any(test, feature = "testing"))]
    pub fn known_kind(&self) -> Option<CommandKind> {
        kind::of(&self.words)
    }

    /// The program that it starts first.
    pub fn program(&self) -> &str {
        match self.words.first() {
            Some(Word::Fixed(text)) => text,
            _ => "",
        }
    }

    /// What execve(2) takes; a shell where it needs one. Empty where it is refused.
    pub fn argv(&self) -> Vec<String> {
        if self.refused {
            return Vec::new();
        }
        let plain = self.words.iter().map(|word| match word {
            Word::Fixed(text) => Some((*text).to_owned()),
            Word::Text(text) => Some(text.clone()),
            Word::Operator(_) => None,
        });
        let plain: Option<Vec<_>> = plain.collect();
        plain.unwrap_or_else(|| vec!["sh".into(), "-c".into(), self.render()])
    }

    /// The line as it is pasted. Empty where it is refused.
    pub fn text(&self) -> String {
        match self.refused {
            true => String::new(),
            false => self.render(),
        }
    }

    pub fn contains(&self, part: &str) -> bool {
        self.text().contains(part)
    }

    /// The same with some words changed, in ways of the caller's own: where the lab keeps its files.
    pub fn map_words(&self, change: impl Fn(&str) -> String) -> Self {
        let words = self.words.iter().map(|word| match word {
            Word::Fixed(text) => Word::Text(change(text)),
            Word::Text(text) => Word::Text(change(text)),
            Word::Operator(operator) => Word::Operator(operator),
        });
        Self {
            words: words.collect(),
            refused: self.refused,
            shows: self.shows.clone(),
        }
    }

    fn render(&self) -> String {
        let mut line = String::new();
        let mut glued = true;
        for word in &self.words {
            if !glued && !matches!(word, Word::Operator(";" | ")")) {
                line.push(' ');
            }
            match word {
                Word::Operator(operator) => line.push_str(operator),
                Word::Fixed(text) => line.push_str(&quoted(text)),
                Word::Text(text) => line.push_str(&quoted(text)),
            }
            glued = *word == Word::Operator("$(");
        }
        line
    }
}

impl Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// As its text; whoever serializes one looks first whether it is refused.
impl Serialize for CommandLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// In an output it is its text.
impl JsonSchema for CommandLine {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CommandLine".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|line| Self::parse(&line))
    }
}

impl PartialEq for CommandLine {
    fn eq(&self, other: &Self) -> bool {
        self.refused == other.refused && self.text() == other.text()
    }
}

impl PartialEq<&str> for CommandLine {
    fn eq(&self, other: &&str) -> bool {
        self.text() == *other
    }
}

impl PartialEq<str> for CommandLine {
    fn eq(&self, other: &str) -> bool {
        self.text() == other
    }
}

#[cfg(test)]
#[path = "shell/tests.rs"]
mod tests;

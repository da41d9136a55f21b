//! The forms that an output can have.
use clap::ValueEnum;

/// What `-o` names.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with wide terminals: nothing is shortened.
    Wide,
    /// One document at the end.
    Json,
    /// One object an event, flushed as it happens.
    Ndjson,
    Yaml,
}

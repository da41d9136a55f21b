//! JSON Schemas (draft 2020-12) of what programs read, made from the types that are printed.
//!
//! Each has a name and a version, `netdiag.verdict/1`. Within a version members may be added, types of
//! events, and words where the schema has no list of them. What takes one away, renames it or gives it
//! another type or meaning, and a word more in a list, makes the next version.
use clap::ValueEnum;
use schemars::{JsonSchema, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::{Map, Value, json};

use super::live::{RUN, Run};
use crate::model::{
    event::{self, LiveEvent},
    foretold::{self, Foretold},
    path::{self, Path},
    verdict::{self, Verdict},
    words::TIME,
};

/// A kind of output for programs.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of diagnose, audit, replay and lab run with -o json.
    Verdict,
    /// A line of run and replay with -o ndjson.
    Events,
    /// Of path, and of replay --path, with -o json.
    Path,
    /// Of run with -o json.
    Run,
    /// Of whatif with -o json.
    Whatif,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Verdict,
        Self::Events,
        Self::Path,
        Self::Run,
        Self::Whatif,
    ];

    /// Name and version, as documents have them in `schema`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verdict => verdict::SCHEMA,
            Self::Events => event::SCHEMA,
            Self::Path => path::SCHEMA,
            Self::Run => RUN,
            Self::Whatif => foretold::SCHEMA,
        }
    }

    /// The schema, the same each time.
    pub fn schema(self) -> Value {
        let schema = match self {
            Self::Verdict => of::<Verdict>(),
            Self::Events => of::<LiveEvent>(),
            Self::Path => of::<Path>(),
            Self::Run => of::<Run<'_>>(),
            Self::Whatif => of::<Foretold>(),
        };
        named(schema, self.name())
    }
}

/// What is written of the type, not what is read.
fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(plain)
        .with_transform(absent);
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

fn named(mut schema: Value, name: &str) -> Value {
    if let Some(members) = schema.as_object_mut() {
        let id = format!("urn:{}", name.replace(['.', '/'], ":"));
        members.insert("$id".into(), json!(id));
        members.insert("title".into(), json!(name));
    }
    schema
}

/// Without what is Rust's: the widths of numbers, the lines of comments; and open to more members.
fn plain(schema: &mut schemars::Schema) {
    transform_subschemas(&mut plain, schema);
    let Some(members) = schema.as_object_mut() else {
        return;
    };
    members.remove("additionalProperties");
    if let Some(Value::String(text)) = members.get_mut("description") {
        let paragraphs = text.split("\n\n").map(|it| it.replace('\n', " "));
        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
    match members.get("format").and_then(Value::as_str) {
        None | Some(TIME) => {}
        Some("ip") => {
            members.remove("format");
            let families = json!([{"format": "ipv4"}, {"format": "ipv6"}]);
            members.insert("anyOf".into(), families);
        }
        Some(_) => {
            members.remove("format");
        }
    }
}

/// What may be absent is never null, and has no value of its own then.
fn absent(schema: &mut schemars::Schema) {
    transform_subschemas(&mut absent, schema);
    let Some(members) = schema.as_object_mut() else {
        return;
    };
    let required = members.get("required").and_then(Value::as_array).cloned();
    let required = required.unwrap_or_default();
    let Some(Value::Object(properties)) = members.get_mut("properties") else {
        return;
    };
    for (name, property) in properties {
        if let Some(property) = property.as_object_mut() {
            property.remove("default");
            if !required.iter().any(|it| it == name) {
                never_null(property);
            }
        }
    }
}

fn never_null(property: &mut Map<String, Value>) {
    let null = json!("null");
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|it| *it != null);
        if let [one] = &types[..] {
            let one = one.clone();
            property.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(words)) = property.get_mut("enum") {
        words.retain(|it| !it.is_null());
    }
    if let Some(Value::Array(any)) = property.get_mut("anyOf") {
        any.retain(|it| it["type"] != null);
        if let [Value::Object(one)] = &any[..] {
            let one = one.clone();
            property.remove("anyOf");
            property.extend(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_absent_is_never_null() {
        let verdict = Kind::Verdict.schema();
        let finding = &verdict["$defs"]["Finding"]["properties"];
        assert_eq!(finding["root"]["type"], "string");
        assert_eq!(finding["subject"]["$ref"], "#/$defs/Subject");
        // This one is always there.
        assert_eq!(finding["consequence_of"]["type"], json!(["string", "null"]));
    }

    #[test]
    fn nothing_is_closed_and_nothing_is_rusts() {
        for kind in Kind::ALL {
            let text = kind.schema().to_string();
            for word in [
                "additionalProperties",
                "unevaluatedProperties",
                "uint",
                "double",
            ] {
                assert!(!text.contains(word), "{}: {word}", kind.name());
            }
        }
    }

    /// Two types of one name would be told apart by a number, which moves as others come.
    #[test]
    fn every_type_has_a_name_of_its_own() {
        for kind in Kind::ALL {
            let schema = kind.schema();
            let names = schema["$defs"].as_object().expect("definitions");
            let numbered = |name: &&String| name.ends_with(|c: char| c.is_ascii_digit());
            let numbered: Vec<_> = names.keys().filter(numbered).collect();
            assert!(numbered.is_empty(), "{}: {numbered:?}", kind.name());
        }
    }
}

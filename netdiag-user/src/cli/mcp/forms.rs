//! The schemas of what tools take and give.
use std::sync::Arc;

use rmcp::model::JsonObject;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::output::schema::Kind;

/// What a tool takes.
pub fn input<T: JsonSchema>() -> Arc<JsonObject> {
    let settings = SchemaSettings::draft2020_12().with(|it| it.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    object(schema.to_value())
}

/// Netdiag's own words.
pub fn own() -> Arc<JsonObject> {
    object(json!({
        "type": "object",
        "properties": { "text": { "type": "string" } },
        "required": ["text"],
    }))
}

/// A document of that kind, as an answer has it. The words that explain it are left to `netdiag schema`:
/// a client reads all of these before its first question.
pub fn document(kind: Kind) -> Arc<JsonObject> {
    let mut schema = bare(kind.schema());
    let definitions = schema["$defs"].take();
    if let Some(members) = schema.as_object_mut() {
        for own in ["$defs", "$id", "$schema", "title"] {
            members.remove(own);
        }
    }
    answer(&schema, &definitions)
}

/// Findings of a verdict, and how many there are.
pub fn findings() -> Arc<JsonObject> {
    let definitions = bare(Kind::Verdict.schema())["$defs"].take();
    let count = json!({ "type": "integer", "minimum": 0 });
    let schema = json!({
        "type": "object",
        "properties": {
            "findings": { "type": "array", "items": { "$ref": "#/$defs/Finding" } },
            "offset": count,
            "of": count,
        },
        "required": ["findings", "offset", "of"],
    });
    answer(&schema, &definitions)
}

/// What this machine allows.
pub fn features() -> Arc<JsonObject> {
    let (text, flag) = (json!({ "type": "string" }), json!({ "type": "boolean" }));
    let schema = json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": text, "available": flag, "essential": flag, "detail": text, "remedy": text,
            },
            "required": ["name", "available", "essential", "detail"],
        },
    });
    answer(&schema, &json!({}))
}

/// Those that the schema leads to.
fn needed(schema: &Value, definitions: &Value) -> Value {
    let mut needed = Map::new();
    let mut open = vec![schema];
    while let Some(one) = open.pop() {
        match one {
            Value::Object(members) => open.extend(members.values()),
            Value::Array(all) => open.extend(all),
            Value::String(text) => {
                let name = text.strip_prefix("#/$defs/").unwrap_or_default();
                if let (Some(it), false) = (definitions.get(name), needed.contains_key(name)) {
                    needed.insert(name.to_owned(), it.clone());
                    open.push(it);
                }
            }
            _ => {}
        }
    }
    Value::Object(needed)
}

fn answer(schema: &Value, definitions: &Value) -> Arc<JsonObject> {
    let count = json!({ "type": "integer", "minimum": 0 });
    object(json!({
        "type": "object",
        "properties": {
            "notice": { "type": "string" },
            "left_out": {
                "type": "object",
                "properties": {
                    "rows": { "type": "object", "additionalProperties": count },
                    "characters": count,
                },
                "required": ["rows", "characters"],
            },
            "untrusted": schema,
        },
        "required": ["notice", "left_out", "untrusted"],
        "$defs": needed(schema, definitions),
    }))
}

/// Without descriptions, which are texts; a member of that name is an object.
fn bare(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            members.retain(|name, it| name != "description" || !it.is_string());
            members.values_mut().for_each(|it| *it = bare(it.take()));
        }
        Value::Array(all) => all.iter_mut().for_each(|it| *it = bare(it.take())),
        _ => {}
    }
    schema
}

fn object(schema: Value) -> Arc<JsonObject> {
    match schema {
        Value::Object(members) => Arc::new(members),
        _ => Arc::default(),
    }
}

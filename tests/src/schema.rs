//! What netdiag prints for programs, held against the schemas that it prints of it.
//!
//! The schemas let more members pass than they know, for the sake of those who read the outputs of a
//! later netdiag. Here they do not: what is printed is described.
use std::{collections::BTreeMap, sync::Mutex};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value};

use crate::netdiag::netdiag;

/// A schema that knows every member, and no empty text.
pub struct Form(Validator);

impl Form {
    pub fn strict(mut schema: Value) -> Self {
        tighten(&mut schema, false);
        let options = jsonschema::options().with_draft(Draft::Draft202012);
        let form = options.should_validate_formats(true).build(&schema);
        Self(form.unwrap_or_else(|e| panic!("no schema: {e}")))
    }

    /// What is wrong with the document, and where.
    pub fn wrongs(&self, document: &Value) -> Vec<String> {
        let told = |e: jsonschema::ValidationError<'_>| format!("{}: {e}", e.instance_path());
        self.0.iter_errors(document).map(told).collect()
    }

    pub fn assert_holds(&self, document: &Value) {
        let wrongs = self.wrongs(document);
        assert!(wrongs.is_empty(), "{wrongs:#?}\n{document:#}");
    }
}

/// Forbids what no schema on the way describes; `part` of another, which has its own members too.
fn tighten(schema: &mut Value, part: bool) {
    let Some(members) = schema.as_object_mut() else {
        return;
    };
    let own = members.contains_key("properties");
    if own && !part {
        members.insert("unevaluatedProperties".into(), false.into());
    }
    if members.get("type").is_some_and(|it| it == "string") {
        members.insert("minLength".into(), 1.into());
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        let any = members.get_mut(key).and_then(Value::as_array_mut);
        let any = any.into_iter().flatten();
        any.for_each(|it| tighten(it, part || own));
    }
    for (key, below) in members {
        match (key.as_str(), below) {
            ("properties" | "$defs", Value::Object(all)) => {
                all.values_mut().for_each(|it| tighten(it, false));
                words_may_be_empty(all);
            }
            ("items", item) => tighten(item, false),
            _ => {}
        }
    }
}

/// A word of a command line may be: `\'\'`.
fn words_may_be_empty(properties: &mut Map<String, Value>) {
    let argv = properties
        .iter_mut()
        .filter(|(name, _)| name.ends_with("argv"));
    for (_, property) in argv {
        let words = &mut property["items"];
        let words = match words["type"] == "array" {
            true => &mut words["items"],
            false => words,
        };
        if let Some(word) = words.as_object_mut() {
            word.remove("minLength");
        }
    }
}

/// A document or a line of netdiag's, held against its schema where there is one.
pub fn parsed(text: &str) -> serde_json::Result<Value> {
    let document = serde_json::from_str(text)?;
    check(&document);
    Ok(document)
}

/// Panics where it is not what its schema says; several in a list each for itself.
pub fn check(document: &Value) {
    if let Value::Array(all) = document {
        return all.iter().for_each(check);
    }
    if let Some(kind) = kind(document) {
        with(kind, |form| form.assert_holds(document));
    }
}

/// The name by which the command line knows its schema; nothing where there is none.
fn kind(document: &Value) -> Option<&'static str> {
    match document["schema"].as_str() {
        Some("netdiag.verdict/1") => Some("verdict"),
        Some("netdiag.path/1") => Some("path"),
        Some("netdiag.run/1") => Some("run"),
        Some("netdiag.whatif/1") => Some("whatif"),
        Some(other) => panic!("a document of an unknown kind: {other}"),
        None => (document["type"].is_string() && document["time"].is_string()).then_some("events"),
    }
}

/// The binary under test says what its outputs are; it is asked once.
fn with(kind: &'static str, check: impl Fn(&Form)) {
    static FORMS: Mutex<BTreeMap<&str, &Form>> = Mutex::new(BTreeMap::new());
    let form = {
        let mut forms = FORMS.lock().unwrap_or_else(|e| e.into_inner());
        *forms.entry(kind).or_insert_with(|| {
            let ended = netdiag(&["schema", kind]);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            let schema = serde_json::from_slice(&ended.stdout).expect("JSON");
            Box::leak(Box::new(Form::strict(schema)))
        })
    };
    check(form);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrongs(document: &Value) -> usize {
        let form = Form::strict(json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "argv": { "type": "array", "items": { "type": "string" } },
                "below": { "$ref": "#/$defs/Below" },
            },
            "required": ["name"],
            "oneOf": [
                { "properties": { "type": { "const": "a" }, "more": { "type": "integer" } } },
                { "properties": { "type": { "const": "b" } } },
            ],
            "$defs": {
                "Below": { "type": "object", "properties": { "time": { "format": "date-time" } } },
            },
        }));
        form.wrongs(document).len()
    }

    #[test]
    fn what_no_schema_describes_is_found_at_every_depth() {
        let good = json!({
            "name": "x", "argv": ["echo", ""], "type": "a", "more": 1,
            "below": { "time": "2026-01-02T03:04:05Z" },
        });
        assert_eq!(wrongs(&good), 0);
        for (at, value) in [
            ("/new", json!(1)),
            ("/name", json!("")),
            ("/type", json!("c")),
            ("/type", json!("b")),
            ("/below/new", json!(1)),
            ("/below/time", json!("yesterday")),
        ] {
            let mut bad = good.clone();
            let (parent, member) = at.rsplit_once('/').expect("a path");
            bad.pointer_mut(parent).expect("it is there")[member] = value;
            assert_ne!(wrongs(&bad), 0, "{bad}");
        }
    }
}

//! The difference of two JSON values: most of a node stays what it was. [`super::merge`] puts it in.
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// What to do to a value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Patch {
    /// Put this in its place.
    New(Value),
    /// Change these members of an object, and take those away (null stands for none).
    Object(BTreeMap<String, Patch>, Vec<String>),
    /// Cut a list to this length, change these elements, add those.
    List(usize, Vec<(usize, Patch)>, Vec<Value>),
}

/// What makes `new` of `old`; nothing where they are the same.
pub fn diff(old: &Value, new: &Value) -> Option<Patch> {
    match (old, new) {
        (old, new) if old == new => None,
        (Value::Object(old), Value::Object(new)) => Some(members(old, new)),
        (Value::Array(old), Value::Array(new)) => Some(elements(old, new)),
        _ => Some(Patch::New(new.clone())),
    }
}

fn members(old: &Map<String, Value>, new: &Map<String, Value>) -> Patch {
    let mut changed = BTreeMap::new();
    for (name, value) in new {
        let patch = match old.get(name) {
            Some(old) => diff(old, value),
            None => Some(Patch::New(value.clone())),
        };
        if let Some(patch) = patch {
            changed.insert(name.clone(), patch);
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    Patch::Object(changed, gone.cloned().collect())
}

fn elements(old: &[Value], new: &[Value]) -> Patch {
    let both = old.len().min(new.len());
    let pairs = old.iter().zip(new).enumerate();
    let changed: Vec<_> = pairs
        .filter_map(|(n, (old, new))| Some((n, diff(old, new)?)))
        .collect();
    // What moved on by one place differs everywhere: it is shorter to say it anew.
    if changed.len() > both / 2 && !same_shape(old, new) {
        return Patch::New(Value::Array(new.to_vec()));
    }
    Patch::List(both, changed, new[both..].to_vec())
}

/// Objects with the same names differ in few of their members, all of them or not.
fn same_shape(old: &[Value], new: &[Value]) -> bool {
    old.len() == new.len() && old.iter().chain(new).all(Value::is_object)
}

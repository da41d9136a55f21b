//! What changed of a JSON text, put into the text itself: values of a scene take ten times their
//! text, and only those that changed are ever looked into.
use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::limits::Fault;

/// A [`super::patch::Patch`] as it stands in its line.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Change<'a> {
    New(#[serde(borrow)] &'a RawValue),
    Object(#[serde(borrow)] BTreeMap<String, &'a RawValue>, Vec<String>),
    List(
        usize,
        #[serde(borrow)] Vec<(usize, &'a RawValue)>,
        #[serde(borrow)] Vec<&'a RawValue>,
    ),
}

/// What is put where nothing was.
const NOTHING: &str = "null";

/// The text that `change` makes of the old one. The caller has seen that neither nests deep.
pub fn merged(old: &str, change: &str) -> Result<String, Fault> {
    let mut to = String::with_capacity(old.len().min(change.len() * 2));
    merge(old, change, &mut to)?;
    to.shrink_to_fit();
    Ok(to)
}

fn merge(old: &str, change: &str, to: &mut String) -> Result<(), Fault> {
    let misfit = |_| Fault::Misfit;
    let mut old = serde_json::Deserializer::from_str(old);
    match serde_json::from_str(change).map_err(misfit)? {
        Change::New(value) => {
            to.push_str(value.get());
            Ok(())
        }
        Change::Object(changed, gone) => {
            let members = Object { changed, gone, to };
            members.deserialize(&mut old).map_err(misfit)
        }
        Change::List(keep, changed, added) => {
            let elements = List {
                keep,
                changed,
                added,
                to,
            };
            elements.deserialize(&mut old).map_err(misfit)
        }
    }
}

struct Object<'a, 't> {
    changed: BTreeMap<String, &'a RawValue>,
    gone: Vec<String>,
    to: &'t mut String,
}

impl<'de> DeserializeSeed<'de> for Object<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, from: D) -> Result<(), D::Error> {
        self.gone.sort_unstable();
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut members = Separated::new(self.to, '{');
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            let change = self.changed.remove(&name);
            if self.gone.binary_search(&name).is_ok() {
                continue;
            }
            name_member(members.next(), &name)?;
            put(value.get(), change, members.to)?;
        }
        for (name, change) in self.changed {
            if self.gone.binary_search(&name).is_err() {
                name_member(members.next(), &name)?;
                put(NOTHING, Some(change), members.to)?;
            }
        }
        members.to.push('}');
        Ok(())
    }
}

fn name_member<E: Error>(to: &mut String, name: &str) -> Result<(), E> {
    to.push_str(&serde_json::to_string(name).map_err(E::custom)?);
    to.push(':');
    Ok(())
}

struct List<'a, 't> {
    keep: usize,
    /// In the order of their places.
    changed: Vec<(usize, &'a RawValue)>,
    added: Vec<&'a RawValue>,
    to: &'t mut String,
}

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut elements = Separated::new(self.to, '[');
        let mut changed = self.changed.into_iter().peekable();
        let mut at = 0;
        while let Some(value) = list.next_element::<&'de RawValue>()? {
            if at < self.keep {
                let change = changed.next_if(|(place, _)| *place == at);
                elements.next();
                put(value.get(), change.map(|(_, it)| it), elements.to)?;
            }
            at += 1;
        }
        if changed.next().is_some() {
            return Err(A::Error::custom("a change of no element"));
        }
        for value in self.added {
            elements.next().push_str(value.get());
        }
        elements.to.push(']');
        Ok(())
    }
}

/// The old value, or what its change makes of it.
fn put<E: Error>(old: &str, change: Option<&RawValue>, to: &mut String) -> Result<(), E> {
    match change {
        None => {
            to.push_str(old);
            Ok(())
        }
        Some(change) => merge(old, change.get(), to).map_err(|_| E::custom("no such change")),
    }
}

/// Elements with commas between them.
struct Separated<'t> {
    to: &'t mut String,
    first: bool,
}

impl<'t> Separated<'t> {
    fn new(to: &'t mut String, open: char) -> Self {
        to.push(open);
        Self { to, first: true }
    }

    fn next(&mut self) -> &mut String {
        if !std::mem::take(&mut self.first) {
            self.to.push(',');
        }
        self.to
    }
}

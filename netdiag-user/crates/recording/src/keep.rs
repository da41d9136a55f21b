//! One part of the scene as it was last written, kept within what a reader takes.
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::{
    limits::{self, Fault},
    patch::diff,
    scan::{scan, weigh},
};

pub struct Part<T> {
    name: &'static str,
    last: Option<T>,
    text: Value,
    size: Size,
}

/// What a part costs its reader.
#[derive(Clone, Copy, Default)]
pub struct Size {
    cost: usize,
    bytes: usize,
}

impl<T: Clone + PartialEq + Serialize> Part<T> {
    pub fn of(name: &'static str) -> Self {
        Self {
            name,
            last: None,
            text: Value::Null,
            size: Size::default(),
        }
    }

    /// As long as nothing was written of it, it is told as its difference from another one.
    pub fn begin_as(&mut self, other: &Self) {
        if self.last.is_none() {
            self.text = other.text.clone();
            self.size = other.size;
        }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// What changed since it was last written; nothing where nothing did.
    pub fn change(&mut self, now: &T) -> io::Result<Option<Box<RawValue>>> {
        if self.last.as_ref() == Some(now) {
            return Ok(None);
        }
        self.last = Some(now.clone());
        let mut text = serde_json::to_value(now)?;
        let mut found = weigh(&text, self.name);
        if found.longest > limits::longest(self.name) {
            cut(&mut text, limits::longest(self.name));
            found = weigh(&text, self.name);
        }
        let Some(patch) = diff(&self.text, &text) else {
            return Ok(None);
        };
        let mut bytes = Count(0);
        serde_json::to_writer(&mut bytes, &text)?;
        self.size = Size {
            cost: found.cost,
            bytes: bytes.0,
        };
        self.text = text;
        let patch = to_raw_value(&patch)?;
        match scan(patch.get(), self.name) {
            Ok(found) if found.cost <= limits::SCENE => Ok(Some(patch)),
            Ok(_) | Err(Fault::Misfit | Fault::Excess(_)) => Err(too_large()),
        }
    }
}

/// Whether a reader takes all of them.
pub fn fit(parts: &[Size]) -> io::Result<()> {
    let cost: usize = parts.iter().map(|part| part.cost).sum();
    let bytes: usize = parts.iter().map(|part| part.bytes).sum();
    match cost <= limits::SCENE && bytes <= limits::SCENE_TEXT {
        true => Ok(()),
        false => Err(too_large()),
    }
}

pub fn too_large() -> io::Error {
    io::Error::other("the node is too large for a recording")
}

/// Shortens what is longer than anybody should have written it; a name of that length names nothing.
fn cut(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => {
            text.truncate(text.floor_char_boundary(most));
        }
        Value::Array(elements) => elements.iter_mut().for_each(|it| cut(it, most)),
        Value::Object(members) => {
            members.retain(|name, _| name.len() <= most);
            members.values_mut().for_each(|it| cut(it, most));
        }
        _ => {}
    }
}

struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

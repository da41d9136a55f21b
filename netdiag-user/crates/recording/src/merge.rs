//! What changed of a JSON text, put into the text itself: values of a scene take ten times their
//! text, and only those that changed are ever looked into.
use std::{borrow::Cow, collections::BTreeMap};

use super::{
    limits::{self, Fault},
    pieces::{Pieces, name},
};

/// What is put where nothing was.
const NOTHING: &str = "null";
/// About what a changed member takes while its object is gone through, its name apart, and one that
/// is gone.
const CHANGED: usize = 112;
const GONE: usize = 48;

/// The text that `change`, a [`super::patch::Patch`], makes of the old one. The caller has seen that
/// neither nests deep.
pub fn merged(old: &str, change: &str) -> Result<String, Fault> {
    let most = old.len().saturating_add(change.len());
    let mut merge = Merge {
        // What is not written to takes no memory.
        to: String::with_capacity(most.min(limits::SCENE_TEXT)),
        room: limits::CHANGE,
    };
    merge.change(old, change)?;
    merge.to.shrink_to_fit();
    Ok(merge.to)
}

struct Merge {
    to: String,
    /// Bytes that may still be taken for what changes.
    room: usize,
}

impl Merge {
    fn change(&mut self, old: &str, change: &str) -> Result<(), Fault> {
        let mut kinds = Pieces::of_object(change)?;
        let (kind, body) = kinds.member()?.ok_or(Fault::Misfit)?;
        if kinds.member()?.is_some() {
            return Err(Fault::Misfit);
        }
        match &*name(kind)? {
            "new" => self.push(body),
            "object" => self.object(old, Pieces::of_list(body)?.all()?),
            "list" => self.list(old, Pieces::of_list(body)?.all()?),
            _ => Err(Fault::Misfit),
        }
    }

    fn object(&mut self, old: &str, [changed, gone]: [&str; 2]) -> Result<(), Fault> {
        let room = self.room;
        let mut changed = self.changed(changed)?;
        let gone = self.gone(gone)?;
        let mut old = Pieces::of_object(old)?;
        let mut before = "{";
        while let Some((written, value)) = old.member()? {
            let known = name(written)?;
            let change = changed.remove(&known);
            if gone.binary_search(&known).is_err() {
                self.name(&mut before, written)?;
                self.put(value, change.map(|(_, change)| change))?;
            }
        }
        for (known, (written, change)) in changed {
            if gone.binary_search(&known).is_err() {
                self.name(&mut before, written)?;
                self.put(NOTHING, Some(change))?;
            }
        }
        self.room = room;
        self.close(before, "{}")
    }

    /// What changes of an object, by the names: each as it is written, and its change.
    fn changed<'a>(
        &mut self,
        text: &'a str,
    ) -> Result<BTreeMap<Cow<'a, str>, (&'a str, &'a str)>, Fault> {
        let mut all = BTreeMap::new();
        let mut changed = Pieces::of_object(text)?;
        while let Some((written, change)) = changed.member()? {
            self.take(CHANGED + written.len())?;
            all.insert(name(written)?, (written, change));
        }
        Ok(all)
    }

    fn gone<'a>(&mut self, text: &'a str) -> Result<Vec<Cow<'a, str>>, Fault> {
        let mut all = Vec::new();
        let mut gone = Pieces::of_list(text)?;
        while let Some(written) = gone.element()? {
            self.take(GONE + written.len())?;
            all.push(name(written)?);
        }
        all.sort_unstable();
        Ok(all)
    }

    fn name(&mut self, before: &mut &str, written: &str) -> Result<(), Fault> {
        self.push(std::mem::replace(before, ","))?;
        self.push(written)?;
        self.push(":")
    }

    fn list(&mut self, old: &str, [keep, changed, added]: [&str; 3]) -> Result<(), Fault> {
        let keep: usize = keep.parse().map_err(|_| Fault::Misfit)?;
        let mut changed = Places::of(changed)?;
        let mut old = Pieces::of_list(old)?;
        let mut before = "[";
        let mut at = 0;
        while let Some(value) = old.element()?.filter(|_| at < keep) {
            self.push(std::mem::replace(&mut before, ","))?;
            let change = changed.take(at)?;
            self.put(value, change)?;
            at += 1;
        }
        if changed.next.is_some() {
            return Err(Fault::Misfit);
        }
        let mut added = Pieces::of_list(added)?;
        while let Some(value) = added.element()? {
            self.push(std::mem::replace(&mut before, ","))?;
            self.push(value)?;
        }
        self.close(before, "[]")
    }

    /// The old value, or what its change makes of it.
    fn put(&mut self, old: &str, change: Option<&str>) -> Result<(), Fault> {
        match change {
            None => self.push(old),
            Some(change) => self.change(old, change),
        }
    }

    /// Ends what holds something; what holds nothing was not even begun.
    fn close(&mut self, before: &str, brackets: &str) -> Result<(), Fault> {
        let (open, close) = brackets.split_at(1);
        if before == open {
            self.push(open)?;
        }
        self.push(close)
    }

    fn push(&mut self, text: &str) -> Result<(), Fault> {
        let length = self.to.len().saturating_add(text.len());
        Fault::above(length, limits::SCENE_TEXT, limits::TOO_LARGE)?;
        self.to.push_str(text);
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        let left = self.room.checked_sub(bytes);
        self.room = left.ok_or(Fault::Excess(
            "more changes in it at one time than netdiag writes",
        ))?;
        Ok(())
    }
}

/// A list's changes, in the order of their places.
struct Places<'a> {
    rest: Pieces<'a>,
    next: Option<(usize, &'a str)>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Result<Self, Fault> {
        let rest = Pieces::of_list(text)?;
        let mut places = Self { rest, next: None };
        places.step()?;
        Ok(places)
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.next = None;
        if let Some(pair) = self.rest.element()? {
            let [place, change] = Pieces::of_list(pair)?.all()?;
            self.next = Some((place.parse().map_err(|_| Fault::Misfit)?, change));
        }
        Ok(())
    }

    /// The change at that place.
    fn take(&mut self, at: usize) -> Result<Option<&'a str>, Fault> {
        match self.next {
            Some((place, change)) if place == at => {
                self.step()?;
                Ok(Some(change))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_their_escapes() {
        let change = r#"{"object":[{"\u0061":{"new":2},"c":{"new":3}},["b"]]}"#;
        let text = merged(r#"{"a":1, "b":1}"#, change);
        assert_eq!(text.as_deref(), Ok(r#"{"a":2,"c":3}"#));
    }

    #[test]
    fn what_changes_at_once_is_bounded() {
        let object = |count: usize| {
            let members: Vec<_> = (0..count)
                .map(|n| format!("\"{n}\":{{\"new\":0}}"))
                .collect();
            format!("{{\"object\":[{{{}}},[]]}}", members.join(","))
        };
        assert!(merged("{}", &object(1_000)).is_ok());
        let much = merged("{}", &object(limits::CHANGE / CHANGED));
        assert!(matches!(much, Err(Fault::Excess(_))), "{much:?}");
        // One object after the other takes no more than one of them.
        let some = object(20_000);
        let places: Vec<_> = (0..20).map(|n| format!("[{n},{some}]")).collect();
        let change = format!("{{\"list\":[20,[{}],[]]}}", places.join(","));
        assert!(merged(&format!("[{}{{}}]", "{},".repeat(19)), &change).is_ok());
    }
}

//! A recording's lines as they are read: only what is wanted of them is unpacked, and nothing
//! beyond its limit.
use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::limits::{self, Fault};

/// One line; what else is in it is for a later netdiag.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Line<'a> {
    #[serde(borrow)]
    pub header: Option<&'a RawValue>,
    #[serde(borrow)]
    pub scene: Option<Members<'a>>,
    #[serde(borrow)]
    pub tick: Option<Box<Reading<'a>>>,
    pub end: bool,
}

/// One reading, its lists as they stand there.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Reading<'a> {
    pub now: u64,
    #[serde(borrow)]
    pub tables: Members<'a>,
    #[serde(borrow)]
    pub counters: Option<&'a RawValue>,
    pub evicted_flows: u64,
    pub evicted_others: u64,
    pub recursion_misses: u64,
    #[serde(borrow)]
    pub symbols: Option<&'a RawValue>,
    #[serde(borrow)]
    pub links: Option<&'a RawValue>,
    #[serde(borrow)]
    pub samples: Option<&'a RawValue>,
}

/// What changed in one table.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Changes<'a> {
    #[serde(borrow)]
    pub new: Option<&'a RawValue>,
    #[serde(borrow)]
    pub rows: Option<&'a RawValue>,
    #[serde(borrow)]
    pub gone: Option<&'a RawValue>,
}

/// A [`super::entry::Sample`] as it stands in its line.
#[derive(Deserialize)]
pub struct SampleText<'a> {
    pub row: Cells<u64>,
    #[serde(borrow)]
    pub packet: Cow<'a, str>,
}

/// Unpacks what has a fixed size, or was looked through before.
pub fn plain<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|_| Fault::Misfit)
}

/// A few members of an object by their names.
#[derive(Default)]
pub struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MembersVisitor(PhantomData))
    }
}

struct MembersVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for MembersVisitor<'a> {
    type Value = Members<'a>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "an object of at most {} members", limits::MEMBERS)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(String, _)> = Vec::new();
        while let Some(member) = map.next_entry::<String, &'a RawValue>()? {
            if members.len() == limits::MEMBERS {
                return Err(A::Error::invalid_length(members.len() + 1, &self));
            }
            if members.iter().any(|(name, _)| *name == member.0) {
                return Err(A::Error::custom("a member is there twice"));
            }
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// Hands over the elements of a list one by one; the whole of it is never there.
pub fn each<'a, T: Deserialize<'a>>(
    list: Option<&'a RawValue>,
    with: impl FnMut(T) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Some(list) = list else {
        return Ok(());
    };
    let mut from = serde_json::Deserializer::from_str(list.get());
    let mut fault = None;
    let each = Each {
        with,
        fault: &mut fault,
        of: PhantomData,
    };
    let done = each.deserialize(&mut from);
    match (fault, done) {
        (Some(fault), _) => Err(fault),
        (None, Err(_)) => Err(Fault::Misfit),
        (None, Ok(())) => Ok(()),
    }
}

struct Each<'f, T, F> {
    with: F,
    /// What `with` had against an element: the parser's own errors carry no such thing.
    fault: &'f mut Option<Fault>,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), Fault>> DeserializeSeed<'de>
    for Each<'_, T, F>
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), Fault>> Visitor<'de> for Each<'_, T, F> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            if let Err(fault) = (self.with)(element) {
                *self.fault = Some(fault);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// A row of numbers, at most as many as the widest table has of columns and their gains.
pub struct Cells<T> {
    cells: [T; MOST_CELLS],
    count: usize,
}

const MOST_CELLS: usize = 1 + 2 * limits::COLUMNS;

impl<T> std::ops::Deref for Cells<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.cells[..self.count]
    }
}

impl<'de, T: Deserialize<'de> + Copy + Default> Deserialize<'de> for Cells<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(CellsVisitor(PhantomData))
    }
}

struct CellsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Copy + Default> Visitor<'de> for CellsVisitor<T> {
    type Value = Cells<T>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "at most {MOST_CELLS} numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut row = Cells {
            cells: [T::default(); MOST_CELLS],
            count: 0,
        };
        while let Some(cell) = list.next_element()? {
            let to = row.cells.get_mut(row.count);
            *to.ok_or_else(|| A::Error::invalid_length(row.count + 1, &self))? = cell;
            row.count += 1;
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn lists_come_one_by_one_and_end_at_a_fault() {
        let mut seen = Vec::new();
        let stop = Fault::Excess("enough");
        let mut take = |n: u64| {
            seen.push(n);
            if seen.len() == 3 { Err(stop) } else { Ok(()) }
        };
        assert_eq!(each(Some(raw("[1, 2]")), &mut take), Ok(()));
        assert_eq!(each(Some(raw("[3, 4]")), &mut take), Err(stop));
        assert_eq!(each(Some(raw("[[]]")), &mut take), Err(Fault::Misfit));
        assert_eq!(each(Some(raw("7")), &mut take), Err(Fault::Misfit));
        assert_eq!(each(None, &mut take), Ok(()));
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn a_row_has_as_many_cells_as_there_are_columns() {
        let row = |n: usize| format!("[{}]", vec!["-1"; n].join(","));
        let whole = row(MOST_CELLS);
        let cells: Cells<i64> = plain(&whole).expect("a row");
        assert_eq!(cells.len(), MOST_CELLS);
        assert!(plain::<Cells<i64>>(&row(MOST_CELLS + 1)).is_err());
    }

    #[test]
    fn objects_have_few_members() {
        let object = |n: usize| {
            let members: Vec<_> = (0..n).map(|n| format!("\"{n}\":[]")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(
            plain::<Members<'_>>(r#"{"a":1,"\u0061":2}"#).is_err(),
            "one of them twice"
        );
        let most = object(limits::MEMBERS);
        assert_eq!(plain::<Members<'_>>(&most).expect("few").0.len(), 64);
        assert!(plain::<Members<'_>>(&object(limits::MEMBERS + 1)).is_err());
    }
}

//! A table as what came, changed and went since the reading before.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry as MapEntry},
    hash::Hash,
};

use serde::Serialize;

use super::{
    cells::{Cells, columns},
    limits::{self, Fault},
    lines::{self, each},
};

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    /// Keys of new rows. A row's number is how many came before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub new: Vec<Vec<u64>>,
    /// A row's number, then pairs of a column and what it gained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Vec<i64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<u64>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.rows.is_empty() && self.gone.is_empty()
    }
}

/// The rows as they were last written.
pub struct Written<K> {
    rows: HashMap<K, (u64, Vec<u64>)>,
    next: u64,
}

impl<K> Default for Written<K> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            next: 0,
        }
    }
}

impl<K: Cells + Copy + Eq + Hash> Written<K> {
    /// What changed; `rows` are brought into the order in which they came, as a reader has them.
    pub fn changes<V: Cells>(&mut self, rows: &mut Vec<(K, V)>) -> Changes {
        let mut changes = Changes::default();
        for (key, _) in rows.iter() {
            if let MapEntry::Vacant(vacant) = self.rows.entry(*key) {
                let mut cells = Vec::new();
                key.put(&mut cells);
                changes.new.push(cells);
                vacant.insert((self.next, Vec::new()));
                self.next += 1;
            }
        }
        rows.sort_by_cached_key(|(key, _)| self.rows.get(key).map(|(number, _)| *number));
        // A table that changes while it is read can show a row twice.
        rows.dedup_by_key(|(key, _)| *key);
        let mut present = Vec::new();
        for (key, value) in rows.iter() {
            if let Some((number, before)) = self.rows.get_mut(key) {
                present.push(*number);
                changes.rows.extend(gains(*number, before, value));
            }
        }
        self.rows.retain(|_, (number, _)| {
            let stays = present.binary_search(number).is_ok();
            if !stays {
                changes.gone.push(*number);
            }
            stays
        });
        changes.gone.sort_unstable();
        changes
    }
}

fn gains(number: u64, before: &mut Vec<u64>, value: &impl Cells) -> Option<Vec<i64>> {
    let mut now = Vec::new();
    value.put(&mut now);
    before.resize(now.len(), 0);
    let mut row = vec![number.cast_signed()];
    for (column, (old, new)) in (0..).zip(before.iter().zip(&now)) {
        if old != new {
            row.extend([column, new.wrapping_sub(*old).cast_signed()]);
        }
    }
    *before = now;
    (row.len() > 1).then_some(row)
}

/// The rows as they are read.
pub struct Read<K, V> {
    /// For each of our key's columns where it stands in the file, if it does.
    key: Vec<Option<usize>>,
    /// For each of the file's columns of values which one of ours it is, if it is one.
    value: Vec<Option<usize>>,
    /// How many columns our values have.
    width: usize,
    rows: BTreeMap<u64, Row<K, V>>,
    next: u64,
    most: usize,
}

/// Most rows stay what they are from one reading to the next: each is made once.
struct Row<K, V> {
    key: K,
    /// In our order; none as long as all are zero.
    cells: Box<[u64]>,
    value: V,
}

impl<K, V> Default for Read<K, V> {
    fn default() -> Self {
        Self {
            key: Vec::new(),
            value: Vec::new(),
            width: 0,
            rows: BTreeMap::new(),
            next: 0,
            most: 0,
        }
    }
}

/// Where each of our columns stands among the file's.
pub fn places(ours: &[String], theirs: &[String]) -> Result<Vec<Option<usize>>, Fault> {
    Fault::above(
        theirs.len(),
        limits::COLUMNS,
        "a table in it has more columns than netdiag writes",
    )?;
    let names: BTreeSet<&String> = theirs.iter().collect();
    if names.len() < theirs.len() {
        return Err(Fault::Excess("a table in it has one column twice"));
    }
    let place = |name| theirs.iter().position(|their| their == name);
    Ok(ours.iter().map(place).collect())
}

/// A row's cells in our order.
pub fn ordered<'a>(
    row: &'a [u64],
    places: &'a [Option<usize>],
) -> impl Iterator<Item = u64> + use<'a> {
    let cell = |place: &Option<usize>| place.and_then(|at| row.get(at)).copied().unwrap_or(0);
    places.iter().map(cell)
}

impl<K: Cells + Copy, V: Cells + Copy> Read<K, V> {
    pub fn new((key, value): &(Vec<String>, Vec<String>), most: usize) -> Result<Self, Fault> {
        let ours = columns::<V>();
        // Both ways: a change names the file's column.
        let mut of_theirs = vec![None; value.len()];
        for (our, their) in places(&ours, value)?.into_iter().enumerate() {
            if let Some(their) = their {
                of_theirs[their] = Some(our);
            }
        }
        Ok(Self {
            key: places(&columns::<K>(), key)?,
            value: of_theirs,
            width: ours.len(),
            most,
            ..Self::default()
        })
    }

    pub fn apply(&mut self, changes: &lines::Changes<'_>) -> Result<(), Fault> {
        // First, because all rows of a full table may be others than before.
        each(changes.gone, |number: u64| {
            self.rows.remove(&number).map(drop).ok_or(Fault::Misfit)
        })?;
        each(changes.new, |key: lines::Cells<u64>| self.enter(&key))?;
        let mut changed = 0;
        let most = self.rows.len();
        each(changes.rows, |row: lines::Cells<i64>| {
            self.change(&row)?;
            changed += 1;
            Fault::above(changed, most, "a row in it changes twice at one time")
        })
    }

    fn enter(&mut self, key: &[u64]) -> Result<(), Fault> {
        Fault::above(
            self.rows.len() + 1,
            self.most,
            "a table in it has more rows than the kernel's ever has",
        )?;
        let row = Row {
            key: K::take(&mut ordered(key, &self.key)),
            cells: Box::default(),
            value: V::take(&mut std::iter::empty()),
        };
        self.rows.insert(self.next, row);
        self.next += 1;
        Ok(())
    }

    fn change(&mut self, row: &[i64]) -> Result<(), Fault> {
        let (number, pairs) = row.split_first().ok_or(Fault::Misfit)?;
        let row = self.rows.get_mut(&number.cast_unsigned());
        let row = row.ok_or(Fault::Misfit)?;
        if row.cells.is_empty() {
            row.cells = vec![0; self.width].into();
        }
        for pair in pairs.chunks_exact(2) {
            let column = usize::try_from(pair[0]).map_err(|_| Fault::Misfit)?;
            let our = self.value.get(column).ok_or(Fault::Misfit)?;
            if let Some(cell) = our.and_then(|our| row.cells.get_mut(our)) {
                *cell = cell.wrapping_add(pair[1].cast_unsigned());
            }
        }
        row.value = V::take(&mut row.cells.iter().copied());
        Ok(())
    }

    pub fn rows(&self) -> Vec<(K, V)> {
        self.rows.values().map(|row| (row.key, row.value)).collect()
    }
}

//! A table as what came, changed and went since the reading before.
use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry as MapEntry},
    hash::Hash,
};

use serde::{Deserialize, Serialize};

use super::{cells::Cells, patch::Misfit};

/// Rows of one table at most: the largest of the kernel's has 24,576.
const MOST_ROWS: usize = 65_536;
/// Columns of a table at most: the widest has 24.
const MOST_COLUMNS: usize = 96;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
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

/// The rows as they are read: for each of our columns where it stands in the file, if it does.
pub struct Read<K, V> {
    key: Vec<Option<usize>>,
    value: Vec<Option<usize>>,
    width: usize,
    rows: BTreeMap<u64, Row<K, V>>,
    next: u64,
}

/// Most rows stay what they are from one reading to the next: each is made once.
struct Row<K, V> {
    key: K,
    cells: Vec<u64>,
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
        }
    }
}

/// Where each of our columns stands among the file's.
pub fn places(ours: &[String], theirs: &[String]) -> Vec<Option<usize>> {
    let place = |name| theirs.iter().position(|their| their == name);
    ours.iter().map(place).collect()
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
    pub fn new((key, value): &(Vec<String>, Vec<String>)) -> Self {
        Self {
            key: places(&super::cells::columns::<K>(), key),
            value: places(&super::cells::columns::<V>(), value),
            width: value.len().min(MOST_COLUMNS),
            ..Self::default()
        }
    }

    pub fn apply(&mut self, changes: &Changes) -> Result<(), Misfit> {
        for key in &changes.new {
            let row = Row {
                key: K::take(&mut ordered(key, &self.key)),
                cells: Vec::new(),
                value: V::take(&mut std::iter::empty()),
            };
            self.rows.insert(self.next, row);
            self.next += 1;
        }
        for row in &changes.rows {
            let (number, pairs) = row.split_first().ok_or(Misfit)?;
            let row = self.rows.get_mut(&number.cast_unsigned()).ok_or(Misfit)?;
            for pair in pairs.chunks_exact(2) {
                gain(&mut row.cells, self.width, pair[0], pair[1]).ok_or(Misfit)?;
            }
            row.value = V::take(&mut ordered(&row.cells, &self.value));
        }
        for number in &changes.gone {
            self.rows.remove(number).ok_or(Misfit)?;
        }
        if self.rows.len() > MOST_ROWS {
            return Err(Misfit);
        }
        Ok(())
    }

    pub fn rows(&self) -> Vec<(K, V)> {
        self.rows.values().map(|row| (row.key, row.value)).collect()
    }
}

fn gain(cells: &mut Vec<u64>, width: usize, column: i64, gain: i64) -> Option<()> {
    let column = usize::try_from(column).ok().filter(|c| *c < width)?;
    if cells.is_empty() {
        cells.resize(width, 0);
    }
    let cell = cells.get_mut(column)?;
    *cell = cell.wrapping_add(gain.cast_unsigned());
    Some(())
}

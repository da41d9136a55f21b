//! Medians, and how far values lie apart.
use serde_json::{Value, json};

use super::lines::number;

/// The middle, and the range that the middle half of the values lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    pub count: usize,
}

impl Spread {
    /// Nothing where there is no number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<_> = values.into_iter().filter(|it| it.is_finite()).collect();
        all.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&all, 0.5)?,
            low: quantile(&all, 0.25)?,
            high: quantile(&all, 0.75)?,
            count: all.len(),
        })
    }

    pub fn json(self) -> Value {
        json!({ "median": self.median, "low": self.low, "high": self.high, "count": self.count })
    }

    /// Of what [`Self::json`] wrote.
    pub fn read(value: &Value) -> Option<Self> {
        Some(Self {
            median: number(value, "median")?,
            low: number(value, "low")?,
            high: number(value, "high")?,
            count: number(value, "count")? as usize,
        })
    }

    pub fn at(document: &Value, path: &str) -> Option<Self> {
        Self::read(document.pointer(&format!("/{path}"))?)
    }

    pub fn map(self, change: impl Fn(f64) -> f64) -> Self {
        let (one, other) = (change(self.low), change(self.high));
        Self {
            median: change(self.median),
            low: one.min(other),
            high: one.max(other),
            count: self.count,
        }
    }
}

/// Between two values it lies in proportion.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    let (low, high) = (sorted.get(low)?, sorted.get(high)?);
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        let of = |values: &[f64]| spread(values).map(|it| (it.low, it.median, it.high));
        assert_eq!(of(&[4.0, 1.0, 2.0]), Some((1.5, 2.0, 3.0)));
        assert_eq!(of(&[1.0, 3.0]), Some((1.5, 2.0, 2.5)));
        assert_eq!(of(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[f64::NAN, f64::INFINITY]), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let spread = Spread::of([1.0, 2.0, 4.0]).expect("three numbers");
        assert_eq!(Spread::read(&spread.json()), Some(spread));
        let turned = spread.map(|it| -it);
        assert_eq!((turned.low, turned.high), (-3.0, -1.5));
    }
}

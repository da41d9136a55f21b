//! Which scenario was named what: the confusion matrix. It should be a diagonal.
use std::collections::BTreeMap;

/// The row of every run without a fault.
const HEALTHY: &str = "without a fault";

/// Counts of runs by what was injected and what was named.
#[derive(Default)]
pub struct Matrix {
    /// Rows in the order of their first run, each with its runs by cause; `None`: nothing named.
    rows: Vec<(String, BTreeMap<Option<String>, usize>)>,
}

impl Matrix {
    pub fn add(&mut self, scenario: &str, fault: bool, named: &[&str]) {
        let title = if fault { scenario } else { HEALTHY };
        let at = self.rows.iter().position(|(t, _)| t == title);
        let at = at.unwrap_or_else(|| {
            self.rows.push((title.to_owned(), BTreeMap::new()));
            self.rows.len() - 1
        });
        let row = &mut self.rows[at].1;
        for cause in named {
            *row.entry(Some((*cause).to_owned())).or_default() += 1;
        }
        if named.is_empty() {
            *row.entry(None).or_default() += 1;
        }
    }

    /// Rows and columns carry the same numbers, so that what is right lies on the diagonal.
    pub fn text(&self) -> String {
        let columns = self.columns();
        let wide = self.rows.iter().map(|(title, _)| title.len()).max();
        let wide = wide.unwrap_or(0);
        let number = |n: usize| format!("{n:>3}");
        let heads: String = (1..=columns.len()).map(number).collect();
        let mut text = format!("{:>3} {:wide$}{heads} none", "", "NAMED");
        for (title, row) in &self.rows {
            let cell = |cause: &Option<String>| match row.get(cause) {
                Some(runs) => format!("{runs:>3}"),
                None => "  ·".to_owned(),
            };
            let cells: String = columns.iter().map(|c| cell(&Some(c.clone()))).collect();
            let place = columns.iter().position(|c| c == title);
            let place = place.map_or(String::new(), |at| (at + 1).to_string());
            text.push_str(&format!(
                "\n{place:>3} {title:wide$}{cells} {:>4}",
                cell(&None)
            ));
        }
        for (n, cause) in columns.iter().enumerate() {
            if !self.rows.iter().any(|(title, _)| title == cause) {
                text.push_str(&format!("\n{:>3} {cause}", n + 1));
            }
        }
        text
    }

    /// The rows' own causes first, in their order, then whatever else was named.
    fn columns(&self) -> Vec<String> {
        let named = |cause: &String| {
            let of = |row: &BTreeMap<Option<String>, usize>| row.contains_key(&Some(cause.clone()));
            self.rows.iter().any(|(_, row)| of(row))
        };
        let titles = self.rows.iter().map(|(title, _)| title);
        let mut columns: Vec<String> = titles.filter(|t| named(t)).cloned().collect();
        let all = self.rows.iter().flat_map(|(_, row)| row.keys().flatten());
        for cause in all {
            if !columns.contains(cause) {
                columns.push(cause.clone());
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_lies_on_the_diagonal() {
        let mut matrix = Matrix::default();
        matrix.add("healthy", false, &[]);
        matrix.add("b-cause", true, &["b-cause"]);
        matrix.add("a-cause", true, &["a-cause"]);
        matrix.add("a-cause", true, &["a-cause", "c-cause"]);
        matrix.add("a-cause", false, &[]);
        let lines = [
            "    NAMED            1  2  3 none",
            "    without a fault  ·  ·  ·    2",
            "  1 b-cause          1  ·  ·    ·",
            "  2 a-cause          ·  2  1    ·",
            "  3 c-cause",
        ];
        assert_eq!(matrix.text(), lines.join("\n"));
    }
}

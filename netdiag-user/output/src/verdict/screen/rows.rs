//! Which rows there is room for.
use anstream::adapter::strip_str;

/// Lines that are shown together or not at all.
#[derive(Clone, Debug)]
pub struct Row {
    /// The lower, the sooner it is shown.
    worth: u8,
    text: String,
    /// One line that stands there where it has no room.
    otherwise: Option<String>,
}

impl Row {
    pub const fn new(worth: u8, text: String) -> Self {
        let otherwise = None;
        Self {
            worth,
            text,
            otherwise,
        }
    }

    pub fn or(worth: u8, text: String, otherwise: String) -> Self {
        let otherwise = Some(otherwise);
        Self {
            otherwise,
            ..Self::new(worth, text)
        }
    }

    /// Lines of a terminal, which breaks what is longer than its own.
    fn lines(&self, width: usize) -> usize {
        let plain = strip_str(&self.text).to_string();
        let long = |line: &str| line.chars().count().max(1).div_ceil(width.max(1));
        plain.lines().map(long).sum()
    }
}

/// The rows that fit into so many lines, in their order; those that must be shown are, whatever they
/// take.
pub fn fitted(rows: Vec<Row>, most: usize, width: usize) -> String {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|n| (rows[*n].worth, *n));
    let mut room = most;
    let mut shown: Vec<&str> = vec![""; rows.len()];
    for n in order {
        let row = &rows[n];
        let lines = row.lines(width);
        let (text, lines) = match (&row.otherwise, row.worth == 0 || lines <= room) {
            (_, true) => (row.text.as_str(), lines),
            (Some(otherwise), false) => (otherwise.as_str(), 1),
            (None, false) => continue,
        };
        shown[n] = text;
        room = room.saturating_sub(lines);
    }
    shown.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_most_is_shown_where_it_stands() {
        let row = |worth, text: &str| Row::new(worth, format!("{text}\n"));
        let rows = vec![
            row(7, "space"),
            row(0, "root"),
            row(2, "way"),
            row(1, "fix"),
        ];
        assert_eq!(fitted(rows.clone(), 3, 80), "root\nway\nfix\n");
        assert_eq!(fitted(rows.clone(), 2, 80), "root\nfix\n");
        assert_eq!(fitted(rows, 0, 80), "root\n");
    }

    #[test]
    fn a_line_that_the_terminal_breaks_takes_two() {
        let row = |worth, text: &str| Row::new(worth, format!("{text}\n"));
        let rows = vec![row(0, "root"), row(1, "0123456789a"), row(2, "way")];
        assert_eq!(fitted(rows, 2, 10), "root\nway\n");
    }
}

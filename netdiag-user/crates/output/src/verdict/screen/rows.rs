//! Which rows there is room for, and in which form.
use anstream::adapter::strip_str;

use crate::model::text;

/// Lines that are shown together or not at all.
#[derive(Clone, Debug)]
pub struct Row {
    /// The lower, the sooner it is shown.
    worth: u8,
    /// The same, the shortest first.
    forms: Vec<String>,
    /// Its longer form can wait for those of all others.
    patient: bool,
}

impl Row {
    pub fn new(worth: u8, text: String) -> Self {
        Self {
            worth,
            forms: vec![text],
            patient: false,
        }
    }

    /// Shown in full where there is room when all else has its own.
    pub fn or(worth: u8, short: String, full: String) -> Self {
        let mut row = Self::new(worth, short);
        if row.forms[0] != full {
            row.forms.push(full);
        }
        row
    }

    pub fn patient(self) -> Self {
        Self {
            patient: true,
            ..self
        }
    }

    /// The longest form that takes no more lines than that.
    fn within(&self, lines: usize, width: usize) -> Option<usize> {
        let mut forms = (0..self.forms.len()).rev();
        forms.find(|n| taken(&self.forms[*n], width) <= lines)
    }
}

/// Lines of a terminal, which breaks what is longer than its own.
fn taken(text: &str, width: usize) -> usize {
    let plain = strip_str(text).to_string();
    let long = |line: &str| text::width(line).max(1).div_ceil(width.max(1));
    plain.lines().map(long).sum()
}

/// What fits into so many lines, in its order; what must be shown is, whatever it takes. Each row is
/// given its shortest form before any has more.
pub fn fitted(rows: &[Row], most: usize, width: usize) -> String {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|n| (rows[*n].worth, *n));
    let mut room = most;
    let mut shown: Vec<Option<usize>> = vec![None; rows.len()];
    for n in &order {
        let lines = taken(&rows[*n].forms[0], width);
        if rows[*n].worth == 0 || lines <= room {
            shown[*n] = Some(0);
            room = room.saturating_sub(lines);
        }
    }
    order.sort_by_key(|n| (rows[*n].patient, rows[*n].worth, *n));
    for n in order {
        let row = &rows[n];
        let Some(now) = shown[n] else { continue };
        let lines = taken(&row.forms[now], width);
        if let Some(form) = row.within(lines + room, width) {
            room = (room + lines).saturating_sub(taken(&row.forms[form], width));
            shown[n] = Some(form.max(now));
        }
    }
    let text = |(row, form): (&Row, Option<usize>)| form.map(|n| row.forms[n].clone());
    let shown = rows.iter().zip(shown).filter_map(text);
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(worth: u8, text: &str) -> Row {
        Row::new(worth, format!("{text}\n"))
    }

    #[test]
    fn what_is_worth_most_is_shown_where_it_stands() {
        let rows = [
            row(7, "space"),
            row(0, "root"),
            row(2, "way"),
            row(1, "fix"),
        ];
        assert_eq!(fitted(&rows, 3, 80), "root\nway\nfix\n");
        assert_eq!(fitted(&rows, 2, 80), "root\nfix\n");
        assert_eq!(fitted(&rows, 0, 80), "root\n");
    }

    #[test]
    fn a_line_that_the_terminal_breaks_takes_two() {
        let rows = [row(0, "root"), row(1, "0123456789a"), row(2, "way")];
        assert_eq!(fitted(&rows, 2, 10), "root\nway\n");
    }

    #[test]
    fn all_are_shown_before_one_is_shown_in_full() {
        let long = Row::or(1, "short\n".into(), "a\nb\nc\n".into());
        let rows = [row(0, "root"), long, row(2, "way")];
        assert_eq!(fitted(&rows, 3, 80), "root\nshort\nway\n");
        assert_eq!(fitted(&rows, 5, 80), "root\na\nb\nc\nway\n");
        assert_eq!(fitted(&rows, 1, 80), "root\n");
        let first = Row::or(1, "one\n".into(), "1\n2\n".into()).patient();
        let second = Row::or(2, "two\n".into(), "3\n4\n".into());
        assert_eq!(fitted(&[first, second], 3, 80), "one\n3\n4\n");
    }
}

//! Numbers in at most six characters.
use netdiag_lang::t;

/// `0`, `0.4`, `12`, `1.2k`, `34M`.
pub fn figure(number: f64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    // No counter holds more.
    let mut rest = number.clamp(0.0, 999e18);
    if rest == 0.0 {
        return "0".into();
    }
    let mut unit = 0;
    // What would be shown as a thousand is one of the next unit.
    while rest >= 999.5 && unit + 1 < UNITS.len() {
        rest /= 1000.0;
        unit += 1;
    }
    let name = UNITS[unit];
    match rest {
        0.95.. if rest >= 9.95 => format!("{rest:.0}{name}"),
        0.05.. => {
            let text = format!("{rest:.1}");
            format!("{}{name}", text.strip_suffix(".0").unwrap_or(&text))
        }
        _ => "<0.1".into(),
    }
}

/// A count, with all of its digits where there is room for them.
pub fn count(number: f64) -> String {
    match number < 99_999.5 {
        true => format!("{number:.0}"),
        false => figure(number),
    }
}

/// `now`, `12 s`, `3 min`, `2 h`.
pub fn age(seconds: f64) -> String {
    match seconds {
        ..1.5 => t!("now").into(),
        ..99.5 => t!("{seconds:.0} s"),
        ..5_970.0 => t!("{:.0} min", seconds / 60.0),
        _ => t!("{:.0} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let all = [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.4, "0.4"),
            (1.0, "1"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1k"),
            (1234.0, "1.2k"),
            (300_000.0, "300k"),
            (1e30, "999E"),
        ];
        for (number, text) in all {
            assert_eq!(figure(number), text);
        }
        assert_eq!(count(12345.0), "12345");
        assert_eq!(count(123_456.0), "123k");
    }

    #[test]
    fn ages_are_of_people() {
        let all = [0.2, 1.6, 99.0, 120.0, 7200.0].map(age);
        assert_eq!(all, ["now", "2 s", "99 s", "2 min", "2 h"]);
    }
}

//! A trend in one line: the newest reading stands right, and the tallest stroke is the most there was.
use super::Ink;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// Of the last `room` numbers; nothing is a space.
pub fn trend(ink: &Ink, numbers: &[f64], room: usize) -> String {
    let first = numbers.len().saturating_sub(room);
    let shown = &numbers[first..];
    let most = shown.iter().copied().fold(0.0, f64::max);
    let bars = if ink.ascii.is_some() { ASCII } else { BARS };
    let bar = |number: &f64| match *number > 0.0 && most > 0.0 {
        true => {
            let part = (number / most * BARS.len() as f64).ceil();
            // At most eight, at least one.
            let n = (1..BARS.len()).rfind(|n| part > *n as f64);
            bars[n.unwrap_or_default()]
        }
        false => ' ',
    };
    let drawn: String = shown.iter().map(bar).collect();
    format!("{drawn:>room$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_the_tallest() {
        let ink = Ink {
            colour: false,
            ascii: None,
        };
        assert_eq!(trend(&ink, &[0.0, 1.0, 4.0, 8.0], 6), "   ▁▄█");
        assert_eq!(trend(&ink, &[9.0, 0.0, 0.0], 2), "  ");
        let ascii = Ink {
            ascii: Some(str::to_owned),
            ..ink
        };
        assert_eq!(trend(&ascii, &[1.0, 8.0], 2), "_#");
    }
}

//! What `tmux capture-pane -e` prints: text, and the colours and weights that change in it
//! (ECMA-48, Select Graphic Rendition).

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Of the eight that every terminal has.
    pub colour: Option<u8>,
    pub bold: bool,
    pub dim: bool,
    pub inverse: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub text: String,
    pub style: Style,
}

/// Lines of runs of one style, without the empty lines at the end; a style goes on in the next line.
pub fn lines(screen: &str) -> Vec<Vec<Run>> {
    let mut style = Style::default();
    let line = |line: &str| runs(line, &mut style);
    screen.trim_end().lines().map(line).collect()
}

fn runs(line: &str, style: &mut Style) -> Vec<Run> {
    let mut runs = Vec::new();
    for (n, part) in line.split("\x1b[").enumerate() {
        let text = match part.split_once('m') {
            Some((codes, text)) if n > 0 => {
                style.select(codes);
                text
            }
            _ => part,
        };
        if !text.is_empty() {
            let (text, style) = (text.to_owned(), *style);
            runs.push(Run { text, style });
        }
    }
    runs
}

impl Style {
    fn select(&mut self, codes: &str) {
        let mut codes = codes.split(';').map(|code| code.parse().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                7 => self.inverse = true,
                22 => (self.bold, self.dim) = (false, false),
                27 => self.inverse = false,
                30..=37 => self.colour = Some(code - 30),
                90..=97 => self.colour = Some(code - 90),
                // One of 256 by its number, of which the first are the same sixteen.
                38 => self.colour = codes.nth(1).filter(|it| *it < 16).map(|it| it % 8),
                39 => self.colour = None,
                // netdiag sets no background but by inversion.
                48 => _ = codes.nth(1),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_goes_on_until_it_is_changed() {
        let read = lines("a\x1b[1m\x1b[38;5;9mb\nc\x1b[0;7md\x1b[48;5;2;2me\x1b[m\n\n");
        let texts: Vec<Vec<&str>> = read
            .iter()
            .map(|line| line.iter().map(|run| run.text.as_str()).collect())
            .collect();
        assert_eq!(texts, [vec!["a", "b"], vec!["c", "d", "e"]]);
        let red = Style {
            colour: Some(1),
            bold: true,
            ..Style::default()
        };
        assert_eq!(read[0][0].style, Style::default());
        assert_eq!(read[0][1].style, red);
        assert_eq!(read[1][0].style, red);
        assert!(read[1][1].style.inverse && read[1][1].style.colour.is_none());
        assert!(read[1][2].style.dim && read[1][2].style.inverse);
    }
}

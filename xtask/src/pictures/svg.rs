//! A terminal's screen as SVG: text that can be selected and searched, in the colours of a light or
//! a dark page.
use super::ansi::{Run, Style};

/// Of a character of 14 pixels.
const CELL: f64 = 8.4;
const LINE: usize = 18;
const MARGIN: usize = 10;
const COLUMNS: usize = 80;

type Rgb = [u8; 3];

struct Theme {
    page: Rgb,
    text: Rgb,
    /// Grey, red, green, yellow, blue, magenta, cyan.
    colours: [Rgb; 7],
}

const LIGHT: Theme = Theme {
    page: [0xf6, 0xf8, 0xfa],
    text: [0x1f, 0x23, 0x28],
    colours: [
        [0x59, 0x63, 0x6e],
        [0xcf, 0x22, 0x2e],
        [0x11, 0x63, 0x29],
        [0x7d, 0x4e, 0x00],
        [0x09, 0x69, 0xda],
        [0x82, 0x50, 0xdf],
        [0x0a, 0x6f, 0x77],
    ],
};

const DARK: Theme = Theme {
    page: [0x0d, 0x11, 0x17],
    text: [0xe6, 0xed, 0xf3],
    colours: [
        [0x91, 0x98, 0xa1],
        [0xff, 0x7b, 0x72],
        [0x7e, 0xe7, 0x87],
        [0xe3, 0xb3, 0x41],
        [0x79, 0xc0, 0xff],
        [0xd2, 0xa8, 0xff],
        [0x76, 0xe3, 0xea],
    ],
};

/// What is dim is read all the same.
const DIM: f64 = 0.7;

pub fn draw(lines: &[Vec<Run>], title: &str) -> String {
    let width = (COLUMNS as f64 * CELL) as usize + 2 * MARGIN;
    let height = lines.len() * LINE + 2 * MARGIN;
    let body: String = lines
        .iter()
        .enumerate()
        .map(|(n, line)| draw_line(line, MARGIN + n * LINE))
        .collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n\
         <style>\ntext{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;\
         white-space:pre}}\n.bold{{font-weight:bold}}\n.dim{{fill-opacity:{DIM}}}\n{}\n\
         @media(prefers-color-scheme:dark){{\n{}}}\n</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n{body}</svg>\n",
        escaped(title),
        LIGHT.style(),
        DARK.style(),
    )
}

fn draw_line(line: &[Run], top: usize) -> String {
    let mut column = 0;
    let mut drawn = String::new();
    for Run { text, style } in line {
        // Boxes, blocks and arrows are all that is not ASCII: each takes one.
        let cells = text.chars().count();
        let (x, width) = (MARGIN as f64 + column as f64 * CELL, cells as f64 * CELL);
        column += cells;
        if style.inverse {
            drawn += &format!(
                "<rect class=\"{}\" x=\"{x:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{LINE}\"/>\n",
                ink(*style)
            );
        }
        if text.trim().is_empty() {
            continue;
        }
        // The width makes columns stand below each other in any font.
        drawn += &format!(
            "<text class=\"{}\" x=\"{x:.1}\" y=\"{}\" textLength=\"{width:.1}\" \
             xml:space=\"preserve\">{}</text>\n",
            classes(*style),
            top + LINE - 5,
            escaped(text)
        );
    }
    drawn
}

fn ink(style: Style) -> String {
    match style.colour {
        Some(colour @ 0..7) => format!("c{colour}"),
        _ => "text".to_owned(),
    }
}

fn classes(style: Style) -> String {
    let ink = match style.inverse {
        true => "page".to_owned(),
        false => ink(style),
    };
    let bold = if style.bold { " bold" } else { "" };
    let dim = if style.dim { " dim" } else { "" };
    format!("{ink}{bold}{dim}")
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

impl Theme {
    fn style(&self) -> String {
        let rule = |name: &str, [red, green, blue]: Rgb| {
            format!(".{name}{{fill:#{red:02x}{green:02x}{blue:02x}}}")
        };
        let colours = self.colours.iter().enumerate();
        let colours: String = colours.map(|(n, it)| rule(&format!("c{n}"), *it)).collect();
        rule("page", self.page) + &rule("text", self.text) + &colours
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::ansi::lines;

    #[test]
    fn text_stays_text_in_its_place_and_colour() {
        let drawn = draw(
            &lines("ab\x1b[1;31mCRITICAL\x1b[0m a<b\n\x1b[7m x"),
            "A & B",
        );
        let critical = "<text class=\"c1 bold\" x=\"26.8\" y=\"23\" textLength=\"67.2\" \
                        xml:space=\"preserve\">CRITICAL</text>";
        for part in [
            critical,
            " a&lt;b<",
            "<title>A &amp; B</title>",
            "<rect class=\"text\" x=\"10.0\" y=\"28\" width=\"16.8\"",
            "<text class=\"page\" ",
            "prefers-color-scheme:dark",
        ] {
            assert!(drawn.contains(part), "{part}:\n{drawn}");
        }
        for foreign in ["<script", "@import", "@font-face", "url(", "href"] {
            assert!(!drawn.contains(foreign), "{foreign}");
        }
    }

    /// As WCAG 2 counts it.
    fn luminance(colour: Rgb) -> f64 {
        let [red, green, blue] = colour.map(|channel| match f64::from(channel) / 255.0 {
            low if low <= 0.03928 => low / 12.92,
            high => ((high + 0.055) / 1.055).powf(2.4),
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    fn contrast(one: Rgb, other: Rgb) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn every_colour_can_be_read() {
        for theme in [LIGHT, DARK] {
            let mix = |n: usize| {
                let (text, page) = (f64::from(theme.text[n]), f64::from(theme.page[n]));
                (text * DIM + page * (1.0 - DIM)) as u8
            };
            let dim = [mix(0), mix(1), mix(2)];
            for colour in theme.colours.iter().chain([&theme.text, &dim]) {
                let contrast = contrast(*colour, theme.page);
                assert!(contrast >= 4.5, "{colour:02x?}: {contrast}");
            }
        }
    }
}

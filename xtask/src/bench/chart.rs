//! The ratios to nothing as an SVG that goes with a light and a dark page.
use serde_json::Value;

use super::lines::{EMPTY, NETDIAG, STORM, TCP, UDP};
use super::markdown::names;
use super::stats::Spread;

const GROUPS: [(&str, &str); 3] = [
    (UDP, "64-byte UDP, packets a second"),
    (TCP, "TCP bulk, bytes a second"),
    (STORM, "drop storm, packets a second"),
];

const WIDTH: f64 = 760.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 14.0;
const ROW: f64 = 20.0;
const TITLE: f64 = 30.0;
/// A machine that is busy shows more than one.
const MOST: f64 = 1.2;

/// Colours by class alone, so that the page's own preference chooses them.
const STYLE: &str = "\
text{font:12px sans-serif;fill:#1f2328}.title{font-weight:bold}.axis{stroke:#8c959f}\
.spread{stroke:#1f2328;stroke-width:1.5}.netdiag{fill:#0969da}.empty{fill:#8c959f}.other{fill:#bf8700}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.axis{stroke:#6e7681}.spread{stroke:#e6edf3}\
.netdiag{fill:#4493f8}.empty{fill:#6e7681}.other{fill:#d29922}}";

pub fn svg(document: &Value) -> String {
    let names = names(document);
    let group = TITLE + ROW * names.len() as f64 + 10.0;
    let height = group * GROUPS.len() as f64 + 20.0;
    let mut body = String::new();
    for (number, (load, title)) in GROUPS.iter().enumerate() {
        let top = group * number as f64;
        body += &text(LEFT, top + 20.0, "title", "start", title);
        for (row, name) in names.iter().enumerate() {
            let ratio = Spread::at(document, &format!("attached/{name}/{load}/rate"));
            body += &bar(name, ratio, top + TITLE + ROW * row as f64);
        }
        body += &line("axis", x(1.0), top + TITLE - 4.0, x(1.0), top + group - 8.0);
    }
    body += &text(x(1.0), height - 8.0, "", "middle", "1 = nothing attached");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>Throughput with something attached, nothing attached being 1</title>\n\
         <style>{STYLE}</style>\n{body}</svg>\n"
    )
}

fn x(ratio: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * ratio.clamp(0.0, MOST) / MOST
}

/// With the middle half as a line over its end, and the median beside it.
fn bar(name: &str, ratio: Option<Spread>, y: f64) -> String {
    let class = match name {
        EMPTY => "empty",
        name if name.starts_with(NETDIAG) => "netdiag",
        _ => "other",
    };
    let (middle, base) = (y + BAR / 2.0, y + BAR - 3.0);
    let label = text(LEFT - 8.0, base, "", "end", name);
    let Some(ratio) = ratio else {
        return label + &text(LEFT + 4.0, base, "", "start", "not measured");
    };
    let width = x(ratio.median) - LEFT;
    let rect = format!(
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\"/>\n"
    );
    let spread = line("spread", x(ratio.low), middle, x(ratio.high), middle);
    let told = format!("{:.2}", ratio.median);
    let beside = x(ratio.high.max(ratio.median)) + 6.0;
    label + &rect + &spread + &text(beside, base, "", "start", &told)
}

fn text(x: f64, y: f64, class: &str, anchor: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>\n"
    )
}

fn line(class: &str, x1: f64, y1: f64, x2: f64, y2: f64) -> String {
    format!(
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::goals::tests::document;

    #[test]
    fn a_bar_for_each_and_none_that_was_not_measured() {
        let mut document = document();
        let drawn = svg(&document);
        assert_eq!(drawn.matches("<rect").count(), 9);
        assert_eq!(drawn.matches("class=\"netdiag\"").count(), 3);
        assert!(drawn.contains("prefers-color-scheme:dark"));
        document["attached"]["netdiag"]["tcp"] = Value::Null;
        let drawn = svg(&document);
        assert_eq!(drawn.matches("<rect").count(), 8);
        assert!(drawn.contains("not measured"));
    }

    #[test]
    fn a_bar_is_as_long_as_its_ratio() {
        let half = Spread::of([0.5]);
        let wanted = (x(0.5) - LEFT, x(1.0) - LEFT);
        assert!((wanted.0 * 2.0 - wanted.1).abs() < 1e-9);
        assert!(bar("netdiag", half, 0.0).contains(&format!("width=\"{:.1}\"", wanted.0)));
        assert!(x(99.0) <= WIDTH - RIGHT);
    }
}

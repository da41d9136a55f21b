//! The way of a flow from top to bottom: its hops, what was counted at each, and where packets die.
use maud::{Markup, html};
use netdiag_lang::{mark, retold, t};

use super::{
    computed,
    tables::{Head, table},
    text::{cut, shown},
};
use crate::{
    FlowWay,
    model::{
        path::{Course, FateKind, Path, Step, Way},
        text::{counted, listed},
        total::Total,
        verdict::Finding,
    },
    output::{Cell, Direction, cells, chosen, is_loss},
    page::{MOST, Page},
};

/// A phone shows it as it is.
const WIDTH: usize = 340;
/// The line that all stand on.
const LINE: usize = 14;
const TEXT: usize = 34;
/// Characters of 13 px that have room beside the line.
const LONGEST: usize = 38;
/// Heights of a name, of a line below it, of what is between two, and of the place of death.
const NAME: usize = 20;
const BELOW: usize = 17;
const GAP: usize = 14;
const DEATH: usize = 30;

pub fn ways(page: &Page<'_>, finding: &Finding, id: &str) -> Markup {
    html! {
        @for (n, way) in page.ways_of(finding).enumerate() {
            (picture(way, &format!("{id}-way-{}", n + 1)))
        }
    }
}

/// The direction that loses packets first.
fn picture(way: &FlowWay, id: &str) -> Markup {
    let path = &way.path;
    let order = match chosen(path) {
        Some(Direction::Reply) => [Direction::Reply, Direction::Request],
        _ => [Direction::Request, Direction::Reply],
    };
    html! {
        div.way {
            p.title { (t!("The way of one flow on ")) span.name { (shown(&path.node)) } }
            p { (shown(&retold(&path.summary))) }
            div.cards {
                @for direction in order {
                    (one(path, direction, &format!("{id}-{}", short(direction))))
                }
            }
            (computed::ways(&path.predicted))
            details {
                summary { (t!("Hop by hop as a table")) }
                (steps(path))
            }
        }
    }
}

/// Within an id.
const fn short(direction: Direction) -> &'static str {
    match direction {
        Direction::Request => "request",
        Direction::Reply => "reply",
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Request => t!("Request"),
        Direction::Reply => t!("Reply"),
    }
}

fn one(path: &Path, direction: Direction, id: &str) -> Markup {
    let way = direction.of(path);
    let drawn = cells(path, direction, t!("the network")).filter(|_| !way.steps.is_empty());
    let death = death(way);
    // The sentence above the pictures may be of one of them.
    let fates = way
        .fates
        .iter()
        .filter(|it| !path.summary.contains(&it.text));
    let fates: Vec<_> = fates.collect();
    html! {
        @if let Some(cells) = drawn {
            figure {
                figcaption { (word(direction)) }
                (svg(&cells, &way.steps, &death, (id, word(direction))))
                @if !fates.is_empty() {
                    ul.fates {
                        @for fate in fates.iter().take(MOST) {
                            li class=[is_loss(fate.kind).then_some("lost")] { (shown(&fate.text)) }
                        }
                    }
                }
            }
        }
    }
}

/// How many were dropped, where all that is lost was.
fn death(way: &Way) -> String {
    let lost = way.fates.iter().filter(|it| is_loss(it.kind));
    let lost: Vec<_> = lost.collect();
    let dropped = lost.iter().all(|it| it.kind == FateKind::Drop);
    match lost.iter().map(|it| it.packets).total() {
        n if dropped && n > 0 => t!("{} dropped here", counted(n, mark!("packet"))),
        _ => t!("packets die here").to_owned(),
    }
}

/// What stands below a hop's name.
struct Below {
    text: String,
    /// Larger than fits.
    hot: bool,
}

fn svg(cells: &[Cell], steps: &[Step], death: &str, (id, name): (&str, &str)) -> Markup {
    let mut largest = 0;
    let below: Vec<Vec<Below>> = cells
        .iter()
        .map(|cell| below(cell, steps, &mut largest))
        .collect();
    let mut y = NAME;
    let mut at = Vec::new();
    for (cell, lines) in cells.iter().zip(&below) {
        y += if cell.dead { DEATH } else { 0 };
        at.push(y);
        y += NAME + lines.len() * BELOW + GAP;
    }
    let height = y;
    let told: Vec<String> = cells.iter().map(|it| it.name.clone()).collect();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) width=(WIDTH) height=(height) role="img"
            aria-labelledby=(id) {
            title id=(id) { (name) (t!(": ")) (shown(&listed(&told))) }
            @for (n, pair) in at.windows(2).enumerate() {
                (joint(&cells[n + 1], pair[0], pair[1], death))
            }
            @for ((cell, lines), y) in cells.iter().zip(&below).zip(&at) {
                (hop(cell, lines, *y))
            }
        }
    }
}

/// The line to a hop from the one before, and the mark where packets die on it.
fn joint(cell: &Cell, from: usize, to: usize, death: &str) -> Markup {
    let class = match (cell.dead, cell.unseen) {
        (true, _) => "line dead",
        (_, true) => "line unseen",
        _ => "line",
    };
    let middle = to - NAME - 4;
    let arms = format!("M{} {} l12 12 m0 -12 l-12 12", LINE - 6, middle - 6);
    html! {
        line class=(class) x1=(LINE) y1=(from) x2=(LINE) y2=(to) {}
        @if cell.dead {
            path.cross d=(arms) {}
            text.death x=(TEXT) y=(middle + 5) { (death) }
        }
    }
}

fn hop(cell: &Cell, below: &[Below], y: usize) -> Markup {
    let class = match (cell.steps.is_empty(), cell.unseen || cell.dead) {
        (true, _) => "end",
        (false, true) => "hop unseen",
        (false, false) => "hop",
    };
    html! {
        circle class=(class) cx=(LINE) cy=(y) r="6" {
            title { (shown(&cell.name)) }
        }
        text.label x=(TEXT) y=(y + 5) { (cut(&cell.name, LONGEST)) }
        @for (n, line) in below.iter().enumerate() {
            text class=(if line.hot { "below hot" } else { "below" }) x=(TEXT)
                y=(y + 5 + (n + 1) * BELOW) { (cut(&line.text, LONGEST + 6)) }
        }
    }
}

/// Role and counts of a link, and whether what came fits.
fn below(cell: &Cell, steps: &[Step], largest: &mut u32) -> Vec<Below> {
    let own = steps.get(cell.steps.clone()).unwrap_or_default();
    let Some(first) = own.first() else {
        return Vec::new();
    };
    let seen = |it: &&Step| it.course != Course::NotSeen;
    let counts = own
        .iter()
        .filter(seen)
        .map(|it| match it.direction == "ingress" {
            true => t!("{} in", it.packets),
            false => t!("{} out", it.packets),
        });
    let mut parts: Vec<String> = first
        .role
        .iter()
        .map(|it| retold(it).into_owned())
        .collect();
    let counts: Vec<String> = counts.collect();
    parts.push(match counts.is_empty() {
        true => t!("no packet seen").to_owned(),
        false => listed(&counts),
    });
    let again = own.iter().map(|it| it.retransmits).max().unwrap_or(0);
    if again > 0 {
        parts.push(counted(again, mark!("retransmit")));
    }
    let mut lines = vec![Below {
        text: parts.join(" · "),
        hot: false,
    }];
    *largest = own.iter().map(|it| it.largest).fold(*largest, u32::max);
    let fits = own.iter().filter_map(|it| it.fits).min();
    if let Some(fits) = fits.filter(|fits| *largest > *fits) {
        lines.push(Below {
            text: t!("largest {largest} B > limit {fits} B"),
            hot: true,
        });
    }
    lines
}

fn steps(path: &Path) -> Markup {
    const HEAD: [Head; 9] = [
        (mark!("Direction"), false),
        (mark!("Link"), false),
        (mark!("Role"), false),
        (mark!("Side"), false),
        (mark!("Packets"), true),
        (mark!("Largest"), true),
        (mark!("Limit"), true),
        (mark!("Retransmits"), true),
        (mark!("Flow here"), false),
    ];
    let row = |direction: Direction, it: &Step| {
        let number = |n: Option<u32>| n.map_or_else(|| "-".into(), |n| n.to_string());
        let seen = it.course != Course::NotSeen;
        let ends = it.ends().map(|(from, to)| format!("{from} → {to}"));
        let carried = it.carried.as_ref().map(|it| t!(" in {it}"));
        vec![
            word(direction).to_owned(),
            it.interface.clone(),
            retold(it.role.as_deref().unwrap_or("-")).into_owned(),
            it.direction.clone(),
            if seen {
                it.packets.to_string()
            } else {
                t!("none seen").into()
            },
            number(Some(it.largest).filter(|n| *n > 0)),
            number(it.fits),
            it.retransmits.to_string(),
            ends.unwrap_or_else(|| "-".into()) + &carried.unwrap_or_default(),
        ]
    };
    let both = [Direction::Request, Direction::Reply].into_iter();
    let rows = both.flat_map(|it| it.of(path).steps.iter().map(move |step| row(it, step)));
    let rows: Vec<_> = rows.collect();
    table(t!("Hop by hop"), &HEAD, &rows)
}

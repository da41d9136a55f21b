//! The way of a flow in two lines: its hops with the place where packets die, and below each what
//! was counted there.
use std::net::IpAddr;

use super::glyphs::Glyphs;
use crate::{
    model::{
        path::{Course, End, FateKind, Path, Step, Way},
        pod::label,
        text::counted,
    },
    style::{DIM, RED, clean, paint},
};

/// Characters that an end's name keeps.
const SHORTEST: usize = 10;

/// One thing on the way, and what stands below it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Cell {
    name: String,
    below: String,
    /// Packets die on the way to it.
    dead: bool,
    /// No packet came so far.
    unseen: bool,
    /// Every flow of the node passes it: the first to be left out.
    common: bool,
}

impl Cell {
    fn new(name: String, below: String) -> Self {
        Self {
            name,
            below,
            ..Self::default()
        }
    }

    fn width(&self) -> usize {
        wide(&self.name).max(wide(&self.below))
    }
}

fn wide(text: &str) -> usize {
    text.chars().count()
}

/// Two lines, the second one empty where nothing was counted; nothing where no hop is known.
pub fn picture(path: &Path, glyphs: Glyphs, room: usize) -> Option<[String; 2]> {
    let (way, [from, to]) = chosen(path)?;
    let mut cells = hops(way);
    if cells.is_empty() {
        return None;
    }
    let unseen = cells.last().is_some_and(|it| it.unseen);
    cells.insert(0, Cell::new(name(from), String::new()));
    let leaves = way.steps.last().is_some_and(|it| {
        let role = it.role.as_deref();
        it.direction == "egress" && matches!(role, Some("uplink" | "tunnel"))
    });
    let far = leaves.then(|| Cell::new(glyphs.more.into(), String::new()));
    for mut cell in far.into_iter().chain([Cell::new(name(to), String::new())]) {
        cell.unseen = unseen;
        cells.push(cell);
    }
    let dies = path.at.as_ref().filter(|_| loses(way));
    if let Some(at) = dies {
        let last = cells
            .iter()
            .rposition(|it| !it.unseen && it.name == clean(at));
        if let Some(behind) = last.and_then(|n| cells.get_mut(n + 1)) {
            behind.dead = true;
        }
    }
    Some(lines(shortened(cells, glyphs, room), glyphs))
}

/// The direction that loses packets; where none does, the one that asks.
fn chosen(path: &Path) -> Option<(&Way, [&End; 2])> {
    let request = [&path.source, &path.destination];
    let reply = [&path.destination, &path.source];
    match loses(&path.reply) && !loses(&path.request) {
        true => Some((&path.reply, reply)),
        false if path.request.steps.is_empty() => None,
        false => Some((&path.request, request)),
    }
}

fn loses(way: &Way) -> bool {
    way.fates.iter().any(|it| is_loss(it.kind))
}

fn is_loss(kind: FateKind) -> bool {
    match kind {
        FateKind::Drop
        | FateKind::TooBig
        | FateKind::Stalled
        | FateKind::Vanished
        | FateKind::Icmp => true,
        FateKind::Refused | FateKind::Arrived => false,
    }
}

/// A cell a link; a link that is passed twice in a row is one.
fn hops(way: &Way) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let mut largest = 0;
    let mut before: Option<&Step> = None;
    let mut first = true;
    // Where packets take another way, what the routes expected is none of theirs.
    let strayed = way.steps.iter().any(|it| it.course == Course::Unexpected);
    let steps = way.steps.iter();
    for step in steps.filter(|it| !strayed || it.course != Course::NotSeen) {
        largest = largest.max(step.largest);
        let below = match step.fits {
            Some(fits) if largest > fits => format!("{largest}>{fits}"),
            _ if step.course == Course::NotSeen => String::new(),
            _ if first => counted(step.packets, "packet"),
            _ => step.packets.to_string(),
        };
        first &= step.course == Course::NotSeen;
        match cells.last_mut() {
            Some(last) if before.is_some_and(|it| it.interface == step.interface) => {
                last.below = below;
            }
            _ => {
                let mut cell = Cell::new(clean(&step.interface), below);
                cell.unseen = step.course == Course::NotSeen;
                cell.common = step.role.as_deref() == Some("bridge");
                cells.push(cell);
            }
        }
        before = Some(step);
    }
    cells
}

fn name(end: &End) -> String {
    let pod = end.pod.as_ref().filter(|it| it.name.is_some()).map(label);
    let service = || end.service.clone();
    let address = || end.addresses.first().map(ToString::to_string);
    let name = pod.or_else(service).or_else(address).unwrap_or_default();
    let short = name.rsplit_once('/').map_or(name.as_str(), |(_, own)| own);
    // A Service's port may be called by a name.
    let service = end.service.is_some() && end.pod.is_none();
    match short.split_once(':').filter(|_| service) {
        Some((service, _)) => clean(&format!("svc/{service}")),
        None => clean(short),
    }
}

/// Leaves out hops far from where packets die, then parts of the ends' names, until it fits.
fn shortened(mut cells: Vec<Cell>, glyphs: Glyphs, room: usize) -> Vec<Cell> {
    while total(&cells) > room
        && let Some(n) = common(&cells)
    {
        leave_out(&mut cells, n, glyphs);
    }
    for end in [0, cells.len().saturating_sub(1)] {
        let over = total(&cells).saturating_sub(room);
        let cell = &mut cells[end];
        // Part of an address is another address.
        if over > 0 && cell.name.parse::<IpAddr>().is_err() {
            let most = wide(&cell.name).saturating_sub(over).max(SHORTEST);
            cell.name = cut(&cell.name, most, glyphs);
        }
    }
    while total(&cells) > room
        && let Some(n) = spare(&cells, glyphs)
    {
        leave_out(&mut cells, n, glyphs);
    }
    cells
}

fn total(cells: &[Cell]) -> usize {
    let joints = cells.iter().map(|it| it.width() + 3).sum::<usize>();
    let dead = cells.iter().filter(|it| it.dead).count();
    (joints + dead).saturating_sub(3)
}

fn leave_out(cells: &mut Vec<Cell>, n: usize, glyphs: Glyphs) {
    let around = [n.checked_sub(1), Some(n + 1)].into_iter().flatten();
    let mut around = around.filter_map(|n| cells.get(n));
    match around.any(|it| it.name == glyphs.more) {
        true => drop(cells.remove(n)),
        false => {
            let unseen = cells[n].unseen;
            cells[n] = Cell::new(glyphs.more.into(), String::new());
            cells[n].unseen = unseen;
        }
    }
}

/// A hop that all flows of the node pass, away from the place of death.
fn common(cells: &[Cell]) -> Option<usize> {
    let dead = cells.iter().position(|it| it.dead);
    let near = |n: usize| dead.is_some_and(|dead| n == dead || n + 1 == dead);
    (0..cells.len()).find(|n| cells[*n].common && !near(*n))
}

/// Any other hop between the ends, the last one first.
fn spare(cells: &[Cell], glyphs: Glyphs) -> Option<usize> {
    let dead = cells.iter().position(|it| it.dead);
    let last = cells.len().checked_sub(1)?;
    let near = |n: usize| dead.is_some_and(|dead| n == dead || n + 1 == dead);
    let inner = |n: &usize| !near(*n) && cells[*n].name != glyphs.more;
    (2..last).rev().find(inner)
}

fn cut(text: &str, most: usize, glyphs: Glyphs) -> String {
    match wide(text) > most {
        false => text.to_owned(),
        true => {
            let kept = most.saturating_sub(wide(glyphs.more));
            text.chars().take(kept).collect::<String>() + glyphs.more
        }
    }
}

fn lines(cells: Vec<Cell>, glyphs: Glyphs) -> [String; 2] {
    let (mut above, mut below) = (String::new(), String::new());
    // As wide as what is above without its colours, and what the cell before lacks to its width.
    let (mut column, mut fill) = (0, 0);
    for (n, cell) in cells.iter().enumerate() {
        let stroke = glyphs.line.repeat(1 + fill);
        let joint = match (n, cell.dead) {
            (0, _) => String::new(),
            (_, false) => format!(" {stroke} "),
            (_, true) => format!(" {stroke}{} ", glyphs.dead),
        };
        column += wide(&joint);
        let gap = column.saturating_sub(wide(&below));
        if !cell.below.is_empty() {
            below.push_str(&" ".repeat(gap));
            below.push_str(&cell.below);
        }
        above.push_str(&match (cell.dead, cell.unseen) {
            (true, _) => paint(RED, &joint),
            (_, true) => paint(DIM, &joint),
            _ => joint,
        });
        above.push_str(&match cell.unseen {
            true => paint(DIM, &cell.name),
            false => cell.name.clone(),
        });
        column += wide(&cell.name);
        fill = cell.width().saturating_sub(wide(&cell.name));
    }
    [above, below]
}

//! The way of a flow in two lines: its hops with the place where packets die, and below each what
//! was counted there.
use std::{net::IpAddr, ops::Range};

use netdiag_lang::{mark, t};

use super::glyphs::Glyphs;
use crate::{
    model::{
        path::{Course, End, Fate, FateKind, Path, Step, Way},
        pod::label,
        text::{counted, fitting, listed, width as wide},
        total::Total,
    },
    style::{DIM, RED, clean, paint},
};

/// Characters that an end's name keeps.
const SHORTEST: usize = 10;

/// One thing on the way, and what stands below it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cell {
    pub name: String,
    pub below: String,
    /// Packets die on the way to it.
    pub dead: bool,
    /// Which of the way's steps it is; none of an end.
    pub steps: Range<usize>,
    /// Packets at it; nothing where it is no hop.
    packets: Option<u64>,
    /// Packets are larger than it takes.
    small: bool,
    /// No packet came so far.
    pub unseen: bool,
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

/// Two lines, the second one empty where nothing was counted; nothing where no hop is known.
pub fn picture(path: &Path, glyphs: Glyphs, room: usize) -> Option<[String; 2]> {
    let cells = cells(path, chosen(path)?, glyphs.more)?;
    Some(lines(shortened(cells, glyphs, room), glyphs))
}

/// From one end to the other; `far` stands for what lies between the last hop of a node and the end.
/// Nothing where no hop is known.
pub fn cells(path: &Path, direction: Direction, far: &str) -> Option<Vec<Cell>> {
    let way = direction.of(path);
    let (from, to) = match direction {
        Direction::Request => (&path.source, &path.destination),
        Direction::Reply => (&path.destination, &path.source),
    };
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
    let far = leaves.then(|| Cell::new(far.into(), String::new()));
    for mut cell in far.into_iter().chain([Cell::new(name(to), String::new())]) {
        cell.unseen = unseen;
        cells.push(cell);
    }
    if let Some((behind, lost)) = dies(&cells, way, path.at.as_deref()) {
        let sum = |kind| {
            let of = way.fates.iter().filter(|it: &&Fate| it.kind == kind);
            of.map(|it| it.packets).total()
        };
        let refused = sum(FateKind::Refused) > 0 && sum(FateKind::Refused) >= lost;
        let verb = |n: u64| match refused {
            true => t!("{n} refused"),
            false => t!("{n} lost"),
        };
        let cell = &mut cells[behind];
        cell.dead = true;
        cell.below = match (lost, cell.below.as_str()) {
            (0, "") if !refused => t!("no answer").to_owned(),
            (0, _) => cell.below.clone(),
            (n, "") => verb(n),
            (n, _) if cell.small => listed(&[cell.below.clone(), verb(n)]),
            (n, passed) => listed(&[verb(n), t!("{passed} passed")]),
        };
    }
    Some(cells)
}

/// The cell before which packets die, and how many: that which does not take their size, that which
/// fewer of them reached, or the one behind what they reached last.
fn dies(cells: &[Cell], way: &Way, at: Option<&str>) -> Option<(usize, u64)> {
    let at = at.filter(|_| loses(way))?;
    let lost = lost(way);
    if let Some(n) = cells.iter().position(|it| it.small) {
        return Some((n, lost));
    }
    let fall = |n: usize| {
        let before = cells.get(n.checked_sub(1)?)?.packets?;
        let fewer = before.saturating_sub(cells.get(n)?.packets?);
        // What began before all hops were watched differs by a little.
        (fewer > 0 && fewer.saturating_mul(2) >= lost).then_some((fewer, n))
    };
    let fallen = (1..cells.len()).filter_map(fall).max_by_key(|it| it.0);
    let behind_last = || {
        let reached = |it: &Cell| !it.unseen && it.name == clean(at);
        let behind = cells.iter().rposition(reached)? + 1;
        (behind < cells.len()).then_some(behind)
    };
    // Beside two counts nothing but their difference is believed.
    let fallen = fallen.filter(|_| lost > 0).map(|(fewer, n)| (n, fewer));
    fallen.or_else(|| Some((behind_last()?, lost)))
}

/// Packets that this node dropped.
fn lost(way: &Way) -> u64 {
    let drops = way.fates.iter().filter(|it| it.kind == FateKind::Drop);
    drops.map(|it| it.packets).total()
}

/// One of a flow's two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Request,
    Reply,
}

impl Direction {
    pub const fn of(self, path: &Path) -> &Way {
        match self {
            Self::Request => &path.request,
            Self::Reply => &path.reply,
        }
    }
}

/// The direction that loses packets; where none does, the one that asks.
pub fn chosen(path: &Path) -> Option<Direction> {
    match loses(&path.reply) && !loses(&path.request) {
        true => Some(Direction::Reply),
        false if path.request.steps.is_empty() => None,
        false => Some(Direction::Request),
    }
}

fn loses(way: &Way) -> bool {
    way.fates.iter().any(|it| is_loss(it.kind))
}

pub fn is_loss(kind: FateKind) -> bool {
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
    let (mut first, mut told) = (true, false);
    // Where packets take another way, what the routes expected is none of theirs.
    let strayed = way.steps.iter().any(|it| it.course == Course::Unexpected);
    let steps = way.steps.iter().enumerate();
    for (n, step) in steps.filter(|(_, it)| !strayed || it.course != Course::NotSeen) {
        largest = largest.max(step.largest);
        // The first link that is too small for them is the one that matters.
        let too_large = too_large(step, largest).filter(|_| !told);
        told |= too_large.is_some();
        let below = match &too_large {
            Some(text) => text.clone(),
            _ if step.course == Course::NotSeen => String::new(),
            _ if first => counted(step.packets, mark!("packet")),
            _ => step.packets.to_string(),
        };
        first &= step.course == Course::NotSeen;
        match cells.last_mut() {
            Some(last) if before.is_some_and(|it| it.interface == step.interface) => {
                last.below = below;
                last.steps.end = n + 1;
                last.packets = Some(step.packets).filter(|_| !last.unseen);
            }
            _ => {
                let mut cell = Cell::new(clean(&step.interface), below);
                cell.unseen = step.course == Course::NotSeen;
                cell.steps = n..n + 1;
                cell.packets = Some(step.packets).filter(|_| !cell.unseen);
                // What is encapsulated is fragmented there, and leaves.
                cell.small = too_large.is_some() && step.carried.is_none();
                cell.common = step.role.as_deref() == Some("bridge");
                cells.push(cell);
            }
        }
        before = Some(step);
    }
    cells
}

/// `1500>1450`: the largest packet as this link would carry it, and its MTU.
fn too_large(step: &Step, largest: u32) -> Option<String> {
    let mtu = step.mtu?;
    let overhead = match (&step.carried, step.fits) {
        (Some(_), Some(fits)) => mtu.saturating_sub(fits),
        _ => 0,
    };
    let carried = largest.saturating_add(overhead);
    (carried > mtu).then(|| format!("{carried}>{mtu}"))
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
    // A hop says more than that nothing came back.
    if total(&cells) > room {
        let far = |it: &&mut Cell| it.name == glyphs.more;
        let far = cells.iter_mut().filter(far);
        far.for_each(|it| it.below.clear());
    }
    while total(&cells) > room
        && let Some(n) = spare(&cells, glyphs)
    {
        leave_out(&mut cells, n, glyphs);
    }
    if total(&cells) > room {
        // The first number is what the picture is drawn for.
        let first = |cell: &mut Cell| {
            if let Some((first, _)) = cell.below.split_once(t!(", ")) {
                cell.below = first.to_owned();
            }
        };
        cells.iter_mut().for_each(first);
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
            fitting(text, kept).to_owned() + glyphs.more
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

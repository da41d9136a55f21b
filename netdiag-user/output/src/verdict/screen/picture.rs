//! The way of a flow in two lines: its hops with the place where packets die, and below each what
//! was counted there.
use super::glyphs::Glyphs;
use crate::{
    model::{
        path::{Course, End, FateKind, Path, Step, Way},
        pod::label,
        text::counted,
    },
    style::{DIM, RED, clean, paint},
};

/// Characters of an end's name.
const LONGEST: usize = 24;

/// One thing on the way, and what stands below it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Cell {
    name: String,
    below: String,
    /// Packets die on the way to it.
    dead: bool,
    /// No packet came so far.
    unseen: bool,
}

impl Cell {
    fn new(name: String, below: String) -> Self {
        let (dead, unseen) = (false, false);
        Self {
            name,
            below,
            dead,
            unseen,
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
    let mut cells = hops(way, path.at.as_deref());
    if cells.is_empty() {
        return None;
    }
    let unseen = cells.last().is_some_and(|it| it.unseen || it.dead);
    cells.insert(0, Cell::new(name(from), String::new()));
    let leaves = way.steps.last().is_some_and(|it| {
        let role = it.role.as_deref();
        it.direction == "egress" && matches!(role, Some("uplink" | "tunnel"))
    });
    let mut end = Cell::new(name(to), String::new());
    end.unseen = unseen;
    if leaves {
        let mut far = Cell::new(glyphs.more.into(), String::new());
        far.unseen = unseen;
        cells.push(far);
    }
    // It came to the last hop that is known, and died behind it.
    let dies = path.at.is_some() && way.fates.iter().any(|it| is_loss(it.kind));
    if dies && !cells.iter().any(|it| it.dead) {
        let behind = cells.get_mut(hops_seen(way) + 1).unwrap_or(&mut end);
        behind.dead = true;
    }
    cells.push(end);
    Some(lines(shortened(cells, glyphs, room), glyphs))
}

/// How many links were passed.
fn hops_seen(way: &Way) -> usize {
    let seen = way.steps.iter().filter(|it| it.course != Course::NotSeen);
    let mut names: Vec<&str> = seen.map(|it| it.interface.as_str()).collect();
    names.dedup();
    names.len()
}

/// The direction that loses packets; where none does, the one that asks.
fn chosen(path: &Path) -> Option<(&Way, [&End; 2])> {
    let lossy = |way: &Way| way.fates.iter().any(|it| is_loss(it.kind));
    let request = [&path.source, &path.destination];
    let reply = [&path.destination, &path.source];
    match lossy(&path.reply) && !lossy(&path.request) {
        true => Some((&path.reply, reply)),
        false if path.request.steps.is_empty() => None,
        false => Some((&path.request, request)),
    }
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
fn hops(way: &Way, at: Option<&str>) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let mut largest = 0;
    let mut before: Option<&Step> = None;
    let mut first = true;
    for step in &way.steps {
        largest = largest.max(step.largest);
        let below = match step.fits {
            Some(fits) if largest > fits => format!("{largest} B > {fits}"),
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
                // What is not seen stands behind what was reached last.
                let came = before.is_some_and(|it| at == Some(it.interface.as_str()));
                cell.dead = cell.unseen && came;
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
    clean(short)
}

/// Leaves out hops far from where packets die, then parts of names, until it fits.
fn shortened(mut cells: Vec<Cell>, glyphs: Glyphs, room: usize) -> Vec<Cell> {
    let total = |cells: &[Cell]| cells.iter().map(|it| it.width() + 4).sum::<usize>();
    for cell in &mut cells {
        cell.name = cut(&cell.name, LONGEST, glyphs);
    }
    while total(&cells) > room + 4 {
        let dead = cells.iter().position(|it| it.dead);
        let last = cells.len().saturating_sub(1);
        let near = |n: usize| dead.is_some_and(|dead| n == dead || n + 1 == dead);
        let inner = |n: &usize| (2..last).contains(n) && !near(*n) && cells[*n].name != glyphs.more;
        match (0..cells.len()).find(inner) {
            Some(n) => {
                let beside = [n.checked_sub(1), Some(n + 1)].into_iter().flatten();
                let mut beside = beside.filter_map(|n| cells.get(n));
                match beside.any(|it| it.name == glyphs.more) {
                    true => drop(cells.remove(n)),
                    false => cells[n] = Cell::new(glyphs.more.into(), String::new()),
                }
            }
            None => {
                for cell in &mut cells {
                    cell.name = cut(&cell.name, LONGEST / 2, glyphs);
                }
                break;
            }
        }
    }
    cells
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

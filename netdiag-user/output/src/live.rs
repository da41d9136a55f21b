//! The live trace: one JSON object an event, or lines for people.
use anyhow::Result;

use super::{
    Format, Sink, document,
    escape::json,
    style::{BOLD, CYAN, DIM, RED, YELLOW, clean, paint},
};
use crate::model::{
    event::{Detail, DropRelation, LiveEvent},
    node::Node,
    pod::label,
    roles::Role,
    verdict::{PodRole, Verdict},
};

/// Lines a tick at most: a busy node must stay readable. The rest is counted.
const MOST_LINES: usize = 12;

pub struct Live {
    format: Format,
    /// Document of formats that print one at the end.
    kept: Vec<LiveEvent>,
    /// Events that json and yaml have no room for.
    dropped: u64,
}

/// Events that one json or yaml document holds at most.
const MOST_KEPT: usize = 100_000;

impl Live {
    pub fn new(format: Format) -> Self {
        Self {
            format,
            kept: Vec::new(),
            dropped: 0,
        }
    }

    pub fn begin(&mut self, sink: &mut Sink, node: &Node, hooks: u64) -> Result<()> {
        if !matches!(self.format, Format::Table | Format::Wide) {
            return Ok(());
        }
        let head = format!(
            "{} · Linux {} · {hooks} hooks · Ctrl-C ends with a summary",
            node.name, node.kernel
        );
        sink.write(&format!("{}\n", paint(DIM, &clean(&head))))
    }

    pub fn events(&mut self, sink: &mut Sink, events: Vec<LiveEvent>) -> Result<()> {
        match self.format {
            Format::Ndjson => {
                let mut text = String::new();
                for event in &events {
                    text.push_str(&json(event)?);
                    text.push('\n');
                }
                if text.is_empty() {
                    Ok(())
                } else {
                    sink.write(&text)
                }
            }
            Format::Json | Format::Yaml => {
                let room = MOST_KEPT.saturating_sub(self.kept.len());
                self.dropped += events.len().saturating_sub(room) as u64;
                self.kept.extend(events.into_iter().take(room));
                Ok(())
            }
            Format::Table | Format::Wide => self.lines(sink, &events),
        }
    }

    fn lines(&self, sink: &mut Sink, events: &[LiveEvent]) -> Result<()> {
        let wide = self.format == Format::Wide;
        let shown = merged(events);
        let most = if wide { usize::MAX } else { MOST_LINES };
        let width = if wide { usize::MAX } else { sink.width() };
        let mut text = String::new();
        for one in shown.iter().take(most) {
            text.push_str(&line(one, width));
        }
        if shown.len() > most {
            let more = format!(
                "         … and {} more in this moment\n",
                shown.len() - most
            );
            text.push_str(&paint(DIM, &more));
        }
        if text.is_empty() {
            Ok(())
        } else {
            sink.write(&text)
        }
    }

    pub fn end(&mut self, sink: &mut Sink, verdict: &Verdict) -> Result<()> {
        match self.format {
            Format::Ndjson => Ok(()),
            Format::Json | Format::Yaml => {
                let document_ = serde_json::json!({
                    "schema": "netdiag.run/1",
                    "events": self.kept,
                    "events_left_out": self.dropped,
                    "verdict": verdict,
                });
                document(sink, &document_, self.format)
            }
            Format::Table | Format::Wide => {
                sink.write("\n")?;
                super::verdict(sink, verdict, self.format)
            }
        }
    }
}

/// What a healthy node shows all day, and netdiag's own statistics, are for programs.
fn for_people(event: &LiveEvent) -> bool {
    !matches!(
        event.detail,
        Detail::Stats { .. } | Detail::Foreign | Detail::Drop { harmless: true, .. }
    )
}

/// Events that read as one line: what one flow shows at each hop, what a socket and the wire say
/// of the same retransmits, what all flows of one wrong outer address show.
struct Line<'a> {
    event: &'a LiveEvent,
    places: Vec<(Option<Role>, &'a str)>,
    count: u64,
}

impl<'a> Line<'a> {
    fn new(event: &'a LiveEvent) -> Self {
        let mut line = Self {
            event,
            places: Vec::new(),
            count: 0,
        };
        line.add(event);
        line
    }

    fn takes(&self, event: &LiveEvent) -> bool {
        use Detail::{Dns, Retransmit, VxlanSourceMismatch};
        match (&self.event.detail, &event.detail) {
            (VxlanSourceMismatch { .. }, VxlanSourceMismatch { .. }) => {
                self.event.detail == event.detail && self.event.interface == event.interface
            }
            // Many questions share a flow.
            (Dns { .. }, Dns { .. }) => self.event.detail == event.detail,
            (Retransmit { .. }, Retransmit { .. }) => self.event.flow == event.flow,
            (one, other) => {
                self.event.flow.is_some()
                    && self.event.flow == event.flow
                    && self.event.interface.is_some() == event.interface.is_some()
                    && one.name() == other.name()
            }
        }
    }

    fn add(&mut self, event: &'a LiveEvent) {
        let place = event.interface.as_deref().map(|name| (event.role, name));
        let known = place.is_some_and(|p| self.places.contains(&p));
        self.count = match event.detail {
            Detail::VxlanSourceMismatch { .. } => self.count.saturating_add(event.count),
            // The same packets, seen at one more place.
            _ => self.count.max(event.count),
        };
        if let (Some(place), false) = (place, known) {
            self.places.push(place);
        }
        // The socket knows whether the packet was dropped here.
        if matches!(event.detail, Detail::Retransmit { drop: Some(_), .. }) {
            self.event = event;
        }
    }

    /// The places in the order of the packets' way: pods' links first when a pod of this node
    /// sends, last when one receives.
    fn way(&self) -> String {
        let mut places = self.places.clone();
        places.sort();
        let sender = self.event.pods.first();
        let leaves =
            sender.is_some_and(|p| p.role == Some(PodRole::Source) && p.interface.is_some());
        if !leaves {
            places.reverse();
        }
        let names: Vec<_> = places.iter().map(|(_, name)| clean(name)).collect();
        names.join(" ")
    }

    /// The flow that stands for the line; one of many says nothing.
    fn flow(&self) -> String {
        let mixed = matches!(self.event.detail, Detail::VxlanSourceMismatch { .. });
        match mixed && self.count > self.event.count {
            true => format!("{} and others", flow(self.event)),
            false => flow(self.event),
        }
    }
}

fn merged(events: &[LiveEvent]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for event in events.iter().filter(|e| for_people(e)) {
        match lines.iter_mut().find(|l| l.takes(event)) {
            Some(line) => line.add(event),
            None => lines.push(Line::new(event)),
        }
    }
    lines
}

fn line(line: &Line<'_>, width: usize) -> String {
    let event = line.event;
    let time = event.time.get(11..19).unwrap_or(&event.time);
    let style = match event.detail {
        Detail::Drop { .. } | Detail::VxlanSourceMismatch { .. } | Detail::Oom { .. } => RED,
        Detail::Finding { .. } => BOLD,
        Detail::Link { .. } => CYAN,
        _ => YELLOW,
    };
    let kind = event.detail.name();
    let head = format!("{time} {} ", paint(style, &format!("{kind:<12}")));
    let room = width.saturating_sub(time.len() + kind.len().max(12) + 2);
    let what = joined(&[detail(event), line.way()]);
    let count = format!("{:>5}×", line.count);
    let whole = format!("{count} {}", joined(&[what.clone(), line.flow()]));
    if whole.chars().count() <= room {
        return format!("{head}{whole}\n");
    }
    let first = cut(&format!("{count} {what}"), room);
    match line.flow() {
        flow if flow.is_empty() => format!("{head}{first}\n"),
        flow => format!(
            "{head}{first}\n{:>29}{}\n",
            "",
            cut(&flow, width.saturating_sub(29))
        ),
    }
}

/// The parts that say something.
fn joined(parts: &[String]) -> String {
    let parts: Vec<_> = parts
        .iter()
        .filter(|p| !p.is_empty())
        .map(String::as_str)
        .collect();
    parts.join(" · ")
}

/// The first `room` characters, the last of them a sign that there were more.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars()
        .take(room.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// The flow, and the pods at its ends as far as they have names.
fn flow(event: &LiveEvent) -> String {
    let flow = event.flow.as_ref().map_or_else(String::new, |f| {
        let leg = f.leg.as_ref();
        let leg = leg.map_or_else(String::new, |l| format!(" → {}", l.destination));
        let named = f.service.as_ref();
        let named = named.map_or_else(String::new, |name| format!(" ({})", clean(name)));
        format!(
            "{} {} → {}{named}{leg}",
            f.protocol, f.source, f.destination
        )
    });
    let pods = event.pods.iter().filter(|p| p.name.is_some());
    let pods: Vec<_> = pods.map(|p| clean(&label(p))).collect();
    if pods.is_empty() {
        flow
    } else {
        format!("{flow} ({})", pods.join(" → "))
    }
}

fn detail(event: &LiveEvent) -> String {
    match &event.detail {
        Detail::Drop {
            reason, location, ..
        } => format!("{reason} in {location}"),
        Detail::Oversize {
            largest,
            limit,
            limit_from,
            ..
        } => {
            format!("{largest} bytes, {limit} fit ({limit_from})")
        }
        Detail::Retransmit { seen, drop, .. } => {
            let drop = drop.map_or("", |d| match d {
                DropRelation::SamePacket => ", the packet was dropped here",
                DropRelation::SameFlow => ", packets of it were dropped here",
                DropRelation::NoneSeen => ", no drop seen here",
            });
            format!("by the {seen}{drop}")
        }
        Detail::VxlanSourceMismatch {
            outer_source,
            expected,
            vni,
            ..
        } => {
            format!(
                "outer source {outer_source}, expected {} (VNI {vni})",
                expected.join(" ")
            )
        }
        Detail::Unreachable {
            icmp_type,
            icmp_code,
            sender,
            mtu,
        } => match mtu {
            Some(mtu) => format!("{sender} says MTU {mtu}"),
            None => format!("{sender} says ICMP {icmp_type}/{icmp_code}"),
        },
        Detail::Dns {
            problem,
            name,
            query_type,
            ..
        } => format!("{problem}: {} {query_type}", clean(name)),
        Detail::Oom { pid, comm, .. } => {
            let comm = comm.as_deref().unwrap_or("a process");
            format!("{} (pid {pid}) killed for want of memory", clean(comm))
        }
        Detail::Between { between } => format!(
            "{} of {} packets to {} never came",
            event.count,
            between.packets,
            clean(&between.to)
        ),
        Detail::Link { change } => format!("link {change}"),
        Detail::Finding { finding } => format!("{}: {}", finding.cause, clean(&finding.summary)),
        Detail::Fragment { .. } | Detail::Foreign | Detail::Stats { .. } => String::new(),
    }
}

//! The live trace: one JSON object an event, or lines for people.
mod lines;

use anyhow::Result;
use netdiag_lang::{retold, t};
use schemars::JsonSchema;
use serde::Serialize;

use self::lines::{Line, Lines};
use super::{
    Format, Sink, document,
    escape::json,
    style::{BOLD, CYAN, DIM, RED, YELLOW, clean, paint},
    words::severity,
};
use crate::model::{
    event::{Detail, DropRelation, LiveEvent},
    node::Node,
    pod::label,
    text::{filled, fitting, width as wide},
    verdict::Verdict,
};

/// Columns of what an event is.
const KIND: usize = 12;

/// Lines a tick at most: a busy node must stay readable. The rest is counted.
const MOST_LINES: usize = 12;

pub struct Live {
    format: Format,
    /// Of the moment, for those who read lines, and for programs.
    lines: Lines,
    text: String,
    /// Document of formats that print one at the end.
    kept: Vec<LiveEvent>,
    /// Events that json and yaml have no room for.
    dropped: u64,
}

/// Bytes of a moment's ndjson that are written at once.
const AT_ONCE: usize = 64 << 10;

/// Name and version of the JSON form of a whole run.
pub const RUN: &str = "netdiag.run/1";

/// All that a run saw: `run -o json` prints one such object at its end.
///
/// What is unknown is absent. Later versions may add members; they rename and remove nothing.
#[derive(Serialize, JsonSchema)]
pub struct Run<'a> {
    #[schemars(extend("const" = RUN))]
    schema: &'static str,
    events: &'a [LiveEvent],
    /// Events that the document has no room for.
    events_left_out: u64,
    verdict: &'a Verdict,
}

/// Events that one json or yaml document holds at most.
const MOST_KEPT: usize = 100_000;

impl Live {
    pub fn new(format: Format) -> Self {
        Self {
            format,
            lines: Lines::default(),
            text: String::new(),
            kept: Vec::new(),
            dropped: 0,
        }
    }

    pub fn begin(&mut self, sink: &mut Sink, node: &Node, hooks: u64) -> Result<()> {
        if !matches!(self.format, Format::Table | Format::Wide) {
            return Ok(());
        }
        let head = t!(
            "{} · Linux {} · {hooks} hooks · Ctrl-C ends with a summary",
            node.name,
            node.kernel
        );
        sink.write(&format!("{}\n", paint(DIM, &clean(&head))))
    }

    pub fn events(&mut self, sink: &mut Sink, events: Vec<LiveEvent>) -> Result<()> {
        for event in events {
            self.event(sink, event)?;
        }
        self.moment(sink)
    }

    /// Takes one event of a moment. Of those that have no line of their own only a number is kept.
    pub fn event(&mut self, sink: &mut Sink, event: LiveEvent) -> Result<()> {
        match self.format {
            Format::Ndjson => {
                self.text.push_str(&json(&event)?);
                self.text.push('\n');
                match self.text.len() >= AT_ONCE {
                    true => self.moment(sink),
                    false => Ok(()),
                }
            }
            Format::Json | Format::Yaml if self.kept.len() < MOST_KEPT => {
                self.kept.push(event);
                Ok(())
            }
            Format::Json | Format::Yaml => {
                self.dropped += 1;
                Ok(())
            }
            Format::Table | Format::Wide => {
                let wide = self.format == Format::Wide;
                let most = if wide { usize::MAX } else { MOST_LINES };
                self.lines.take(event, most);
                Ok(())
            }
        }
    }

    /// Prints what a moment had.
    pub fn moment(&mut self, sink: &mut Sink) -> Result<()> {
        let mut text = std::mem::take(&mut self.text);
        let width = match self.format {
            Format::Wide => usize::MAX,
            _ => sink.line_width(),
        };
        let (lines, more) = self.lines.end();
        for one in &lines {
            text.push_str(&line(one, width));
        }
        if more > 0 {
            let more = t!("         … and {more} more in this moment\n");
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
                let run = Run {
                    schema: RUN,
                    events: &self.kept,
                    events_left_out: self.dropped,
                    verdict,
                };
                document(sink, &run, self.format)
            }
            Format::Table | Format::Wide => {
                sink.write("\n")?;
                super::verdict(sink, verdict, &[], self.format)
            }
        }
    }
}

fn line(line: &Line, width: usize) -> String {
    let event = &line.event;
    let time = event.time.get(11..19).unwrap_or(&event.time);
    let style = match event.detail {
        Detail::Drop { .. } | Detail::VxlanSourceMismatch { .. } | Detail::Oom { .. } => RED,
        Detail::Finding { .. } => BOLD,
        Detail::Link { .. } => CYAN,
        _ => YELLOW,
    };
    let kind = filled(kind(&event.detail), KIND);
    let head = format!("{time} {} ", paint(style, &kind));
    let room = width.saturating_sub(time.len() + wide(&kind) + 2);
    let what = joined(&[detail(event), line.way()]);
    let count = format!("{:>5}×", line.count);
    let whole = format!("{count} {}", joined(&[what.clone(), line.flow()]));
    if wide(&whole) <= room {
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

/// What an event is, in a word. Before the bar stands what tells it from an equal word for something
/// else, as gettext has it.
fn kind(detail: &Detail) -> &'static str {
    let word = match detail {
        Detail::Drop { .. } => t!("event|drop"),
        Detail::Oversize { .. } => t!("event|oversize"),
        Detail::Retransmit { .. } => t!("event|retransmit"),
        Detail::VxlanSourceMismatch { .. } => t!("event|vxlan source"),
        Detail::Fragment { .. } => t!("event|fragment"),
        Detail::Unreachable { .. } => t!("event|unreachable"),
        Detail::Dns { .. } => t!("event|dns"),
        Detail::Oom { .. } => t!("event|oom"),
        Detail::Link { .. } => t!("event|link"),
        Detail::Finding { .. } => t!("event|finding"),
        Detail::Between { .. } => t!("event|between"),
        Detail::Foreign => t!("event|foreign"),
        Detail::Stats { .. } => t!("event|stats"),
    };
    word.rsplit('|').next().unwrap_or(word)
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

/// The first `room` columns, the last of them a sign that there were more.
fn cut(text: &str, room: usize) -> String {
    if wide(text) <= room {
        return text.to_owned();
    }
    fitting(text, room.saturating_sub(1)).to_owned() + "…"
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
        } => t!("{reason} in {location}"),
        Detail::Oversize {
            largest,
            limit,
            limit_from,
            ..
        } => {
            let why = limit_from.map_or_else(String::new, |from| t!(" ({})", retold(from)));
            t!("{largest} bytes, {limit} fit{why}")
        }
        Detail::Retransmit { seen, drop, .. } => {
            let drop = drop.map_or("", |d| match d {
                DropRelation::SamePacket => t!(", the packet was dropped here"),
                DropRelation::SameFlow => t!(", packets of it were dropped here"),
                DropRelation::NoneSeen => t!(", no drop seen here"),
            });
            t!("by the {}{drop}", retold(seen))
        }
        Detail::VxlanSourceMismatch {
            outer_source,
            expected,
            vni,
            ..
        } => {
            let expected = expected.join(" ");
            t!("outer source {outer_source}, expected {expected} (VNI {vni})")
        }
        Detail::Unreachable {
            icmp_type,
            icmp_code,
            sender,
            mtu,
        } => match mtu {
            Some(mtu) => t!("{sender} says MTU {mtu}"),
            None => t!("{sender} says ICMP {icmp_type}/{icmp_code}"),
        },
        Detail::Dns {
            problem,
            name,
            query_type,
            ..
        } => t!("{}: {} {query_type}", retold(problem), clean(name)),
        Detail::Oom { pid, comm, .. } => {
            let comm = comm.as_deref().unwrap_or(t!("a process"));
            t!("{} (pid {pid}) was OOM-killed", clean(comm))
        }
        Detail::Between { between } => t!(
            "{} of {} packets to {} never came",
            event.count,
            between.packets,
            clean(&between.to)
        ),
        Detail::Link { change } => t!("link {}", retold(change)),
        Detail::Finding { finding } => {
            let word = severity(finding.severity);
            t!("{word} {}: {}", finding.cause, clean(&finding.summary))
        }
        Detail::Fragment { .. } | Detail::Foreign | Detail::Stats { .. } => String::new(),
    }
}

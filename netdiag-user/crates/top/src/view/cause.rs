//! A cause: what it is, how one can tell, what to do, whom it hits, and its flows.
use netdiag_lang::{retold, t};

use super::{
    Ink,
    command::{command, offered},
    ink::Tone,
    line::Line,
    page::{heading, paragraph},
    table::{confidence, padded, tone},
};
use crate::{
    app::Target,
    causes::{Cause, Ends},
    history::Moment,
    items,
    model::{
        pod::label,
        verdict::{Evidence, Finding, FlowRef, Origin, PodRef, PodRole},
    },
    shell,
};

/// Pods that are listed.
const PODS: usize = 12;

pub fn lines(id: &str, moment: &Moment<'_>, ink: &Ink, room: usize) -> Vec<Line> {
    let Some(cause) = moment.reading.cause(id) else {
        let text = t!("this cause is not named at this reading");
        return paragraph(text, 0, Tone::Dim, room);
    };
    let finding = &cause.finding;
    let mut lines = title(finding, ink, room);
    lines.extend(relatives(finding, moment, ink, room));
    lines.extend(flows(cause, ink));
    lines.extend(evidence(&finding.evidence, ink, room));
    lines.extend(fix(finding, ink, room));
    lines.extend(pods(&finding.pods, ink));
    lines.extend(times(finding));
    let manual = shell!("netdiag explain {}", finding.cause);
    lines.push(Line::default());
    lines.extend(offered(&manual, ink, room));
    lines
}

fn title(finding: &Finding, ink: &Ink, room: usize) -> Vec<Line> {
    let word = items::severity(finding.severity);
    let how = confidence(finding.confidence);
    let first = Line::new(word, tone(finding.severity))
        .with(format!(" {}", finding.cause), Tone::Strong)
        .with(format!("  {how}"), Tone::Dim);
    let mut lines = vec![first];
    lines.extend(paragraph(
        &ink.text(&retold(&finding.summary)),
        0,
        Tone::Plain,
        room,
    ));
    lines
}

/// What it follows from, and what follows from it.
fn relatives(finding: &Finding, moment: &Moment<'_>, ink: &Ink, room: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let root = finding.root.as_ref();
    if let Some(root) = root.and_then(|id| moment.reading.cause(id)) {
        let why = finding.because.as_deref().unwrap_or_default();
        let text = t!("a consequence of {}", root.finding.cause);
        let lead = Target::Cause(root.finding.id.clone());
        lines.push(Line::new(text, Tone::Warning).leads(lead));
        if !why.is_empty() {
            lines.extend(paragraph(&ink.text(why), 2, Tone::Dim, room));
        }
    }
    let own = Some(&finding.id);
    let below = moment.reading.causes.iter();
    for it in below.filter(|it| it.finding.root.as_ref() == own) {
        let text = t!("has the consequence {}", it.finding.cause);
        let lead = Target::Cause(it.finding.id.clone());
        lines.push(Line::new(text, Tone::Warning).leads(lead));
    }
    lines
}

fn flows(cause: &Cause, ink: &Ink) -> Vec<Line> {
    let flows = &cause.finding.flows;
    if flows.is_empty() {
        return Vec::new();
    }
    let mut lines = heading(t!("Flows, with their packets, retransmits and last hop")).to_vec();
    for flow in flows {
        let lead = Target::Way(cause.finding.id.clone(), Ends::of(flow));
        let counts = t!("  {} pkt, {} retr", flow.packets, flow.retransmits);
        let last = flow.last_seen_at.as_deref();
        let last = last.map_or_else(String::new, |at| t!(", {}", ink.text(at)));
        let line = Line::plain(way(flow, ink)).with(counts + &last, Tone::Dim);
        lines.push(line.leads(lead));
    }
    lines
}

pub fn way(flow: &FlowRef, ink: &Ink) -> String {
    let arrow = ink.own("→");
    let named = flow.service.as_deref();
    let named = named.map_or_else(String::new, |name| format!(" ({})", ink.text(name)));
    format!(
        "{} {} {arrow} {}{named}",
        ink.text(&flow.protocol),
        ink.text(&flow.source),
        ink.text(&flow.destination)
    )
}

fn evidence(evidence: &[Evidence], ink: &Ink, room: usize) -> Vec<Line> {
    let mut lines = heading(t!("Evidence")).to_vec();
    for it in evidence {
        let origin = match it.origin {
            Origin::Observed => t!("observed"),
            Origin::Configured => t!("configured"),
        };
        let text = t!("{origin}: {}", ink.text(&it.text));
        lines.extend(paragraph(&text, 2, Tone::Plain, room));
        let confirm = it.confirm.as_ref();
        lines.extend(confirm.into_iter().flat_map(|it| offered(it, ink, room)));
    }
    lines
}

fn fix(finding: &Finding, ink: &Ink, room: usize) -> Vec<Line> {
    let fix = &finding.fix;
    let mut lines = heading(t!("Fix")).to_vec();
    lines.extend(paragraph(&ink.text(&fix.summary), 2, Tone::Plain, room));
    let both = fix.looks().count() > 0 && fix.repairs().count() > 0;
    let titled = |title: &str| both.then(|| Line::new(format!("  {title}"), Tone::Dim));
    lines.extend(titled(t!("look first:")));
    lines.extend(fix.looks().flat_map(|it| command(it, ink, room)));
    lines.extend(titled(t!("then:")));
    lines.extend(fix.repairs().flat_map(|it| command(it, ink, room)));
    if let Some(tried) = &finding.tried {
        lines.extend(paragraph(&ink.text(&tried.told()), 2, Tone::Dim, room));
    }
    if fix.left_out() > 0 {
        let text = t!(
            "{} commands left out: a name in them could make a shell take it for something else",
            fix.left_out()
        );
        lines.extend(paragraph(&text, 2, Tone::Dim, room));
    }
    lines
}

fn pods(pods: &[PodRef], ink: &Ink) -> Vec<Line> {
    if pods.is_empty() {
        return Vec::new();
    }
    let mut lines = heading(t!("Pods")).to_vec();
    for pod in pods.iter().take(PODS) {
        let role = match pod.role {
            Some(PodRole::Source) => t!("source"),
            Some(PodRole::Destination) => t!("destination"),
            Some(PodRole::Server) => t!("server"),
            Some(PodRole::Victim) => t!("victim"),
            None => "",
        };
        let rest = [pod.ip.as_deref(), pod.interface.as_deref()];
        let rest: Vec<String> = rest.into_iter().flatten().map(|it| ink.text(it)).collect();
        let role = padded(role, 12, false, 0);
        let line = Line::new(format!("  {role}"), Tone::Dim);
        let line = line.with(ink.text(&label(pod)), Tone::Plain);
        lines.push(line.with(format!("  {}", rest.join("  ")), Tone::Dim));
    }
    if pods.len() > PODS {
        let text = t!("  and {} more", pods.len() - PODS);
        lines.push(Line::new(text, Tone::Dim));
    }
    lines
}

fn times(finding: &Finding) -> Vec<Line> {
    let mut lines = heading(t!("Seen")).to_vec();
    let named = finding.named_at.as_deref().unwrap_or("?");
    let text = t!(
        "  first {}, last {}, named {named}",
        finding.first_seen,
        finding.last_seen
    );
    lines.push(Line::plain(text));
    lines
}

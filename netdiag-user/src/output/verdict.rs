//! The verdict for people: what is wrong, how one can tell, whom it hits, what to do.
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::NOTHING};

use super::style::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, clean, paint, wrap};
use crate::model::{
    pod::label,
    verdict::{
        Confidence, Drop, Evidence, Finding, FlowRef, Origin, Outcome, PodRef, Severity, Verdict,
    },
};

/// Rows of drops and flows shown; `wide` shows all.
const MOST_ROWS: usize = 8;

/// A packet sent again now and then is everybody's day.
const WORTH_TELLING: u64 = 3;

pub fn render(verdict: &Verdict, width: usize, wide: bool) -> String {
    let page = Page {
        width,
        most: if wide { usize::MAX } else { MOST_ROWS },
    };
    let mut out = page.head(verdict);
    for finding in &verdict.findings {
        out.push('\n');
        out.push_str(&page.finding(finding));
    }
    out.push_str(&page.drops(&verdict.drops));
    out.push_str(&page.retransmits(verdict));
    out.push_str(&page.foot(verdict));
    out
}

struct Page {
    width: usize,
    most: usize,
}

impl Page {
    fn head(&self, verdict: &Verdict) -> String {
        let (style, word) = match verdict.verdict {
            Outcome::Healthy => (GREEN, "healthy"),
            Outcome::Incomplete => (YELLOW, "not enough seen to call it healthy"),
            Outcome::Findings => (RED, "findings"),
        };
        let word = match verdict.findings.len() {
            0 => match verdict.drops.iter().map(|d| d.packets).sum::<u64>() {
                0 => word.to_owned(),
                packets => format!("{word}: no cause found; {packets} packets dropped, see below"),
            },
            1 => "1 finding".to_owned(),
            n => format!("{n} findings"),
        };
        let watched = match verdict.observer.hooks {
            0 => "configuration only, no traffic watched".to_owned(),
            _ => format!("watched {:.1} s", verdict.duration),
        };
        format!(
            "{} {} · Linux {} · {watched}\n",
            paint(BOLD, &clean(&verdict.node)),
            paint(style, &word),
            clean(&verdict.kernel),
        )
    }

    fn finding(&self, finding: &Finding) -> String {
        let (style, word) = match finding.severity {
            Severity::Critical => (RED, "CRITICAL"),
            Severity::Warning => (YELLOW, "WARNING"),
            Severity::Info => (CYAN, "INFO"),
        };
        let confidence = match finding.confidence {
            Confidence::Confirmed if by_traffic(finding) => "confirmed by traffic",
            Confidence::Confirmed => "confirmed",
            Confidence::Configured => "by configuration, not met by traffic yet",
            Confidence::Suspected => "suspected",
        };
        let mut out = format!(
            "{}  {}  {}\n",
            paint(style, word),
            paint(BOLD, &finding.cause),
            paint(DIM, confidence)
        );
        out.push_str(&wrap(&clean(&finding.summary), self.width, "  "));
        if let Some(root) = &finding.consequence_of {
            let why = finding.because.as_deref().unwrap_or_default();
            let because = if why.is_empty() { "" } else { ": " };
            let text = format!("a consequence of {root}{because}{why}");
            out.push_str(&wrap(&clean(&text), self.width, "  "));
        }
        out.push_str(&self.evidence(&finding.evidence));
        out.push_str(&self.pods(&finding.pods));
        out.push_str(&self.flows(&finding.flows));
        out.push_str(&self.fix(finding));
        out
    }

    fn evidence(&self, evidence: &[Evidence]) -> String {
        let mut out = heading("Evidence");
        for line in evidence {
            let origin = match line.origin {
                Origin::Observed => "observed  ",
                Origin::Configured => "configured",
            };
            let text = wrap(&clean(&line.text), self.width, "                ");
            out.push_str(&format!(
                "    {}  {}",
                paint(DIM, origin),
                text.trim_start()
            ));
            if let Some(confirm) = &line.confirm {
                out.push_str(&format!(
                    "                {}\n",
                    paint(CYAN, &format!("$ {}", clean(confirm)))
                ));
            }
        }
        out
    }

    fn pods(&self, pods: &[PodRef]) -> String {
        if pods.is_empty() {
            return String::new();
        }
        let mut table = self.fitted();
        for pod in pods.iter().take(self.most) {
            let role = pod.role.map_or("", role_name);
            let ip = pod.ip.clone().unwrap_or_default();
            let name = match pod.name {
                Some(_) => label(pod),
                None => "name unknown".into(),
            };
            let interface = pod
                .interface
                .clone()
                .unwrap_or_else(|| "on another node".into());
            table.add_row([role, &clean(&name), &clean(&ip), &clean(&interface)]);
        }
        heading("Pods") + &indent(&table) + &self.more(pods.len())
    }

    /// What was sent again, where no finding tells of the flow.
    fn retransmits(&self, verdict: &Verdict) -> String {
        let told = |flow: &FlowRef| {
            let mut flows = verdict.findings.iter().flat_map(|f| &f.flows);
            let (one, other) = (&flow.source, &flow.destination);
            flows.any(|f| {
                let ends = (&f.source, &f.destination);
                ends == (one, other) || ends == (other, one)
            })
        };
        let rest = verdict.retransmits.iter();
        let rest: Vec<_> = rest
            .filter(|f| f.retransmits >= WORTH_TELLING && !told(f))
            .cloned()
            .collect();
        if rest.is_empty() {
            return String::new();
        }
        let title = paint(BOLD, "Retransmits on this node");
        format!("\n{title}\n{}", self.flow_table(&rest))
    }

    fn flows(&self, flows: &[FlowRef]) -> String {
        if flows.is_empty() {
            return String::new();
        }
        heading("Flows") + &self.flow_table(flows)
    }

    fn flow_table(&self, flows: &[FlowRef]) -> String {
        let mut table = self.fitted();
        table.set_header(["FLOW", "PACKETS", "RETRANSMITS", "LAST SEEN AT"]);
        for flow in flows.iter().take(self.most) {
            table.add_row([
                format!("{} {} → {}", flow.protocol, flow.source, flow.destination),
                flow.packets.to_string(),
                flow.retransmits.to_string(),
                clean(flow.last_seen_at.as_deref().unwrap_or("?")),
            ]);
        }
        indent(&table) + &self.more(flows.len())
    }

    /// A table without rules that stays within the page.
    fn fitted(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if self.width < usize::from(u16::MAX) {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(self.width.saturating_sub(4)).unwrap_or(u16::MAX));
        }
        table
    }

    fn more(&self, all: usize) -> String {
        match all.saturating_sub(self.most) {
            0 => String::new(),
            n => format!("    and {n} more (-o wide shows all)\n"),
        }
    }

    fn fix(&self, finding: &Finding) -> String {
        let mut out = heading("Fix");
        out.push_str(&wrap(&clean(&finding.fix.summary), self.width, "    "));
        for command in &finding.fix.commands {
            out.push_str(&format!(
                "    {}\n",
                paint(CYAN, &format!("$ {}", clean(command)))
            ));
        }
        out.push_str(&paint(
            DIM,
            &format!("    netdiag explain {}\n", finding.cause),
        ));
        out
    }

    fn drops(&self, drops: &[Drop]) -> String {
        if drops.is_empty() {
            return String::new();
        }
        let mut table = self.fitted();
        table.set_header(["DROPPED FOR", "IN", "ON", "OF", "PACKETS"]);
        for drop in drops.iter().take(self.most) {
            let pod = drop.pod.as_ref().map_or_else(String::new, label);
            table.add_row([
                clean(&drop.reason),
                clean(&drop.location),
                clean(drop.interface.as_deref().unwrap_or("-")),
                clean(&pod),
                drop.packets.to_string(),
            ]);
        }
        if let Some(column) = table.column_mut(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let rest = match drops.len().saturating_sub(self.most) {
            0 => String::new(),
            n => format!("  and {n} more rows (-o wide shows all)\n"),
        };
        format!(
            "\n{}\n{}{rest}",
            paint(BOLD, "Drops on this node"),
            shift(&table, "  ")
        )
    }

    fn foot(&self, verdict: &Verdict) -> String {
        let mut out = String::new();
        if !verdict.not_checked.is_empty() {
            out.push_str(&format!("\n{}\n", paint(BOLD, "Not checked")));
            for row in &verdict.not_checked {
                let text = format!("{}: {}", clean(&row.what), clean(&row.why));
                out.push_str(&wrap(&text, self.width, "  "));
            }
        }
        let o = &verdict.observer;
        let lost = match (o.lost, o.overflowed_flows) {
            (0, 0) => "nothing lost".to_owned(),
            (lost, 0) => format!("{lost} events lost"),
            (lost, flows) => format!("{lost} events lost, {flows} flows overflowed"),
        };
        let foreign = match o.foreign {
            0 => String::new(),
            n => format!(", {n} drops in other namespaces left out"),
        };
        let text = format!("{} hooks, {} events, {lost}{foreign}", o.hooks, o.events);
        out + "\n" + &paint(DIM, &text) + "\n"
    }
}

fn heading(text: &str) -> String {
    format!("  {}\n", paint(BOLD, text))
}

fn role_name(role: crate::model::verdict::PodRole) -> &'static str {
    use crate::model::verdict::PodRole::{Destination, Server, Source, Victim};
    match role {
        Source => "source",
        Destination => "destination",
        Server => "server",
        Victim => "victim",
    }
}

fn indent(table: &Table) -> String {
    shift(table, "   ")
}

fn shift(table: &Table, by: &str) -> String {
    table
        .lines()
        .map(|l| format!("{by}{}\n", l.trim_end()))
        .collect()
}

/// What a control plane or a file says is confirmed without a packet.
fn by_traffic(finding: &Finding) -> bool {
    !finding.flows.is_empty() || finding.evidence.iter().any(|e| e.packets.is_some())
}

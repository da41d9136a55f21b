//! The verdict for people: what is wrong, how one can tell, whom it hits, what to do.
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::NOTHING};
use netdiag_lang::{mark, retold, t};

use self::names::{confidence, in_roles, severity, style_of, watched};
use super::style::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, clean, paint, wrap};
use crate::{
    model::{
        pod::label,
        shell::CommandLine,
        text::{counted, filled, listed},
        total::{Total, add},
        verdict::{Drop, Evidence, Finding, Fix, FlowRef, Origin, Outcome, PodRef, Verdict},
    },
    shell,
};

mod between;
mod foot;
mod names;
pub mod screen;
/// The words of a verdict, for whatever else tells it.
pub mod words {
    pub use super::{
        DropPlace,
        between::passed,
        foot::{accounts, observed, own, undecided_between},
        names::{confidence, in_roles, severity, watched},
        on_node, places, way,
    };
}

/// Rows of drops and flows shown; `wide` shows all.
const MOST_ROWS: usize = 8;

/// Columns of where a line of evidence is from.
const ORIGIN: usize = 10;

/// A packet sent again now and then is everybody's day.
const WORTH_TELLING: u64 = 3;

pub fn render(verdict: &Verdict, width: usize, wide: bool) -> String {
    let page = Page::of(width, wide);
    let mut out = page.head(verdict);
    out.push_str(&between::nodes(verdict, width));
    for finding in &verdict.findings {
        out.push('\n');
        out.push_str(&page.finding(finding));
    }
    out.push_str(&between::ways(verdict, &page));
    out.push_str(&page.drops(&verdict.drops));
    out.push_str(&page.retransmits(verdict));
    out.push_str(&page.foot(verdict));
    out
}

/// One finding with all that it rests on.
pub fn alone(finding: &Finding, width: usize) -> String {
    Page::of(width, false).finding(finding) + "\n"
}

/// The outcome's word with what there is to look at.
fn head_word(verdict: &Verdict, word: &str) -> String {
    let healthy = verdict.verdict == Outcome::Healthy;
    let dropped = verdict.drops.iter().map(|d| d.packets).total();
    let beyond = verdict.unexplained.len() as u64;
    match (verdict.findings.len() as u64, dropped) {
        (0, _) if healthy && beyond > 0 => t!(
            "nothing wrong on this node: {} beyond it unanswered, see below",
            counted(beyond, mark!("conversation"))
        ),
        (0, 0) => word.to_owned(),
        (0, packets) => t!(
            "{word}: no cause found; {} dropped, see below",
            counted(packets, mark!("packet"))
        ),
        (n, _) if healthy => t!("{word}: {} to know of", counted(n, mark!("finding"))),
        (n, _) => counted(n, mark!("finding")),
    }
}

struct Page {
    width: usize,
    wide: bool,
    most: usize,
}

impl Page {
    const fn of(width: usize, wide: bool) -> Self {
        Self {
            width,
            wide,
            most: if wide { usize::MAX } else { MOST_ROWS },
        }
    }

    fn head(&self, verdict: &Verdict) -> String {
        let (style, word) = match verdict.verdict {
            Outcome::Healthy => (GREEN, t!("healthy")),
            Outcome::Incomplete => (YELLOW, t!("not enough seen to call it healthy")),
            Outcome::Findings => (RED, t!("findings")),
        };
        let word = head_word(verdict, word);
        let watched = watched(verdict);
        let title = paint(BOLD, &clean(&verdict.node));
        if !verdict.nodes.is_empty() {
            return format!("{title} {}\n", paint(style, &word));
        }
        format!(
            "{title} {} · Linux {} · {watched}\n",
            paint(style, &word),
            clean(&verdict.kernel),
        )
    }

    fn finding(&self, finding: &Finding) -> String {
        let (style, word) = (style_of(finding.severity), severity(finding.severity));
        let confidence = confidence(finding);
        let on = finding.node.as_ref();
        let on = on.map_or_else(String::new, |node| t!("  on {}", clean(node)));
        let mut out = format!(
            "{}  {}{on}  {}\n",
            paint(style, word),
            paint(BOLD, &finding.cause),
            paint(DIM, confidence)
        );
        out.push_str(&wrap(&clean(&retold(&finding.summary)), self.width, "  "));
        if let Some(root) = &finding.consequence_of {
            let why = retold(finding.because.as_deref().unwrap_or_default());
            let text = match why.is_empty() {
                true => t!("a consequence of {root}"),
                false => t!("a consequence of {root}: {why}"),
            };
            out.push_str(&wrap(&clean(&text), self.width, "  "));
        }
        out.push_str(&self.evidence(&finding.evidence));
        out.push_str(&self.pods(&finding.pods));
        out.push_str(&self.flows(&finding.flows));
        out.push_str(&self.fix(finding));
        out
    }

    fn evidence(&self, evidence: &[Evidence]) -> String {
        let mut out = heading(t!("Evidence"));
        for line in evidence {
            let origin = match line.origin {
                Origin::Observed => t!("observed"),
                Origin::Configured => t!("configured"),
            };
            let origin = filled(origin, ORIGIN);
            let text = of_node(line.node.as_deref(), &retold(&line.text));
            let text = wrap(&clean(&text), self.width, "                ");
            out.push_str(&format!(
                "    {}  {}",
                paint(DIM, &origin),
                text.trim_start()
            ));
            if let Some(confirm) = line.confirm.as_ref().filter(|c| !c.is_refused()) {
                out.push_str(&format!(
                    "                {}\n",
                    paint(CYAN, &format!("$ {confirm}"))
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
        let each = in_roles(pods);
        for (role, pod) in each.iter().take(self.most) {
            let ip = pod.ip.clone().unwrap_or_default();
            let name = match (&pod.name, &pod.uid) {
                (None, None) => t!("name unknown").into(),
                _ => label(pod),
            };
            let owner = pod.owner.as_ref().map(ToString::to_string);
            let owner = self.wide.then(|| clean(&owner.unwrap_or_default()));
            let interface = match (&pod.interface, &pod.node) {
                (Some(link), Some(node)) => t!("{link} on {node}"),
                (Some(link), None) => link.clone(),
                (None, Some(node)) => t!("on {node}"),
                (None, None) => nowhere(pod).into(),
            };
            let mut row = vec![role.clone(), clean(&name), clean(&ip), clean(&interface)];
            row.extend(owner);
            table.add_row(row);
        }
        heading(t!("Pods")) + &indent(&table) + &self.more(each.len())
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
        let title = match verdict.nodes.len() {
            0 => t!("Retransmits on this node"),
            _ => t!("Retransmits on these nodes"),
        };
        let title = paint(BOLD, title);
        format!("\n{title}\n{}", self.flow_table(&rest))
    }

    fn flows(&self, flows: &[FlowRef]) -> String {
        if flows.is_empty() {
            return String::new();
        }
        heading(t!("Flows")) + &self.flow_table(flows)
    }

    fn flow_table(&self, flows: &[FlowRef]) -> String {
        let mut table = self.fitted();
        table.set_header([
            t!("FLOW"),
            t!("PACKETS"),
            t!("RETRANSMITS"),
            t!("LAST SEEN AT"),
        ]);
        for flow in flows.iter().take(self.most) {
            table.add_row([
                clean(&way(flow)),
                flow.packets.to_string(),
                flow.retransmits.to_string(),
                clean(&on_node(
                    flow.last_seen_at.as_deref().unwrap_or("?"),
                    flow.node.as_deref(),
                )),
            ]);
        }
        indent(&table) + &self.more(flows.len())
    }

    /// A table without rules that stays within the page.
    fn fitted(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if !self.wide && self.width < usize::from(u16::MAX) {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(self.width.saturating_sub(4)).unwrap_or(u16::MAX));
        }
        table
    }

    fn more(&self, all: usize) -> String {
        match all.saturating_sub(self.most) {
            0 => String::new(),
            n => t!("    and {n} more (-o wide shows all)\n"),
        }
    }

    fn fix(&self, finding: &Finding) -> String {
        let mut out = heading(&clean(&on_node(t!("Fix"), finding.node.as_deref())));
        out.push_str(&self.steps(&finding.fix));
        if let Some(tried) = &finding.tried {
            out.push_str(&wrap(&clean(&tried.told()), self.width, "    "));
        }
        for other in &finding.other_fixes {
            out.push_str(&heading(&clean(&on_node(t!("Fix"), Some(&other.node)))));
            out.push_str(&self.steps(&other.fix));
        }
        let explain = shell!("netdiag explain {}", finding.cause);
        if !explain.is_refused() {
            out.push_str(&paint(DIM, &format!("    {explain}\n")));
        }
        out
    }

    fn steps(&self, fix: &Fix) -> String {
        let mut out = wrap(&clean(&retold(&fix.summary)), self.width, "    ");
        let (looks, repairs) = (fix.looks().count() > 0, fix.repairs().count() > 0);
        let titled = |title: &str| match looks && repairs {
            true => format!("    {}\n", paint(DIM, title)),
            false => String::new(),
        };
        out.push_str(&titled(t!("look first:")));
        out.extend(fix.looks().map(pasted));
        out.push_str(&titled(t!("then:")));
        out.extend(fix.repairs().map(pasted));
        if fix.left_out() > 0 {
            let why = t!(
                "{} left out: a name in it could make a shell or a reader take it for something \
                 else",
                counted(fix.left_out() as u64, mark!("command"))
            );
            out.push_str(&wrap(&why, self.width, "    "));
        }
        out
    }

    fn drops(&self, drops: &[Drop]) -> String {
        let of_several = drops.iter().any(|d| d.node.is_some());
        let title = if of_several {
            t!("Drops on these nodes")
        } else {
            t!("Drops on this node")
        };
        self.drop_table(title, drops)
    }

    fn drop_table(&self, title: &str, drops: &[Drop]) -> String {
        if drops.is_empty() {
            return String::new();
        }
        let mut table = self.fitted();
        table.set_header([
            t!("REASON"),
            t!("DROPPED IN"),
            t!("LINK"),
            t!("POD"),
            t!("PACKETS"),
        ]);
        let rows = places(drops);
        for row in rows.iter().take(self.most) {
            table.add_row([
                clean(row.reason),
                clean(row.function),
                clean(&row.link),
                clean(&row.pods()),
                row.packets.to_string(),
            ]);
        }
        if let Some(column) = table.column_mut(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let rest = match rows.len().saturating_sub(self.most) {
            0 => String::new(),
            n => t!("  and {n} more rows (-o wide shows all)\n"),
        };
        format!("\n{}\n{}{rest}", paint(BOLD, title), shift(&table, "  "))
    }
}

/// A line that is there to be pasted.
fn pasted(command: &CommandLine) -> String {
    format!("    {}\n", paint(CYAN, &format!("$ {command}")))
}

/// `tcp POD → SERVICE (name) → BACKEND`: as it is sent, and as it is sent on.
pub fn way(flow: &FlowRef) -> String {
    let named = flow.service.as_ref();
    let named = named.map_or_else(String::new, |name| format!(" ({name})"));
    let asked = format!(
        "{} {} → {}{named}",
        flow.protocol, flow.source, flow.destination
    );
    let mut legs: Vec<&str> = flow.legs.iter().map(|l| l.destination.as_str()).collect();
    legs.dedup();
    let masked = flow.legs.iter().find(|l| l.source != flow.source);
    let masked = masked.map_or_else(String::new, |leg| t!(" as {}", leg.source));
    match &legs[..] {
        [] => asked,
        [same] if *same == flow.destination => asked + &masked,
        _ => format!("{asked} → {}{masked}", listed(&legs)),
    }
}

/// What is said of one of several nodes.
fn of_node(node: Option<&str>, text: &str) -> String {
    node.map_or_else(|| text.to_owned(), |node| t!("{node}: {text}"))
}

pub fn on_node(what: &str, node: Option<&str>) -> String {
    node.map_or_else(|| what.to_owned(), |node| t!("{what} on {node}"))
}

/// One place where packets die, whosever they are: what differs by an instruction or by the pod alone
/// is one row to a person.
pub struct DropPlace<'a> {
    pub reason: &'a str,
    pub function: &'a str,
    pub link: String,
    names: Vec<String>,
    /// Packets of flows at whose ends no pod is known.
    others: bool,
    pub packets: u64,
}

impl DropPlace<'_> {
    pub fn pods(&self) -> String {
        match self.names.as_slice() {
            [] => "-".into(),
            [one] if self.others => t!("{one} and others"),
            [one] => one.clone(),
            [first, rest @ ..] => t!("{first} and {} more", rest.len()),
        }
    }
}

pub fn places(drops: &[Drop]) -> Vec<DropPlace<'_>> {
    let mut rows: Vec<DropPlace<'_>> = Vec::new();
    for drop in drops {
        let function = drop.location.split('+').next().unwrap_or_default();
        let link = drop.interface.as_deref().unwrap_or("-");
        let link = on_node(link, drop.node.as_deref());
        let same = |r: &&mut DropPlace<'_>| {
            (r.reason, r.function, &r.link) == (drop.reason.as_str(), function, &link)
        };
        let name = drop.pod.as_ref().map(label);
        match rows.iter_mut().find(same) {
            Some(row) => {
                add(&mut row.packets, drop.packets);
                row.others |= name.is_none();
                let new = name.filter(|n| !row.names.contains(n));
                row.names.extend(new);
            }
            None => rows.push(DropPlace {
                reason: &drop.reason,
                function,
                link,
                others: name.is_none(),
                names: name.into_iter().collect(),
                packets: drop.packets,
            }),
        }
    }
    rows.sort_by_key(|r| std::cmp::Reverse(r.packets));
    rows
}

fn heading(text: &str) -> String {
    format!("  {}\n", paint(BOLD, text))
}

/// Of a pod that has no link here.
fn nowhere(pod: &PodRef) -> &'static str {
    match pod.role {
        _ if pod.linkless => t!("has no link here"),
        Some(crate::model::verdict::PodRole::Victim) => t!("has no link here"),
        _ => t!("on another node"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_by_an_instruction_or_a_pod_is_one_row() {
        let drop = |offset: &str, pod: &str, packets| Drop {
            reason: "QDISC_DROP".into(),
            location: format!("__dev_queue_xmit+{offset}"),
            interface: Some("eth0".into()),
            pod: Some(PodRef {
                namespace: Some("shop".into()),
                name: Some(pod.into()),
                ..PodRef::default()
            }),
            node: None,
            packets,
            bytes: 0,
        };
        let drops = [drop("0x1", "cart", 2), drop("0x9", "api", 3)];
        let rows = places(&drops);
        assert_eq!((rows.len(), rows[0].packets), (1, 5));
        assert_eq!(rows[0].pods(), "shop/cart and 1 more");
    }
}

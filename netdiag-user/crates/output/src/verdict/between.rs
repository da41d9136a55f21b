//! What a verdict of several nodes says beside: which they are, and what passed between them.
use comfy_table::CellAlignment;
use netdiag_lang::t;

use super::{
    super::style::{BOLD, clean, paint, wrap},
    Page, shift,
};
use crate::model::verdict::{Between, Verdict};

/// Clocks that differ by less are no matter.
const WORTH_TELLING: f64 = 1.0;

/// A line for each of the nodes.
pub fn nodes(verdict: &Verdict, width: usize) -> String {
    let line = |node: &crate::model::verdict::NodeRef| {
        let clock = verdict.between.iter();
        let mut clock = clock.filter(|b| b.to == node.node && b.from == verdict.nodes[0].node);
        let clock = clock.find_map(|b| Some((b.clock_ahead?, b.clock_error)));
        let text = t!(
            "{} · Linux {} · watched {:.1} s from {}{}",
            node.node,
            node.kernel,
            node.duration,
            node.started,
            clock.map_or_else(String::new, |it| differs(it, &verdict.nodes[0].node))
        );
        wrap(&clean(&text), width, "  ")
    };
    verdict.nodes.iter().map(line).collect()
}

fn differs((ahead, error): (f64, Option<f64>), of: &str) -> String {
    let within = error.map_or_else(String::new, |it| format!(" (± {it:.2} s)"));
    let by = ahead.abs();
    match ahead {
        s if s >= WORTH_TELLING => t!(" · its clock is {by:.1} s{within} ahead of {of}'s"),
        s if s <= -WORTH_TELLING => t!(" · its clock is {by:.1} s{within} behind {of}'s"),
        _ => String::new(),
    }
}

/// From, to, how long both were watched, packets, those that arrived, those lost, and the flows of
/// which none came; the names as they are.
pub fn passed(it: &Between) -> [String; 7] {
    [
        it.from.clone(),
        it.to.clone(),
        format!("{:.1} s", it.duration),
        it.packets.to_string(),
        it.arrived.to_string(),
        it.packets.saturating_sub(it.arrived).to_string(),
        t!("{} of {}", it.never_came, it.flows),
    ]
}

/// What passed from each node to each other.
pub fn ways(verdict: &Verdict, page: &Page) -> String {
    if verdict.between.is_empty() {
        return String::new();
    }
    let mut table = page.fitted();
    table.set_header([
        t!("FROM"),
        t!("TO"),
        t!("WATCHED BOTH"),
        t!("PACKETS"),
        t!("ARRIVED"),
        t!("LOST"),
        t!("FLOWS LOST"),
    ]);
    for it in &verdict.between {
        table.add_row(passed(it).map(|cell| clean(&cell)));
    }
    for column in 2..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let title = paint(BOLD, t!("Between the nodes"));
    let mut out = format!("\n{title}\n{}", shift(&table, "  "));
    for it in &verdict.between {
        out.push_str(&lost(it, page));
        let title = t!("Came to {} from {} and dropped there", it.to, it.from);
        out.push_str(&page.drop_table(&clean(&title), &it.dropped));
    }
    out
}

/// The flows that left one and came to the other in part or never.
fn lost(it: &Between, page: &Page) -> String {
    if it.lost.is_empty() {
        return String::new();
    }
    let mut table = page.fitted();
    table.set_header([t!("FLOW"), t!("LEFT"), t!("ARRIVED")]);
    for flow in it.lost.iter().take(page.most) {
        table.add_row([
            format!("{} {} → {}", flow.protocol, flow.source, flow.destination),
            flow.packets.to_string(),
            flow.arrived.to_string(),
        ]);
    }
    let title = t!("Left {} and lost on the way to {}", it.from, it.to);
    let more = page.more(it.lost.len());
    format!(
        "\n{}\n{}{more}",
        paint(BOLD, &clean(&title)),
        shift(&table, "  ")
    )
}

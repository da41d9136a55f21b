//! Tables of a page in Markdown.
use netdiag_lang::{mark, say, t};

use super::escape::{code, sentence};
use crate::{
    Timeline,
    model::{
        pod::label,
        text::counted,
        total::Total,
        verdict::{FlowRef, PodRef, Verdict},
    },
    output::words::{self, on_node},
    page::{first, place},
};

/// Cells that are escaped already; nothing where there is no row.
fn table(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let (some, more) = first(rows);
    if some.is_empty() {
        return String::new();
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut out = match title.is_empty() {
        true => "\n".to_owned(),
        false => format!("\n**{title}**\n\n"),
    };
    out.push_str(&line(&mut head.iter().copied()));
    out.push_str(&line(&mut head.iter().map(|_| "---")));
    for row in some {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    if more > 0 {
        out.push_str(&t!("\nand {}\n", counted(more as u64, mark!("more row"))));
    }
    out
}

pub fn nodes(verdict: &Verdict) -> String {
    let row = |it: &crate::model::verdict::NodeRef| {
        vec![
            code(&it.node),
            sentence(&it.kernel),
            sentence(&it.started),
            format!("{:.1} s", it.duration),
            sentence(&words::observed(&it.observer)),
        ]
    };
    let rows: Vec<_> = verdict.nodes.iter().map(row).collect();
    let head = [t!("Node"), "Linux", t!("From"), t!("Watched"), t!("Seen")];
    table("", &head, &rows)
}

pub fn pods(all: &[PodRef]) -> String {
    let row = |(roles, it): (String, &PodRef)| {
        vec![
            Some(roles)
                .filter(|it| !it.is_empty())
                .unwrap_or_else(|| "-".into()),
            code(&label(it)),
            code(it.ip.as_deref().unwrap_or_default()),
            code(&place(it)),
        ]
    };
    let rows: Vec<_> = words::in_roles(all).into_iter().map(row).collect();
    let head = [t!("Role"), t!("Pod"), t!("Address"), t!("Link")];
    table(t!("Pods"), &head, &rows)
}

pub fn flows(title: &str, all: &[FlowRef]) -> String {
    let row = |it: &FlowRef| {
        let last = it.last_seen_at.as_deref().unwrap_or("?");
        vec![
            code(&words::way(it)),
            it.packets.to_string(),
            it.retransmits.to_string(),
            sentence(&on_node(last, it.node.as_deref())),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let head = [
        t!("Flow"),
        t!("Packets"),
        t!("Retransmits"),
        t!("Last seen at"),
    ];
    table(title, &head, &rows)
}

pub fn retransmits(verdict: &Verdict) -> String {
    flows(t!("Most retransmitted flows"), &verdict.retransmits)
}

pub fn drops(verdict: &Verdict) -> String {
    let rows = words::places(&verdict.drops);
    let row = |it: &words::DropPlace<'_>| {
        vec![
            code(it.reason),
            code(it.function),
            code(&it.link),
            code(&it.pods()),
            it.packets.to_string(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let head = [
        t!("Reason"),
        t!("Dropped in"),
        t!("Link"),
        t!("Pod"),
        t!("Packets"),
    ];
    table(t!("Drops"), &head, &rows)
}

pub fn between(verdict: &Verdict) -> String {
    let row = |it: &crate::model::verdict::Between| {
        let [from, to, counts @ ..] = words::passed(it);
        let names = [code(&from), code(&to)];
        names.into_iter().chain(counts).collect()
    };
    let rows: Vec<_> = verdict.between.iter().map(row).collect();
    let head = [
        t!("From"),
        t!("To"),
        t!("Both watched"),
        t!("Packets"),
        t!("Arrived"),
        t!("Lost"),
        t!("Flows lost"),
    ];
    table(t!("Between the nodes"), &head, &rows)
}

/// What was counted over time in one row a kind, and what happened once.
pub fn timelines(all: &[Timeline]) -> String {
    let marks = all.iter().flat_map(|line| {
        let row = |it: &crate::Mark| {
            let of = (all.len() > 1).then_some(line.node.as_str());
            vec![
                format!("+{:.1} s", it.at),
                sentence(&on_node(say(it.what), of)),
                sentence(&it.text),
            ]
        };
        line.marks.iter().map(row)
    });
    let marks: Vec<_> = marks.collect();
    let counts = all.iter().flat_map(|line| {
        line.kinds().filter_map(|kind| {
            let total = line.of(kind).total();
            let (begins, ends) = line.busiest(kind)?;
            Some(vec![
                code(&line.node),
                kind.name().to_owned(),
                total.to_string(),
                t!("{begins:.1} to {ends:.1} s"),
            ])
        })
    });
    let counts: Vec<_> = counts.collect();
    let head = [t!("Node"), t!("What"), t!("Count"), t!("Most at")];
    let over_time = table(t!("Over time"), &head, &counts);
    let head = [t!("Time"), t!("What"), t!("Which")];
    over_time + &table(t!("What happened"), &head, &marks)
}

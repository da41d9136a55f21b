//! Tables, each in a box of its own that scrolls.
use maud::{Markup, html};
use netdiag_lang::{mark, say, t};

use super::text::shown;
use crate::{
    model::{
        pod::label,
        text::counted,
        verdict::{Between, FlowRef, NodeRef, PodRef, Verdict},
    },
    output::words::{self, on_node},
    page::{first, place},
};

/// A column's head, and whether it holds numbers.
pub type Head = (&'static str, bool);

/// `of` is the noun with its "more": `more row`.
pub fn rest(more: usize, of: &str) -> Markup {
    html! {
        @if more > 0 {
            p.muted { (t!("and {}", counted(more as u64, of))) }
        }
    }
}

/// Columns that want room for a whole flow or a rule.
fn class(name: &str, number: bool) -> Option<&'static str> {
    match name {
        _ if number => Some("number"),
        "Flow" | "Flow here" | "Which" => Some("long"),
        _ => None,
    }
}

/// `label` is for whoever hears the page.
pub fn table(label: &str, head: &[Head], rows: &[Vec<String>]) -> Markup {
    let (some, more) = first(rows);
    html! {
        div.scroll role="region" aria-label=(shown(label)) tabindex="0" {
            table {
                thead { tr {
                    @for (name, number) in head {
                        th scope="col" class=[class(name, *number)] { (say(name)) }
                    }
                } }
                tbody {
                    @for row in some {
                        tr {
                            @for (cell, (name, number)) in row.iter().zip(head) {
                                td class=[class(name, *number)] { (shown(cell)) }
                            }
                        }
                    }
                }
            }
        }
        (rest(more, mark!("more row")))
    }
}

fn section(id: &str, title: &str, head: &[Head], rows: &[Vec<String>]) -> Markup {
    html! {
        @if !rows.is_empty() {
            section aria-labelledby=(id) {
                h2 id=(id) { (title) }
                (table(title, head, rows))
            }
        }
    }
}

pub fn pods(all: &[PodRef]) -> Markup {
    // A column that says nothing takes the room of one that does.
    let owned = all.iter().any(|it| it.owner.is_some());
    let row = |(roles, it): (String, &PodRef)| {
        let owner = it.owner.as_ref().map(ToString::to_string);
        let owner = owned.then(|| owner.unwrap_or_else(|| "-".into()));
        let roles = Some(roles).filter(|it| !it.is_empty());
        let mut row = vec![roles.unwrap_or_else(|| "-".into()), label(it)];
        row.push(it.ip.clone().unwrap_or_else(|| "-".into()));
        row.push(place(it));
        row.extend(owner);
        row
    };
    let rows: Vec<_> = words::in_roles(all).into_iter().map(row).collect();
    let mut head: Vec<Head> = [mark!("Role"), mark!("Pod"), mark!("Address"), mark!("Link")]
        .map(|it| (it, false))
        .to_vec();
    head.extend(owned.then_some((mark!("Owner"), false)));
    titled(t!("Pods"), &head, &rows)
}

fn titled(title: &str, head: &[Head], rows: &[Vec<String>]) -> Markup {
    html! {
        @if !rows.is_empty() {
            p.title { (title) }
            (table(title, head, rows))
        }
    }
}

const FLOW: [Head; 4] = [
    (mark!("Flow"), false),
    (mark!("Packets"), true),
    (mark!("Retransmits"), true),
    (mark!("Last seen at"), false),
];

fn flow(it: &FlowRef) -> Vec<String> {
    let last = it.last_seen_at.as_deref().unwrap_or("?");
    vec![
        words::way(it),
        it.packets.to_string(),
        it.retransmits.to_string(),
        on_node(last, it.node.as_deref()),
    ]
}

pub fn flows(title: &str, all: &[FlowRef]) -> Markup {
    let rows: Vec<_> = all.iter().map(flow).collect();
    titled(title, &FLOW, &rows)
}

pub fn retransmits(verdict: &Verdict) -> Markup {
    let rows: Vec<_> = verdict.retransmits.iter().map(flow).collect();
    section("retransmits", t!("Most retransmitted flows"), &FLOW, &rows)
}

pub fn drops(verdict: &Verdict) -> Markup {
    let places = words::places(&verdict.drops);
    let row = |it: &words::DropPlace<'_>| {
        vec![
            it.reason.to_owned(),
            it.function.to_owned(),
            it.link.clone(),
            it.pods(),
            it.packets.to_string(),
        ]
    };
    let rows: Vec<_> = places.iter().map(row).collect();
    let head = [
        (mark!("Reason"), false),
        (mark!("Dropped in"), false),
        (mark!("Link"), false),
        (mark!("Pod"), false),
        (mark!("Packets"), true),
    ];
    section("drops", t!("Drops"), &head, &rows)
}

/// Several nodes side by side.
pub fn nodes(verdict: &Verdict) -> Markup {
    let (some, more) = first(&verdict.nodes);
    html! {
        @if !some.is_empty() {
            section aria-labelledby="nodes" {
                h2 id="nodes" { (t!("Nodes")) }
                div.cards {
                    @for it in some { (node(verdict, it)) }
                }
                (rest(more, mark!("more node")))
            }
        }
    }
}

fn node(verdict: &Verdict, it: &NodeRef) -> Markup {
    let here = |f: &&crate::model::verdict::Finding| f.node.as_ref() == Some(&it.node);
    let findings: Vec<_> = verdict.findings.iter().filter(here).collect();
    let (findings, more) = first(&findings);
    html! {
        div.card {
            p.title.name { (shown(&it.node)) }
            p.muted {
                (shown(&t!(
                    "Linux {} · watched {:.1} s from {}",
                    it.kernel,
                    it.duration,
                    it.started
                )))
            }
            @if findings.is_empty() { p { (t!("No cause found here.")) } }
            @else {
                ul { @for f in findings { li { (shown(&f.cause)) } } }
                (rest(more, mark!("more finding")))
            }
            p.muted { (shown(&words::observed(&it.observer))) }
        }
    }
}

pub fn between(verdict: &Verdict) -> Markup {
    let row = |it: &Between| words::passed(it).to_vec();
    let rows: Vec<_> = verdict.between.iter().map(row).collect();
    let head = [
        (mark!("From"), false),
        (mark!("To"), false),
        (mark!("Both watched"), true),
        (mark!("Packets"), true),
        (mark!("Arrived"), true),
        (mark!("Lost"), true),
        (mark!("Flows lost"), true),
    ];
    let lost = verdict.between.iter().flat_map(|it| {
        let row = |flow: &crate::model::verdict::LostFlow| {
            vec![
                t!("{} to {}", it.from, it.to),
                format!("{} {} → {}", flow.protocol, flow.source, flow.destination),
                flow.packets.to_string(),
                flow.arrived.to_string(),
            ]
        };
        it.lost.iter().map(row)
    });
    let lost: Vec<_> = lost.collect();
    let lost_head = [
        (mark!("Between"), false),
        (mark!("Flow"), false),
        (mark!("Left"), true),
        (mark!("Arrived"), true),
    ];
    html! {
        (section("between", t!("Between the nodes"), &head, &rows))
        (titled(t!("Flows that lost most on the way"), &lost_head, &lost))
    }
}

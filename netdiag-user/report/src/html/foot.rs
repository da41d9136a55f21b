//! What nobody explains, cannot tell or has not checked, and what netdiag itself took.
use maud::{Markup, html};

use super::{tables::rest, text::shown};
use crate::{
    model::verdict::PodSource,
    output::words,
    page::{Page, first, on_node},
};

type Row = (String, String);

pub fn foot(page: &Page<'_>) -> Markup {
    let verdict = page.verdict;
    let of = |what: &str, why: &str, node: Option<&str>| (on_node(what, node), why.to_owned());
    let unexplained = verdict.unexplained.iter();
    let unexplained: Vec<Row> = unexplained
        .map(|it| of(&it.what, &it.why, it.node.as_deref()))
        .collect();
    let undecided = verdict.cannot_tell.iter();
    let undecided: Vec<Row> = undecided
        .map(|it| of("", &words::undecided_between(it), it.node.as_deref()))
        .collect();
    let missing = verdict.not_checked.iter();
    let missing: Vec<Row> = missing
        .map(|it| of(&it.what, &it.why, it.node.as_deref()))
        .collect();
    html! {
        (list("unexplained", "Not explained", &unexplained))
        (list("cannot-tell", "Cannot tell", &undecided))
        (list("not-checked", "Not checked", &missing))
        section aria-labelledby="own" {
            h2 id="own" { "netdiag itself" }
            ul {
                @for it in page.own() { li { (shown(&it)) } }
                @if !verdict.pod_sources.is_empty() { li { (sources(&verdict.pod_sources)) } }
            }
        }
    }
}

fn list(id: &str, title: &str, rows: &[Row]) -> Markup {
    let (some, more) = first(rows);
    html! {
        @if !some.is_empty() {
            section aria-labelledby=(id) {
                h2 id=(id) { (title) }
                ul {
                    @for (what, why) in some {
                        li {
                            @if !what.is_empty() { strong { (shown(what)) } ": " }
                            (shown(why))
                        }
                    }
                }
                (rest(more, "row"))
            }
        }
    }
}

fn sources(all: &[PodSource]) -> Markup {
    let each = all
        .iter()
        .map(|it| format!("{} ({})", it.source.name(), it.pods));
    let each: Vec<String> = each.collect();
    html! { "Pods' names from: " (each.join(", ")) }
}

pub fn files(page: &Page<'_>) -> Markup {
    html! {
        footer {
            p.muted {
                "Made by netdiag " (env!("CARGO_PKG_VERSION")) " from "
                span.name { (shown(&page.source.names())) }
                ". It holds names and addresses of this cluster."
            }
        }
    }
}

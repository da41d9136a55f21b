//! What nobody explains, cannot tell or has not checked, and what netdiag itself took.
use maud::{Markup, html};
use netdiag_lang::{mark, retold, t};

use super::{tables::rest, text::shown};
use crate::{
    model::{text::listed, verdict::PodSource},
    output::words::{self, on_node},
    page::{Page, first},
};

type Row = (String, String);

pub fn foot(page: &Page<'_>) -> Markup {
    let verdict = page.verdict;
    let of = |what: &str, why: &str, node: Option<&str>| {
        (on_node(&retold(what), node), retold(why).into_owned())
    };
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
        (list("unexplained", t!("Not explained"), &unexplained))
        (list("cannot-tell", t!("Cannot tell"), &undecided))
        (list("not-checked", t!("Not checked"), &missing))
        section aria-labelledby="own" {
            h2 id="own" { (t!("netdiag itself")) }
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
                            @if !what.is_empty() { strong { (shown(what)) } (t!(": ")) }
                            (shown(why))
                        }
                    }
                }
                (rest(more, mark!("more row")))
            }
        }
    }
}

fn sources(all: &[PodSource]) -> Markup {
    let each = all
        .iter()
        .map(|it| format!("{} ({})", it.source.name(), it.pods));
    let each: Vec<String> = each.collect();
    html! { (t!("Pods' names from: ")) (listed(&each)) }
}

pub fn files(page: &Page<'_>) -> Markup {
    html! {
        footer {
            p.muted {
                (t!("Made by netdiag {} from ", env!("CARGO_PKG_VERSION")))
                span.name { (shown(&page.source.names())) }
                (t!(". It holds names and addresses of this cluster."))
            }
        }
    }
}

//! A finding with all that it says, and below it what follows from it.
use maud::{Markup, html};

use super::{
    badge,
    tables::{flows, pods, rest},
    text::{command, shown},
    way,
};
use crate::{
    model::{
        text::counted,
        verdict::{Evidence, Finding, Fix, Origin},
    },
    output::words,
    page::{Page, first, on_node},
    tree::Branch,
};

/// The deepest heading that HTML has.
const DEEPEST: usize = 4;

pub fn finding(page: &Page<'_>, branch: &Branch, depth: usize) -> Markup {
    let it = &page.verdict.findings[branch.finding];
    let id = format!("finding-{}", branch.finding + 1);
    html! {
        article.finding id=(id) {
            (heading(it, depth))
            p.summary { (shown(&it.summary)) }
            @if let Some(root) = &it.consequence_of {
                p.muted {
                    "A consequence of " span.name { (shown(root)) }
                    @if let Some(because) = &it.because { ": " (shown(because)) }
                }
            }
            (way::ways(page, it, &id))
            (fixes(it))
            (evidence(&it.evidence))
            (pods(&it.pods))
            (flows("Flows", &it.flows))
            (when(it))
        }
        @for below in &branch.below {
            (finding(page, below, (depth + 1).min(DEEPEST)))
        }
    }
}

fn heading(it: &Finding, depth: usize) -> Markup {
    let words = html! {
        (badge(it.severity)) " "
        span.name { (shown(&on_node(&it.cause, it.node.as_deref()))) }
        " " span.sure { (words::confidence(it)) }
    };
    html! {
        @match depth {
            2 => h2 { (words) },
            3 => h3 { (words) },
            _ => h4 { (words) },
        }
    }
}

fn when(it: &Finding) -> Markup {
    html! {
        p.muted {
            "First seen " (shown(&it.first_seen)) ", last seen " (shown(&it.last_seen))
            @if let Some(at) = &it.named_at { ", named " (shown(at)) }
            "."
        }
    }
}

fn fixes(it: &Finding) -> Markup {
    html! {
        div.fix {
            (fix(it.node.as_deref(), &it.fix))
            @for other in &it.other_fixes {
                (fix(Some(&other.node), &other.fix))
            }
        }
    }
}

fn fix(node: Option<&str>, fix: &Fix) -> Markup {
    let looks: Vec<_> = fix.looks().collect();
    let repairs: Vec<_> = fix.repairs().collect();
    let (looks, more_looks) = first(&looks);
    let (repairs, more_repairs) = first(&repairs);
    html! {
        p { strong { (shown(&on_node("Fix", node))) } ": " (shown(&fix.summary)) }
        @if !looks.is_empty() {
            p.step { @if repairs.is_empty() { "Look:" } @else { "Look first:" } }
            @for it in looks { (command(it)) }
            (rest(more_looks, "command"))
        }
        @if !repairs.is_empty() {
            p.step { @if looks.is_empty() { "Do:" } @else { "Then:" } }
            @for it in repairs { (command(it)) }
            (rest(more_repairs, "command"))
        }
        @if fix.left_out() > 0 {
            p.muted {
                (counted(fix.left_out() as u64, "command"))
                " left out: a name in it could pass for something else"
            }
        }
    }
}

fn evidence(all: &[Evidence]) -> Markup {
    let (some, more) = first(all);
    html! {
        @if !some.is_empty() {
            p.title { "Evidence" }
            ul.evidence {
                @for it in some {
                    li {
                        span.origin { (origin(it)) } " " (shown(&it.text))
                        @if let Some(confirm) = it.confirm.as_ref().filter(|c| !c.is_refused()) {
                            (command(confirm))
                        }
                    }
                }
            }
            (rest(more, "line"))
        }
    }
}

fn origin(it: &Evidence) -> Markup {
    let word = match it.origin {
        Origin::Observed => "observed",
        Origin::Configured => "configured",
    };
    html! { (shown(&on_node(word, it.node.as_deref()))) }
}

//! A finding with all that it says, and below it what follows from it.
use maud::{Markup, html};
use netdiag_lang::{mark, retold, t};

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
    output::words::{self, on_node},
    page::{Page, first},
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
            p.summary { (shown(&retold(&it.summary))) }
            @if let Some(root) = &it.consequence_of {
                p.muted {
                    (t!("A consequence of ")) span.name { (shown(root)) }
                    @if let Some(because) = &it.because { (t!(": ")) (shown(&retold(because))) }
                }
            }
            (way::ways(page, it, &id))
            (fixes(it))
            (evidence(&it.evidence))
            (pods(&it.pods))
            (flows(t!("Flows"), &it.flows))
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
            (shown(&t!("First seen {}, last seen {}", it.first_seen, it.last_seen)))
            @if let Some(at) = &it.named_at { (shown(&t!(", named {at}"))) }
            (t!("."))
        }
    }
}

fn fixes(it: &Finding) -> Markup {
    html! {
        div.fix {
            (fix(it.node.as_deref(), &it.fix))
            @if let Some(tried) = &it.tried {
                p.muted { (shown(&tried.told())) }
            }
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
        p { strong { (shown(&on_node(t!("Fix"), node))) } (t!(": ")) (shown(&retold(&fix.summary))) }
        @if !looks.is_empty() {
            p.step { @if repairs.is_empty() { (t!("Look:")) } @else { (t!("Look first:")) } }
            @for it in looks { (command(it)) }
            (rest(more_looks, mark!("more command")))
        }
        @if !repairs.is_empty() {
            p.step { @if looks.is_empty() { (t!("Do:")) } @else { (t!("Then:")) } }
            @for it in repairs { (command(it)) }
            (rest(more_repairs, mark!("more command")))
        }
        @if fix.left_out() > 0 {
            p.muted {
                (t!(
                    "{} left out: a name in it could pass for something else",
                    counted(fix.left_out() as u64, mark!("command"))
                ))
            }
        }
    }
}

fn evidence(all: &[Evidence]) -> Markup {
    let (some, more) = first(all);
    html! {
        @if !some.is_empty() {
            p.title { (t!("Evidence")) }
            ul.evidence {
                @for it in some {
                    li {
                        span.origin { (origin(it)) } " " (shown(&retold(&it.text)))
                        @if let Some(confirm) = it.confirm.as_ref().filter(|c| !c.is_refused()) {
                            (command(confirm))
                        }
                    }
                }
            }
            (rest(more, mark!("more line")))
        }
    }
}

fn origin(it: &Evidence) -> Markup {
    let word = match it.origin {
        Origin::Observed => t!("observed"),
        Origin::Configured => t!("configured"),
    };
    html! { (shown(&on_node(word, it.node.as_deref()))) }
}

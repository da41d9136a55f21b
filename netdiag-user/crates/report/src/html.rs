//! One HTML page that needs nothing beside itself: it loads nothing, and runs nothing but a few lines
//! that sort tables.
mod computed;
mod finding;
mod foot;
mod tables;
mod text;
mod timeline;
mod way;

use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use netdiag_lang::{Lang, chosen, retold, t};
use sha2::{Digest, Sha256};

use self::text::shown;
use crate::{
    model::{
        text::lines,
        verdict::{Outcome, Severity, Verdict},
    },
    output::words::{on_node, severity},
    page::{Page, doubt},
    tree::Branch,
};

const STYLE: &str = include_str!("html/style.css");
/// Makes tables sortable. Without it they are tables.
const SCRIPT: &str = include_str!("html/sort.js");

/// The whole page.
pub fn html(page: &Page<'_>) -> String {
    let title = t!("netdiag: {}: {}", page.nodes(), page.state());
    let all = html! {
        (DOCTYPE)
        html lang=(language()) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (shown(&title)) }
                // Else a browser asks the page's server for one.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(page))
                main { (body(page)) }
                (foot::files(page))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    // Nothing in it turns text around or hides, whatever was forgotten above.
    lines(&all.into_string())
}

fn language() -> &'static str {
    match chosen() {
        Lang::English => "en",
        Lang::Chinese => "zh-CN",
    }
}

/// Nothing but what stands here (CSP Level 3, 2.3.1: a hash of the text between the tags).
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; \
         base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn head(page: &Page<'_>) -> Markup {
    let state = match page.verdict.verdict {
        Outcome::Healthy => "healthy",
        Outcome::Incomplete => "incomplete",
        Outcome::Findings => "findings",
    };
    html! {
        header {
            p.kind { (t!("netdiag incident report")) }
            h1 { span.name { (shown(&page.nodes())) } (t!(": ")) span class=(state) { (page.state()) } }
            p.muted { (shown(&page.watched())) }
            @if let Some(lacks) = page.source.lacks() {
                p.note { (lacks) }
            }
        }
    }
}

fn body(page: &Page<'_>) -> Markup {
    let tree = page.tree();
    html! {
        section aria-labelledby="causes" {
            h2 id="causes" { (t!("Causes")) }
            @if tree.is_empty() {
                p { (t!("No cause found.")) }
            } @else {
                (branches(page.verdict, &tree))
            }
        }
        (tables::nodes(page.verdict))
        @for root in &tree {
            (finding::finding(page, root, 2))
        }
        (tables::between(page.verdict))
        (timeline::timelines(page.timelines))
        (tables::drops(page.verdict))
        (tables::retransmits(page.verdict))
        (foot::foot(page))
    }
}

/// The tree of causes, each a link to what is said of it.
fn branches(verdict: &Verdict, tree: &[Branch]) -> Markup {
    html! {
        ul.tree {
            @for branch in tree {
                @let it = &verdict.findings[branch.finding];
                li {
                    (badge(it.severity)) " "
                    a href=(format!("#finding-{}", branch.finding + 1)) {
                        (shown(&on_node(&it.cause, it.node.as_deref())))
                    }
                    @if let Some(doubt) = doubt(it) { " " span.muted { "(" (doubt) ")" } }
                    (t!(": ")) (shown(&retold(&it.summary)))
                    @if let Some(because) = it.because.as_ref().filter(|_| it.consequence_of.is_some()) {
                        " " span.muted { "(" (shown(&retold(because))) ")" }
                    }
                    @if !branch.below.is_empty() {
                        (branches(verdict, &branch.below))
                    }
                }
            }
        }
    }
}

fn badge(it: Severity) -> Markup {
    let class = match it {
        Severity::Critical => "badge critical",
        Severity::Warning => "badge warning",
        Severity::Info => "badge info",
    };
    html! { span class=(class) { (severity(it)) } }
}

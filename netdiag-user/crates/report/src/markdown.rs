//! For a chat and for a ticket that takes no HTML: head, tree of causes, each root with its way,
//! evidence, pods and fix, and what was not checked.
mod escape;
mod tables;

use netdiag_lang::{mark, retold, t};

use self::escape::{block, code, ends_a_block, sentence};
use crate::{
    model::{
        shell::CommandLine,
        text::counted,
        verdict::{Evidence, Finding, Fix, Origin},
    },
    output::{
        drawn,
        words::{self, on_node, severity},
    },
    page::{Page, doubt, first},
    tree::Branch,
};

/// Columns of a block of code that a chat shows without breaking it.
const ROOM: usize = 100;

pub fn markdown(page: &Page<'_>) -> String {
    let mut out = t!("## {}: {}\n\n", sentence(&page.nodes()), page.state());
    out.push_str(&format!("netdiag {}\n", sentence(&page.watched())));
    out.push_str(&tables::nodes(page.verdict));
    let tree = page.tree();
    if !tree.is_empty() {
        out.push('\n');
        tree.iter().for_each(|it| branch(page, it, 0, &mut out));
    }
    for root in &tree {
        finding(page, root, &mut out);
    }
    out.push_str(&tables::between(page.verdict));
    out.push_str(&tables::timelines(page.timelines));
    out.push_str(&tables::drops(page.verdict));
    out.push_str(&tables::retransmits(page.verdict));
    foot(page, &mut out);
    out
}

/// A line of the tree, and those below it.
fn branch(page: &Page<'_>, branch: &Branch, depth: usize, out: &mut String) {
    let it = &page.verdict.findings[branch.finding];
    let on = it.node.as_ref();
    let on = on.map_or_else(String::new, |node| t!(" on {}", code(node)));
    let doubt = doubt(it).map_or_else(String::new, |it| format!(" ({it})"));
    let because = it.because.as_ref().filter(|it| !it.is_empty() && depth > 0);
    let because = because.map_or_else(String::new, |why| {
        t!(" (because {})", sentence(&retold(why)))
    });
    out.push_str(&t!(
        "{}- **{}** {}{on}{doubt}: {}{because}\n",
        "  ".repeat(depth),
        severity(it.severity),
        code(&it.cause),
        sentence(&retold(&it.summary))
    ));
    for below in &branch.below {
        self::branch(page, below, depth + 1, out);
    }
}

/// A finding with all that it says, then what follows from it.
fn finding(page: &Page<'_>, branch: &Branch, out: &mut String) {
    let it = &page.verdict.findings[branch.finding];
    let on = it.node.as_ref();
    let on = on.map_or_else(String::new, |node| t!(" on {}", code(node)));
    let sure = words::confidence(it);
    out.push_str(&t!("\n### {}{on}, {sure}\n", code(&it.cause)));
    ways(page, it, out);
    fix(t!("Fix"), it.node.as_deref(), &it.fix, out);
    if let Some(tried) = &it.tried {
        out.push_str(&format!("\n{}\n", sentence(&tried.told())));
    }
    for other in &it.other_fixes {
        fix(t!("Fix"), Some(&other.node), &other.fix, out);
    }
    evidence(&it.evidence, out);
    out.push_str(&tables::pods(&it.pods));
    out.push_str(&tables::flows(t!("Flows"), &it.flows));
    for below in &branch.below {
        finding(page, below, out);
    }
}

fn ways(page: &Page<'_>, it: &Finding, out: &mut String) {
    let several = page.ways_of(it).count() > 1;
    for way in page.ways_of(it) {
        if let Some([above, below]) = drawn(&way.path, ROOM) {
            if several {
                out.push_str(&t!("\nSeen on {}:\n", code(&way.path.node)));
            }
            let lines = [above, below].into_iter().filter(|it| !it.is_empty());
            out.push_str(&block("", lines));
        }
    }
}

fn evidence(all: &[Evidence], out: &mut String) {
    let (some, more) = first(all);
    if some.is_empty() {
        return;
    }
    out.push_str(&format!("\n**{}**\n\n", t!("Evidence")));
    for line in some {
        let origin = match line.origin {
            Origin::Observed => t!("observed"),
            Origin::Configured => t!("configured"),
        };
        let on = on_node(origin, line.node.as_deref());
        out.push_str(&t!(
            "- {}: {}\n",
            sentence(&on),
            sentence(&retold(&line.text))
        ));
    }
    rest(more, mark!("more line"), out);
    let mut confirm: Vec<&CommandLine> = Vec::new();
    for command in some.iter().filter_map(|it| it.confirm.as_ref()) {
        if !confirm.contains(&command) {
            confirm.push(command);
        }
    }
    commands(t!("To see it by hand:"), confirm.into_iter(), out);
}

fn rest(more: usize, of: &str, out: &mut String) {
    if more > 0 {
        let more = counted(more as u64, of);
        out.push_str(&t!("\nand {more}\n"));
    }
}

/// Commands that may be pasted, and none that a chat would show in part.
fn commands<'a>(title: &str, all: impl Iterator<Item = &'a CommandLine>, out: &mut String) {
    let whole = |it: &&CommandLine| !it.is_refused() && !ends_a_block(&it.text());
    let lines: Vec<String> = all.filter(whole).map(ToString::to_string).collect();
    let (some, more) = first(&lines);
    if some.is_empty() {
        return;
    }
    out.push_str(&format!("\n{title}\n"));
    out.push_str(&block("sh", some.iter().cloned()));
    rest(more, mark!("more command"), out);
}

fn fix(title: &str, node: Option<&str>, fix: &Fix, out: &mut String) {
    let title = sentence(&on_node(title, node));
    out.push_str(&t!("\n**{title}**: {}\n", sentence(&retold(&fix.summary))));
    let (looks, repairs) = (fix.looks().count() > 0, fix.repairs().count() > 0);
    let first = if repairs {
        t!("Look first:")
    } else {
        t!("Look:")
    };
    commands(first, fix.looks(), out);
    let then = if looks { t!("Then:") } else { t!("Do:") };
    commands(then, fix.repairs(), out);
    let unsafe_here = |it: &&CommandLine| ends_a_block(&it.text());
    let left_out = fix.left_out() + fix.repairs().chain(fix.looks()).filter(unsafe_here).count();
    if left_out > 0 {
        let left = counted(left_out as u64, mark!("command"));
        out.push_str(&t!(
            "\n{left} left out: a name in it could pass for something else\n"
        ));
    }
}

fn foot(page: &Page<'_>, out: &mut String) {
    let verdict = page.verdict;
    let pair = |what: &str, why: &str, node: Option<&str>| {
        let what = on_node(&retold(what), node);
        t!("{}: {}", sentence(&what), sentence(&retold(why)))
    };
    let unexplained = verdict.unexplained.iter();
    let unexplained = unexplained.map(|it| pair(&it.what, &it.why, it.node.as_deref()));
    list(t!("Not explained"), unexplained.collect(), out);
    let undecided = verdict.cannot_tell.iter();
    let undecided = undecided.map(|it| sentence(&words::undecided_between(it)));
    list(t!("Cannot tell"), undecided.collect(), out);
    let missing = verdict.not_checked.iter();
    let missing = missing.map(|it| pair(&it.what, &it.why, it.node.as_deref()));
    list(t!("Not checked"), missing.collect(), out);
    let own = page.own().into_iter().map(|it| sentence(&it));
    list(t!("netdiag itself"), own.collect(), out);
    if let Some(lacks) = page.source.lacks() {
        out.push_str(&format!("\n{}\n", sentence(lacks)));
    }
    out.push_str(&t!("\nMade from {}\n", code(&page.source.names())));
}

fn list(title: &str, rows: Vec<String>, out: &mut String) {
    let (some, more) = first(&rows);
    if some.is_empty() {
        return;
    }
    out.push_str(&format!("\n**{title}**\n\n"));
    some.iter()
        .for_each(|row| out.push_str(&format!("- {row}\n")));
    rest(more, mark!("more row"), out);
}

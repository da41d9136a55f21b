//! The verdict on one screen: what is wrong, where packets die, what to type. Everything else is a
//! line that says where it stands.
mod glyphs;
pub mod picture;
mod rows;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeSet};

use anstream::adapter::strip_str;
use netdiag_diagnosis::FlowWay;
use netdiag_lang::{mark, retold, t};

use self::{
    glyphs::Glyphs,
    rows::{Row, fitted},
};
use super::{
    BOLD, DIM, GREEN, Page, RED, YELLOW, clean, on_node, paint, pasted, severity, style_of,
    watched, wrap,
};
use crate::{
    model::{
        path::Path,
        pod::label,
        shell::{CommandKind, CommandLine},
        text::{self, counted, has_wide, listed, listed_and_more},
        total::Total,
        verdict::{Confidence, Finding, Outcome, PodRef, Severity, Verdict},
    },
    pipeline::coverage,
    shell,
};

/// A terminal of 24 lines, whose last one the prompt takes.
pub const MOST: usize = 23;
/// What `lab run` says below it: how the scenario went, after an empty line.
const LABS: usize = 2;
/// Roots that have their way and their fix there; of more there is a line each.
const ROOTS: usize = 3;
/// Columns of a sentence: longer lines are hard to follow with the eye.
const PROSE: usize = 110;
/// Lines of a sentence where there is no room for more.
const SENTENCE: usize = 2;
/// Pairs of nodes that have a line.
const PAIRS: usize = 3;
/// Names of pods in a line.
const PODS: usize = 3;

/// What rows are worth where there is no room for all: the lower, the sooner they are shown.
mod worth {
    /// What a screen is useless without.
    pub const ALWAYS: u8 = 0;
    pub const COMMAND: u8 = 1;
    pub const CONSEQUENCE: u8 = 2;
    pub const WAY: u8 = 3;
    pub const FIX: u8 = 4;
    pub const PODS: u8 = 5;
    pub const FURTHER: u8 = 6;
    pub const SPACE: u8 = 7;
}

/// At most [`MOST`] lines of a terminal that is `width` columns wide.
pub fn render(verdict: &Verdict, ways: &[FlowWay], width: usize, ascii: bool) -> String {
    let screen = Screen {
        verdict,
        ways,
        width,
        glyphs: Glyphs::of(ascii),
    };
    let most = match verdict.lab {
        Some(_) => MOST - LABS,
        None => MOST,
    };
    fitted(&screen.rows(), most, width)
}

/// The way of a flow in characters that every reader has: its hops, and what was counted at each.
pub fn drawn(path: &Path, room: usize) -> Option<[String; 2]> {
    let lines = picture::picture(path, Glyphs::of(true), room)?;
    Some(lines.map(|it| strip_str(&it).to_string().trim_end().to_owned()))
}

struct Screen<'a> {
    verdict: &'a Verdict,
    ways: &'a [FlowWay],
    width: usize,
    glyphs: Glyphs,
}

impl Screen<'_> {
    fn rows(&self) -> Vec<Row> {
        let all = &self.verdict.findings;
        let roots: Vec<&Finding> = all.iter().filter(|f| f.consequence_of.is_none()).collect();
        let mut rows = vec![Row::new(worth::ALWAYS, self.head(&roots))];
        for (n, root) in roots.iter().enumerate() {
            match n < ROOTS {
                true => rows.extend(self.root(root)),
                false => rows.push(self.brief(root)),
            }
        }
        rows.extend(self.foot());
        rows
    }

    /// The node's state in one line.
    fn head(&self, roots: &[&Finding]) -> String {
        let verdict = self.verdict;
        let notes = roots
            .iter()
            .filter(|it| it.severity == Severity::Info)
            .count();
        let causes = roots.len().saturating_sub(notes);
        let consequences = verdict.findings.len().saturating_sub(roots.len());
        let (style, mut word) = match verdict.verdict {
            Outcome::Healthy => (GREEN, t!("healthy").to_owned()),
            Outcome::Incomplete => {
                let word = t!("not enough seen to call it healthy");
                (YELLOW, word.to_owned())
            }
            Outcome::Findings => (RED, counted(causes as u64, mark!("root cause"))),
        };
        for (number, noun) in [(consequences, mark!("consequence")), (notes, mark!("note"))] {
            if number > 0 {
                word = t!("{word}, {}", counted(number as u64, noun));
            }
        }
        let dropped = verdict.drops.iter().map(|it| it.packets).total();
        if verdict.findings.is_empty() && dropped > 0 {
            let packets = counted(dropped, mark!("packet"));
            word.push_str(&t!(" ({packets} dropped, see below)"));
        }
        let watched = watched(verdict);
        let names: Vec<&str> = verdict.nodes.iter().map(|it| it.node.as_str()).collect();
        let node = match names.is_empty() {
            false => listed(&names),
            true => verdict.node.clone(),
        };
        let rest = format!(
            " {} {watched} {} Linux {}",
            self.glyphs.dot, self.glyphs.dot, verdict.kernel
        );
        let taken = text::width(&word) + 2;
        let node = self.cut(&clean(&node), self.width.saturating_sub(taken));
        let room = self.width.saturating_sub(taken + text::width(&node));
        let rest = self.cut(&clean(&rest), room);
        format!("{}: {}{rest}\n", paint(BOLD, &node), paint(style, &word))
    }

    fn root(&self, root: &Finding) -> Vec<Row> {
        let mut rows = vec![Row::new(worth::SPACE, "\n".into())];
        rows.push(self.title(root));
        rows.extend(self.consequences(root));
        rows.extend(self.way(root).map(|text| Row::new(worth::WAY, text)));
        rows.extend(self.pods(&root.pods).map(|it| Row::new(worth::PODS, it)));
        rows.extend(self.fix(root));
        rows
    }

    /// `CRITICAL vxlan-mtu-too-large: SUMMARY`, the lines below it indented.
    fn title(&self, finding: &Finding) -> Row {
        let (style, word) = (style_of(finding.severity), severity(finding.severity));
        let how = match finding.confidence {
            Confidence::Confirmed => "",
            Confidence::Configured => t!(" (configured, not met by traffic yet)"),
            Confidence::Suspected => t!(" (suspected)"),
        };
        let cause = on_node(&finding.cause, finding.node.as_deref());
        let text = t!("{word} {cause}{how}: {}", retold(&finding.summary));
        let painted = |text: String| match text.trim_start().strip_prefix(word) {
            Some(rest) => paint(style, word) + rest,
            None => text,
        };
        let [short, full] = self.sentence(&text).map(painted);
        Row::or(worth::ALWAYS, short, full)
    }

    /// Cut after [`SENTENCE`] lines, and in full.
    fn sentence(&self, text: &str) -> [String; 2] {
        let width = self.width.min(PROSE);
        let full = wrap(&clean(text), width, "  ");
        let lines: Vec<&str> = full.lines().collect();
        let fits = |line: &&str| text::width(line) <= width;
        if lines.len() <= SENTENCE && lines.iter().all(fits) {
            return [full.clone(), full];
        }
        let mut short: Vec<&str> = lines.into_iter().take(SENTENCE).collect();
        // A word that is longer than a line is a stranger's, and takes no more than a line.
        let within = |line: &&str| self.cut(line, width);
        let room = self.width.saturating_sub(1 + text::width(self.glyphs.more));
        if let Some(last) = short.last_mut() {
            if has_wide(last) {
                *last = text::fitting(last, room).trim_end();
            }
            while text::width(last) > room
                && let Some((shorter, _)) = last.rsplit_once(' ')
            {
                *last = shorter;
            }
        }
        let short: Vec<String> = short.iter().map(within).collect();
        let short = short.join("\n") + " " + self.glyphs.more + "\n";
        [short, full]
    }

    /// What follows from it, a line each, and below each what follows from that.
    fn consequences(&self, root: &Finding) -> Vec<Row> {
        let mut rows = Vec::new();
        self.follow(root, "  ", &mut rows, &mut Vec::new());
        rows
    }

    fn follow<'a>(
        &'a self,
        of: &Finding,
        indent: &str,
        rows: &mut Vec<Row>,
        passed: &mut Vec<&'a String>,
    ) {
        let below = self.verdict.findings.iter().filter(|f| match &f.root {
            Some(id) => *id == of.id,
            None => f.consequence_of.as_ref() == Some(&of.cause),
        });
        // A verdict from outside may go round in circles.
        let below = below.filter(|f| !passed.contains(&&f.id));
        let below: Vec<&Finding> = below.collect();
        for (n, finding) in below.iter().enumerate() {
            let (stroke, further) = match n + 1 == below.len() {
                true => (self.glyphs.last, "   "),
                false => (self.glyphs.branch, self.glyphs.beside),
            };
            let on = on_node(&finding.cause, finding.node.as_deref());
            let below = format!("{indent}{further}");
            let text = t!("{stroke} {on}: {}", retold(&finding.summary));
            let text = clean(&text);
            let short = self.cut(&format!("{indent}{text}"), self.width) + "\n";
            let full = wrap(&text, self.width.min(PROSE), &below);
            let full = full.replacen(&below, indent, 1);
            rows.push(Row::or(worth::CONSEQUENCE, short, full).patient());
            passed.push(&finding.id);
            self.follow(finding, &below, rows, passed);
        }
    }

    fn way(&self, root: &Finding) -> Option<String> {
        let way = self.ways.iter().find(|it| it.is_of(root))?;
        let room = self.width.saturating_sub(2);
        let [above, below] = picture::picture(&way.path, self.glyphs, room)?;
        let below = below.trim_end();
        Some(match below.is_empty() {
            true => format!("  {above}\n"),
            false => format!("  {above}\n  {}\n", paint(DIM, below)),
        })
    }

    fn pods(&self, pods: &[PodRef]) -> Option<String> {
        let named = pods.iter().filter(|it| it.name.is_some());
        let mut names: Vec<String> = named.map(label).collect();
        let mut seen = BTreeSet::new();
        names.retain(|it| seen.insert(it.clone()));
        let more = names.len().saturating_sub(PODS);
        names.truncate(PODS);
        let text = clean(&t!("  pods: {}", listed_and_more(&names, more)));
        (!names.is_empty()).then(|| self.cut(&text, self.width) + "\n")
    }

    /// What to do, and each command alone on its line, however long.
    fn fix(&self, root: &Finding) -> Vec<Row> {
        let title = on_node(t!("fix"), root.node.as_deref());
        let [short, full] = self.sentence(&t!("{title}: {}", retold(&root.fix.summary)));
        let mut rows = vec![Row::or(worth::FIX, short, full)];
        let commands = commands(root);
        let mut commands = commands.iter();
        rows.extend(
            commands
                .next()
                .map(|it| Row::new(worth::COMMAND, it.clone())),
        );
        let further: Vec<&str> = commands.map(String::as_str).collect();
        if !further.is_empty() {
            let left = counted(further.len() as u64, mark!("more command"));
            let left = paint(DIM, &t!("    and {left}: -o wide"));
            rows.push(Row::or(worth::FURTHER, left + "\n", further.concat()));
        }
        if let Some(tried) = &root.tried {
            let told = self.cut(&clean(&t!("    {}", tried.told())), self.width);
            rows.push(Row::new(worth::FURTHER, paint(DIM, &told) + "\n"));
        }
        rows
    }

    /// One of too many.
    fn brief(&self, root: &Finding) -> Row {
        let on = on_node(&root.cause, root.node.as_deref());
        let text = clean(&t!("also {on}: {}", retold(&root.summary)));
        Row::new(worth::FURTHER, self.cut(&text, self.width) + "\n")
    }

    fn foot(&self) -> Vec<Row> {
        let verdict = self.verdict;
        let mut rows = Vec::new();
        if verdict.findings.is_empty() {
            let page = Page::of(self.width, false);
            let drops =
                page.drop_table(t!("Dropped, without a pattern of failure"), &verdict.drops);
            rows.push(Row::new(worth::FURTHER, drops));
        }
        rows.push(Row::new(worth::SPACE, "\n".into()));
        rows.extend(self.undecided());
        let mut line = |text: String| {
            let text = self.cut(&clean(&text), self.width) + "\n";
            rows.push(Row::new(worth::ALWAYS, text));
        };
        for it in verdict.between.iter().take(PAIRS) {
            let lost = it.packets.saturating_sub(it.arrived);
            if lost > 0 {
                let all = counted(it.packets, mark!("packet"));
                line(t!("{lost} of {all} lost between {} and {}", it.from, it.to));
            }
        }
        if verdict.observer.lost > 0 {
            line(t!("{} events were lost", verdict.observer.lost));
        }
        rows.extend(self.not_checked());
        rows.push(Row::new(worth::ALWAYS, self.more()));
        rows
    }

    /// The first of what nobody explains, and of what an answer is missing for.
    fn undecided(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut add = |title: &str, text: String, all: usize| {
            let of_many = match all {
                1 => String::new(),
                n => t!(" ({n}, here the first)"),
            };
            let [short, full] = self.sentence(&t!("{title}{of_many}: {text}"));
            let begins = |it: &String| it.trim_start().to_owned();
            rows.push(Row::or(worth::ALWAYS, begins(&short), begins(&full)));
        };
        let (unexplained, undecided) = (&self.verdict.unexplained, &self.verdict.cannot_tell);
        if let Some(it) = unexplained.first() {
            add(
                t!("not explained"),
                t!("{}: {}", retold(&it.what), retold(&it.why)),
                unexplained.len(),
            );
        }
        if let Some(it) = undecided.first() {
            let causes = it.causes.join(t!(" or "));
            let text = t!("{causes}: {}: {}", retold(&it.what), retold(&it.why));
            add(t!("cannot tell"), text, undecided.len());
        }
        rows
    }

    /// What no source told of; why, where there is room for it.
    fn not_checked(&self) -> Option<Row> {
        let mut whats: Vec<Cow<'_, str>> = Vec::new();
        let mut whys: Vec<String> = Vec::new();
        // Without it nothing that is seen counts, and it is why a node is not called healthy.
        let (traffic, others): (Vec<_>, Vec<_>) = self
            .verdict
            .not_checked
            .iter()
            .partition(|it| it.what == coverage::TRAFFIC);
        for it in traffic.into_iter().chain(others) {
            let what = retold(&it.what);
            if !whats.contains(&what) {
                whys.push(t!("{what} ({})", retold(&it.why)));
                whats.push(what);
            }
        }
        let sentence = |of: &str| clean(&t!("not checked: {of}"));
        let short = self.cut(&sentence(&listed(&whats)), self.width) + "\n";
        let full = wrap(&sentence(&listed(&whys)), self.width.min(PROSE), "  ");
        let full = full.trim_start().to_owned();
        (!whats.is_empty()).then(|| Row::or(worth::ALWAYS, short, full).patient())
    }

    /// How one sees the rest.
    fn more(&self) -> String {
        let first = self.verdict.findings.first();
        let explain = first.map(|it| shell!("netdiag explain {}", it.cause));
        let explain = explain.filter(|it| !it.is_refused());
        let explain = explain.map_or_else(String::new, |it| format!(" {} {it}", self.glyphs.dot));
        let long = t!("more: add -o wide (evidence, flows, drops){explain}");
        // Part of a command is none.
        let forms = [
            long,
            t!("more: add -o wide{explain}"),
            t!("more: add -o wide").to_owned(),
        ];
        let mut fitting = forms.into_iter().filter(|it| text::width(it) <= self.width);
        paint(DIM, &fitting.next().unwrap_or_default()) + "\n"
    }

    /// Within so many columns.
    fn cut(&self, text: &str, most: usize) -> String {
        if text::width(text) <= most {
            return text.to_owned();
        }
        let kept = most.saturating_sub(text::width(self.glyphs.more));
        text::fitting(text, kept).trim_end().to_owned() + self.glyphs.more
    }
}

/// Those that repair; where none does, those that look. What they do stands above the first of each
/// kind, unless all of them change something here.
fn commands(root: &Finding) -> Vec<String> {
    let repairs: Vec<&CommandLine> = root.fix.repairs().collect();
    let commands = match repairs.is_empty() {
        true => root.fix.looks().collect(),
        false => repairs,
    };
    let title = |command: &CommandLine| match command.kind() {
        CommandKind::Show | CommandKind::Watch => t!("look, which changes nothing:"),
        CommandKind::Elsewhere => t!("where kubectl or that host is at hand:"),
        CommandKind::Change => t!("change on this node:"),
    };
    let is_change = |it: &&CommandLine| it.kind() == CommandKind::Change;
    let plain = commands.iter().all(is_change);
    let mut before = None;
    let one = |command: &CommandLine| {
        let title = Some(title(command)).filter(|it| !plain && before != Some(*it));
        before = title.or(before);
        let title = title.map_or_else(String::new, |it| paint(DIM, &format!("  {it}")) + "\n");
        title + &pasted(command)
    };
    commands.into_iter().map(one).collect()
}

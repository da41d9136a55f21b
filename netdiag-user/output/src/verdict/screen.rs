//! The verdict on one screen: what is wrong, where packets die, what to type. Everything else is a
//! line that says where it stands.
mod glyphs;
mod picture;
mod rows;

use netdiag_diagnosis::FlowWay;

use self::{
    glyphs::Glyphs,
    rows::{Row, fitted},
};
use super::{BOLD, CYAN, DIM, GREEN, Page, RED, YELLOW, clean, on_node, paint, pasted, wrap};
use crate::{
    model::{
        pod::label,
        shell::CommandLine,
        text::counted,
        total::Total,
        verdict::{Confidence, Finding, Outcome, PodRef, Severity, Verdict},
    },
    shell,
};

/// A terminal of 24 lines, whose last one the prompt takes.
pub const MOST: usize = 23;
/// Roots that have their way and their fix there; of more there is a line each.
const ROOTS: usize = 3;
/// Lines that a root's own sentence may have.
const SENTENCE: usize = 3;
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
    fitted(screen.rows(), MOST, width)
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
        let mut rows = vec![Row::new(worth::ALWAYS, self.head(roots.len()))];
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
    fn head(&self, roots: usize) -> String {
        let verdict = self.verdict;
        let consequences = verdict.findings.len().saturating_sub(roots);
        let (style, mut word) = match verdict.verdict {
            Outcome::Healthy => (GREEN, "healthy".to_owned()),
            Outcome::Incomplete => (YELLOW, "not enough seen to call it healthy".to_owned()),
            Outcome::Findings => (RED, counted(roots as u64, "root cause")),
        };
        if consequences > 0 {
            word.push_str(&format!(
                ", {}",
                counted(consequences as u64, "consequence")
            ));
        }
        let dropped = verdict.drops.iter().map(|it| it.packets).total();
        if verdict.findings.is_empty() && dropped > 0 {
            word.push_str(&format!(", {} dropped", counted(dropped, "packet")));
        }
        let watched = match verdict.observer.hooks {
            0 => "configuration only, no traffic watched".to_owned(),
            _ => format!("watched {:.1} s", verdict.duration),
        };
        let mut names = verdict.nodes.iter().map(|it| it.node.as_str());
        let node = match names.next() {
            Some(first) => names.fold(first.to_owned(), |all, it| all + ", " + it),
            None => verdict.node.clone(),
        };
        let rest = format!(
            " {} {watched} {} Linux {}",
            self.glyphs.dot, self.glyphs.dot, verdict.kernel
        );
        let taken = word.chars().count() + 2;
        let node = self.cut(&clean(&node), self.width.saturating_sub(taken));
        let room = self.width.saturating_sub(taken + node.chars().count());
        let rest = self.cut(&clean(&rest), room);
        format!("{}: {}{rest}\n", paint(BOLD, &node), paint(style, &word))
    }

    fn root(&self, root: &Finding) -> Vec<Row> {
        let mut rows = vec![Row::new(worth::SPACE, "\n".into())];
        rows.push(Row::new(worth::ALWAYS, self.title(root)));
        rows.extend(self.consequences(root));
        rows.extend(self.way(root).map(|text| Row::new(worth::WAY, text)));
        rows.extend(self.pods(&root.pods).map(|it| Row::new(worth::PODS, it)));
        rows.extend(self.fix(root));
        rows
    }

    /// `CRITICAL vxlan-mtu-too-large: SUMMARY`, the lines below it indented.
    fn title(&self, finding: &Finding) -> String {
        let (style, word) = match finding.severity {
            Severity::Critical => (RED, "CRITICAL"),
            Severity::Warning => (YELLOW, "WARNING"),
            Severity::Info => (CYAN, "INFO"),
        };
        let how = match finding.confidence {
            Confidence::Confirmed => "",
            Confidence::Configured => " (configured, no traffic has met it)",
            Confidence::Suspected => " (suspected)",
        };
        let on = match &finding.node {
            Some(node) => format!(" on {node}"),
            None => String::new(),
        };
        let text = format!("{word} {}{on}{how}: {}", finding.cause, finding.summary);
        let lines = wrap(&clean(&text), self.width.saturating_sub(2), "");
        let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        if lines.len() > SENTENCE {
            lines.truncate(SENTENCE);
            if let Some(last) = lines.last_mut() {
                *last = self.cut(&format!("{last} {}", self.glyphs.more), self.width - 2);
            }
        }
        let mut text = lines.join("\n  ") + "\n";
        if let Some(rest) = text.strip_prefix(word) {
            text = paint(style, word) + rest;
        }
        text
    }

    /// What follows from it, a line each.
    fn consequences(&self, root: &Finding) -> Vec<Row> {
        let below = self.verdict.findings.iter().filter(|f| {
            let by_id = f.root.as_ref().map(|id| *id == root.id);
            by_id.unwrap_or_else(|| f.consequence_of.as_ref() == Some(&root.cause))
        });
        let below: Vec<&Finding> = below.collect();
        let row = |(n, finding): (usize, &&Finding)| {
            let stroke = match n + 1 == below.len() {
                true => self.glyphs.last,
                false => self.glyphs.branch,
            };
            let on = on_node(&finding.cause, finding.node.as_deref());
            let text = clean(&format!("  {stroke} {on}: {}", finding.summary));
            Row::new(worth::CONSEQUENCE, self.cut(&text, self.width) + "\n")
        };
        below.iter().enumerate().map(row).collect()
    }

    fn way(&self, root: &Finding) -> Option<String> {
        let way = self.ways.iter().find(|it| it.finding == root.id)?;
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
        names.dedup();
        let more = match names.len().saturating_sub(PODS) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        names.truncate(PODS);
        let text = clean(&format!("  pods: {}{more}", names.join(", ")));
        (!names.is_empty()).then(|| self.cut(&text, self.width) + "\n")
    }

    /// What to do, and each command alone on its line, however long.
    fn fix(&self, root: &Finding) -> Vec<Row> {
        let title = on_node("fix", root.node.as_deref());
        let text = clean(&format!("{title}: {}", root.fix.summary));
        let lines = wrap(&text, self.width, "  ");
        let lines: Vec<&str> = lines.lines().collect();
        let lines = match lines.as_slice() {
            [one, two, _, ..] => {
                let two = self.cut(&format!("{two} {}", self.glyphs.more), self.width);
                format!("{one}\n{two}\n")
            }
            all => all.join("\n") + "\n",
        };
        let mut rows = vec![Row::new(worth::FIX, lines)];
        let mut repairs = root.fix.repairs().peekable();
        let commands: Vec<&CommandLine> = match repairs.peek() {
            Some(_) => repairs.collect(),
            None => root.fix.looks().collect(),
        };
        let mut commands = commands.into_iter();
        rows.extend(
            commands
                .next()
                .map(|it| Row::new(worth::COMMAND, pasted(it))),
        );
        let further: Vec<String> = commands.map(pasted).collect();
        if !further.is_empty() {
            let left = counted(further.len() as u64, "more command");
            let left = paint(DIM, &format!("    and {left}: -o wide"));
            rows.push(Row::or(worth::FURTHER, further.concat(), left + "\n"));
        }
        rows
    }

    /// One of too many.
    fn brief(&self, root: &Finding) -> Row {
        let on = on_node(&root.cause, root.node.as_deref());
        let text = clean(&format!("also {on}: {}", root.summary));
        Row::new(worth::FURTHER, self.cut(&text, self.width) + "\n")
    }

    fn foot(&self) -> Vec<Row> {
        let verdict = self.verdict;
        let mut rows = vec![Row::new(worth::SPACE, "\n".into())];
        let mut line = |text: String| {
            let text = self.cut(&clean(&text), self.width) + "\n";
            rows.push(Row::new(worth::ALWAYS, text));
        };
        for it in &verdict.between {
            let lost = it.packets.saturating_sub(it.arrived);
            if lost > 0 {
                let all = counted(it.packets, "packet");
                line(format!(
                    "{lost} of {all} lost between {} and {}",
                    it.from, it.to
                ));
            }
        }
        if let Some(first) = verdict.unexplained.first() {
            line(self.of_many("not explained", &first.what, verdict.unexplained.len()));
        }
        if let Some(first) = verdict.cannot_tell.first() {
            let causes = first.causes.join(" or ");
            let what = format!("{causes}: {}: {}", first.what, first.why);
            line(self.of_many("cannot tell", &what, verdict.cannot_tell.len()));
        }
        if !verdict.not_checked.is_empty() {
            let mut whats: Vec<&str> = Vec::new();
            for it in &verdict.not_checked {
                if !whats.contains(&it.what.as_str()) {
                    whats.push(&it.what);
                }
            }
            line(format!("not checked: {}", whats.join(", ")));
        }
        if verdict.observer.lost > 0 {
            line(format!("{} events were lost", verdict.observer.lost));
        }
        if verdict.findings.is_empty() {
            let page = Page::of(self.width, false);
            let drops = page.drop_table("Drops", &verdict.drops);
            let drops = drops.lines().skip(1).map(|it| format!("{it}\n"));
            rows.extend(drops.map(|text| Row::new(worth::FURTHER, text)));
        }
        rows.push(Row::new(worth::ALWAYS, self.more()));
        rows
    }

    fn of_many(&self, title: &str, first: &str, all: usize) -> String {
        match all {
            1 => format!("{title}: {first}"),
            n => format!("{title} ({n}): {first}"),
        }
    }

    /// How one sees the rest.
    fn more(&self) -> String {
        let wide = "-o wide: evidence, flows, drops";
        let first = self.verdict.findings.first();
        let explain = first.map(|it| shell!("netdiag explain {}", it.cause));
        let explain = explain.filter(|it| !it.is_refused());
        let text = match explain {
            Some(explain) => format!("more: {wide} {} {explain}", self.glyphs.dot),
            None => format!("more: {wide}"),
        };
        paint(DIM, &self.cut(&text, self.width)) + "\n"
    }

    /// Within so many columns.
    fn cut(&self, text: &str, most: usize) -> String {
        if text.chars().count() <= most {
            return text.to_owned();
        }
        let kept = most.saturating_sub(self.glyphs.more.chars().count());
        let kept: String = text.chars().take(kept).collect();
        kept.trim_end().to_owned() + self.glyphs.more
    }
}

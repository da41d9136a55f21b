//! A path for people: one table a direction, a line a hop.
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::NOTHING};
use netdiag_lang::{retold, t};

use super::{
    predicted,
    style::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, clean, paint, wrap},
};
use crate::model::{
    address::host,
    path::{Answer, Course, End, FateKind, KnownBy, Outcome, Path, Probe, ProbeKind, Step, Way},
    pod::label,
    text::{fitting, listed, width as wide},
};

pub fn render(path: &Path, width: usize) -> String {
    let mut out = head(path, width);
    out.push_str(&way(t!("Request"), &path.request, Some(path), width));
    out.push_str(&way(t!("Reply"), &path.reply, None, width));
    out.push_str(&probes(&path.probes));
    out.push_str(&foot(path, width));
    out
}

/// What is computed alone.
pub fn unwatched(path: &Path, width: usize) -> String {
    let ends = format!("{} → {}", end(&path.source), end(&path.destination));
    let node = t!(
        "{} · Linux {} · nothing was watched",
        path.node,
        path.kernel
    );
    let mut out = painted(BOLD, &ends, width) + &painted(DIM, &node, width);
    out.push_str(&predicted::render(&path.predicted, width));
    out + &not_checked(path, width)
}

fn probes(probes: &[Probe]) -> String {
    if probes.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    for probe in probes {
        let size = match (probe.kind, probe.bytes) {
            (_, Some(bytes)) => t!("{bytes} bytes"),
            (_, None) => t!("handshake").into(),
        };
        let time = probe.seconds.map(latency).unwrap_or_default();
        table.add_row([
            kind(probe.kind).to_owned(),
            size,
            t!("{} of {} answered", probe.answered, probe.sent),
            came(&probe.answer),
            time,
        ]);
    }
    let lines = table.to_string();
    let lines = lines.lines().map(|l| format!("   {}\n", l.trim_end()));
    format!(
        "\n{}\n{}",
        paint(BOLD, t!("Probes, sent by netdiag itself")),
        lines.collect::<String>()
    )
}

fn kind(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Icmp => "icmp",
        ProbeKind::Connect | ProbeKind::Tcp => "tcp",
        ProbeKind::Udp => "udp",
    }
}

fn came(answer: &Answer) -> String {
    match answer {
        Answer::Answered => String::new(),
        Answer::Refused => t!("refused").into(),
        Answer::Reset => t!("reset").into(),
        Answer::TooBig => t!("too big for the path").into(),
        Answer::Unreachable => t!("unreachable").into(),
        Answer::Prohibited => t!("prohibited").into(),
        Answer::Timeout => t!("no answer").into(),
        Answer::Other(text) => clean(text),
    }
}

fn head(path: &Path, width: usize) -> String {
    let protocol = path.protocol.as_deref();
    let protocol = protocol.map_or_else(String::new, |p| format!("{p} "));
    let flows = match path.flows {
        0 => String::new(),
        1 => t!(" · 1 {protocol}flow"),
        n => t!(" · {n} {protocol}flows"),
    };
    let by = match path.translated_by {
        Some(KnownBy::Conntrack) => t!(" · translated, by conntrack"),
        Some(KnownBy::Inferred) => t!(" · translated, inferred from sockets and sequence numbers"),
        None => "",
    };
    let ends = format!("{} → {}", end(&path.source), end(&path.destination));
    let watched = t!(
        "{} · Linux {} · watched {:.1} s{flows}{by}",
        path.node,
        path.kernel,
        path.duration
    );
    painted(BOLD, &ends, width) + &painted(DIM, &watched, width)
}

/// Its lines, each in that style.
fn painted(style: anstyle::Style, text: &str, width: usize) -> String {
    let lines = wrap(&clean(text), width, "");
    lines.lines().map(|l| paint(style, l) + "\n").collect()
}

/// `shop/cart-5d4f (10.244.1.7)`, `svc kube-system/kube-dns (10.96.0.10:53)`.
fn end(end: &End) -> String {
    let address = end.addresses.iter().map(|a| match end.port {
        Some(port) => crate::model::address::endpoint(*a, port),
        None => a.to_string(),
    });
    let addresses = listed(&address.collect::<Vec<_>>());
    let pod = end.pod.as_ref().filter(|p| p.name.is_some());
    match (pod, &end.service) {
        (Some(pod), _) => format!("{} ({addresses})", label(pod)),
        (None, Some(service)) => format!("svc {service} ({addresses})"),
        (None, None) => match name(&end.asked) {
            Some(name) => format!("{name} ({addresses})"),
            None => addresses,
        },
    }
}

/// `deploy/cart` of `deploy/cart:80`; nothing where an address was typed.
fn name(asked: &str) -> Option<&str> {
    let name = asked.split(':').next()?;
    let address = asked.starts_with('[') || host(asked).is_some() || name.is_empty();
    (!address).then_some(name)
}

fn way(title: &str, way: &Way, asked: Option<&Path>, width: usize) -> String {
    if way.steps.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let columns = [
        "",
        t!("HOP"),
        "",
        t!("PACKETS"),
        t!("BYTES"),
        t!("LARGEST"),
        t!("LIMIT"),
        t!("RETRANS"),
        t!("+TIME"),
    ];
    table.set_header(columns);
    for number in 3..=8 {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for step in &way.steps {
        table.add_row(row(step));
    }
    let lines = table.to_string();
    let mut lines = lines.lines().map(|l| clip(l.trim_end(), width));
    let header = lines.next().unwrap_or_default();
    let mut out = format!("\n{}\n{}\n", paint(BOLD, title), paint(DIM, &header));
    let mut ends: Option<(&str, &str)> = None;
    for (step, line) in way.steps.iter().zip(lines) {
        out.push_str(&style_of(step).map_or(line.clone(), |style| paint(style, &line)));
        out.push('\n');
        let begins = asked.filter(|_| ends.is_none());
        let begins = begins.and_then(|it| begun(it, step));
        for note in begins.into_iter().chain(notes(ends, step)) {
            out.push_str(&wrap(&clean(&note), width, "      "));
        }
        ends = step.ends().or(ends);
    }
    for fate in &way.fates {
        let style = match fate.kind {
            FateKind::TooBig => CYAN,
            _ => RED,
        };
        let text = wrap(&clean(&fate.text), width, "    ");
        out.push_str(&format!("  {} {}", paint(style, "✗"), text.trim_start()));
    }
    out
}

fn style_of(step: &Step) -> Option<anstyle::Style> {
    match step.course {
        Course::Expected => None,
        Course::Unexpected => Some(YELLOW),
        Course::NotSeen => Some(DIM),
    }
}

fn clip(line: &str, width: usize) -> String {
    if wide(line) <= width {
        return line.to_owned();
    }
    fitting(line, width.saturating_sub(1)).to_owned() + "…"
}

/// The ends as the first hop sees them, where they are not what was asked for: the node translates
/// its own packets before any hop, a server may be asked by a Service, and the node before may have
/// translated.
fn begun(asked: &Path, step: &Step) -> Option<String> {
    let other = |seen: &str, end: &End| host(seen).is_some_and(|a| !end.addresses.contains(&a));
    let (source, destination) = step.ends()?;
    let to = other(destination, &asked.destination);
    let to = to.then(|| t!("to {destination}"));
    let from = other(source, &asked.source);
    let from = from.then(|| t!("from {source}"));
    let both: Vec<_> = [to, from].into_iter().flatten().collect();
    (!both.is_empty()).then(|| listed(&both))
}

/// The ends where they are others than at the hop before.
fn changed(before: Option<(&str, &str)>, step: &Step) -> Option<String> {
    let ((source, destination), (from, to)) = (before?, step.ends()?);
    let to = (to != destination).then(|| t!("now to {to}"));
    let from = (from != source).then(|| t!("now from {from}"));
    let both: Vec<_> = [to, from].into_iter().flatten().collect();
    (!both.is_empty()).then(|| listed(&both))
}

fn notes(before: Option<(&str, &str)>, step: &Step) -> Vec<String> {
    let course = match step.course {
        Course::Expected => None,
        Course::Unexpected => Some(t!("not where the routes lead").to_owned()),
        Course::NotSeen => return vec![t!("the routes lead here, nothing was seen").into()],
    };
    let all = [changed(before, step), step.carried.clone(), course];
    all.into_iter().flatten().collect()
}

fn row(step: &Step) -> Vec<String> {
    let mark = match step.course {
        Course::Expected => "",
        Course::Unexpected => "?",
        Course::NotSeen => "-",
    };
    let seen = step.course != Course::NotSeen;
    let shown = |text: String| if seen { text } else { String::new() };
    let over = step.fits.is_some_and(|fits| step.largest > fits);
    let fits = step.fits.map(|fits| match (fits, over) {
        (fits, true) => format!("{fits} !"),
        (fits, false) => fits.to_string(),
    });
    let name = match step.role.as_deref() {
        Some(role) => t!("{} ({})", clean(&step.interface), retold(role)),
        None => clean(&step.interface),
    };
    vec![
        mark.into(),
        name,
        match step.direction.as_str() {
            "egress" => t!("out").into(),
            _ => t!("in").into(),
        },
        shown(step.packets.to_string()),
        shown(step.bytes.to_string()),
        shown(step.largest.to_string()),
        fits.unwrap_or_default(),
        shown(step.retransmits.to_string()),
        step.latency.map(latency).unwrap_or_default(),
    ]
}

fn latency(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

fn is_bad(outcome: Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Answered | Outcome::Unknown | Outcome::NoTraffic
    )
}

/// What to look at where no cause is named.
fn next(path: &Path) -> String {
    let mut sent = path.request.steps.iter().rev();
    let last = sent.find(|s| s.course != Course::NotSeen);
    let left = last.filter(|s| s.role.as_deref() == Some("uplink") && s.direction == "egress");
    match left.filter(|s| path.outcome == Outcome::Silent && path.at.as_ref() == Some(&s.interface))
    {
        Some(step) => t!(
            "what left by {} is no longer this node's: look with `netdiag path` on the node where it \
             goes, or record on both (--record) and join them: `netdiag replay A B --path SRC DST`",
            step.interface
        ),
        None => t!(
            "no cause is certain yet: `netdiag diagnose` watches longer, the node's \
                 configuration too"
        )
        .into(),
    }
}

fn foot(path: &Path, width: usize) -> String {
    let (style, word) = match path.outcome {
        Outcome::Answered => (GREEN, t!("ANSWERED")),
        Outcome::Lossy => (YELLOW, t!("LOSSY")),
        Outcome::Refused => (RED, t!("REFUSED")),
        Outcome::PartlyRefused => (YELLOW, t!("PARTLY REFUSED")),
        Outcome::Dropped => (RED, t!("DROPPED")),
        Outcome::Unreachable => (RED, t!("UNREACHABLE")),
        Outcome::Silent => (RED, t!("SILENT")),
        Outcome::Unknown => (YELLOW, t!("UNKNOWN")),
        Outcome::NoTraffic => (YELLOW, t!("NO TRAFFIC")),
    };
    // What was lost stands below its direction already.
    let told = [&path.request, &path.reply].map(|way| way.fates.len()) != [0, 0];
    let some = (1..path.flows).contains(&path.answered);
    let some = some.then(|| t!("{} of {} flows answered", path.answered, path.flows));
    let text = match (&path.at, some) {
        _ if !told => path.summary.clone(),
        (_, Some(some)) if path.outcome == Outcome::PartlyRefused => some,
        (Some(at), Some(some)) => t!("{some}; what is lost was last seen at {at}"),
        (Some(at), None) => t!("last seen at {at}"),
        (None, _) => path.summary.clone(),
    };
    let line = format!("{}  {}", word, clean(&text));
    let text = wrap(&line, width, "").replacen(word, &paint(style, word), 1);
    let mut out = format!("\n{text}");
    for concern in &path.causes {
        let line = t!("{}: {}", concern.cause, retold(&concern.summary));
        let text = wrap(&clean(&line), width, "    ");
        out.push_str(&format!("  {} {}", paint(RED, "▸"), text.trim_start()));
    }
    if !path.causes.is_empty() {
        out.push_str(&paint(
            DIM,
            &format!("    {}\n", t!("`netdiag diagnose` shows evidence and fix.")),
        ));
    }
    if path.causes.is_empty() && is_bad(path.outcome) {
        out.push_str(&paint(DIM, &wrap(&clean(&next(path)), width, "  ")));
    }
    out + &not_checked(path, width)
}

fn not_checked(path: &Path, width: usize) -> String {
    let mut out = String::new();
    for one in &path.not_checked {
        let line = t!("not checked: {}: {}", retold(&one.what), retold(&one.why));
        out.push_str(&paint(DIM, &wrap(&clean(&line), width, "  ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_by_the_name_that_was_typed() {
        let told = |asked: &str| {
            end(&End {
                asked: asked.into(),
                addresses: vec!["fd00::5".parse().expect("an address")],
                ..End::default()
            })
        };
        assert_eq!(told("deploy/cart:80"), "deploy/cart (fd00::5)");
        for address in ["fd00::5", "[fd00::5]:80", "[fd00::5]"] {
            assert_eq!(told(address), "fd00::5", "{address}");
        }
    }

    #[test]
    fn what_left_the_node_is_looked_for_at_the_next() {
        let step = |interface: &str, role: &str| Step {
            interface: interface.into(),
            role: Some(role.into()),
            direction: "egress".into(),
            course: Course::Expected,
            source: None,
            destination: None,
            carried: None,
            packets: 3,
            bytes: 180,
            largest: 60,
            retransmits: 0,
            mtu: None,
            fits: None,
            latency: None,
        };
        let silent = |steps: Vec<Step>| Path {
            outcome: Outcome::Silent,
            at: steps.last().map(|s| s.interface.clone()),
            request: Way {
                steps,
                fates: Vec::new(),
            },
            ..nowhere()
        };
        let out = silent(vec![step("cni0", "bridge"), step("eth0", "uplink")]);
        assert!(next(&out).contains("what left by eth0"));
        let here = silent(vec![step("cni0", "bridge")]);
        assert!(next(&here).contains("netdiag diagnose"));
    }

    #[test]
    fn a_head_fits_the_terminal() {
        let long = End {
            asked: "deploy/cart".into(),
            addresses: (0..20)
                .map(|n| std::net::Ipv4Addr::new(10, 244, 116, n).into())
                .collect(),
            ..End::default()
        };
        let path = Path {
            source: long.clone(),
            destination: long,
            ..nowhere()
        };
        let text = anstream::adapter::strip_str(&render(&path, 80)).to_string();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    fn nowhere() -> Path {
        Path {
            schema: String::new(),
            node: String::new(),
            kernel: String::new(),
            started: String::new(),
            duration: 0.0,
            source: End::default(),
            destination: End::default(),
            outcome: Outcome::NoTraffic,
            at: None,
            summary: String::new(),
            protocol: None,
            flows: 0,
            answered: 0,
            translated_by: None,
            predicted: Vec::new(),
            request: Way::default(),
            reply: Way::default(),
            probes: Vec::new(),
            causes: Vec::new(),
            not_checked: Vec::new(),
        }
    }
}

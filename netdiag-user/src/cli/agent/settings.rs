//! What the agent was told, by an option, else the environment, else its file, else nobody.
mod place;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{AgentArgs, misconfigured};
use crate::{
    agent::{
        config::{Key, Read, USUAL, Value, print},
        history::{Extent, History},
        page::{Page, State},
        standing::Standing,
    },
    cli::options::{Scope, duration, share},
    model::{level::Level, text},
    sys::settings_file,
};

/// Unless another is asked for.
pub const LEVEL: Level = Level::Light;
const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
const RESOLVE_AFTER: Duration = Duration::from_secs(120);
/// Rules need some seconds of a view, and answers to what they ask.
const SHORTEST: Duration = Duration::from_secs(10);
const CANARY: Duration = Duration::from_secs(10);
/// What was dropped is looked for with the next tick.
const SOONEST: Duration = Duration::from_secs(2);
const SERIES: usize = 1000;
const MOST_SERIES: usize = 100_000;
const HISTORY: Extent = Extent {
    time: Duration::from_secs(15 * 60),
    bytes: 64 << 20,
};
/// Of a ring of eight pieces each must hold some readings.
const SHORTEST_HISTORY: Duration = Duration::from_secs(60);
const SMALLEST_HISTORY: u64 = 1 << 20;
/// Bytes of a configuration.
const LARGEST: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub listen: SocketAddr,
    pub resolve_after: Duration,
    /// Nothing where it is off.
    pub canary: Option<Duration>,
    pub max_series: usize,
    /// Where the last minutes are kept, if they are.
    pub history: Option<PathBuf>,
    pub extent: Extent,
    /// The collector that is sent to, if one is.
    #[cfg(feature = "otlp")]
    pub otlp: Option<netdiag_otlp::Target>,
    #[cfg(not(feature = "otlp"))]
    pub otlp: Option<std::convert::Infallible>,
    /// Findings are told as Kubernetes Events.
    pub events: bool,
    level: Level,
}

impl Settings {
    /// What is in the file and not in `args` is put there.
    pub fn of(args: &mut AgentArgs) -> Result<Self> {
        let read = read(args.config.as_deref())?;
        fill(args, &read).map_err(misconfigured)?;
        let canary = args.canary.unwrap_or(CANARY);
        Ok(Self {
            listen: args.listen.unwrap_or(LISTEN),
            resolve_after: args.resolve_after.unwrap_or(RESOLVE_AFTER),
            canary: (!canary.is_zero()).then_some(canary),
            max_series: args.max_series.unwrap_or(SERIES),
            history: args.history.clone(),
            extent: Extent {
                time: args.history_for.unwrap_or(HISTORY.time),
                bytes: args.history_size.unwrap_or(HISTORY.bytes),
            },
            #[cfg(feature = "otlp")]
            otlp: args.otlp.clone(),
            #[cfg(not(feature = "otlp"))]
            otlp: None,
            #[cfg(feature = "k8s")]
            events: args.events,
            #[cfg(not(feature = "k8s"))]
            events: false,
            level: args.scope.level.unwrap_or(LEVEL),
        })
    }

    /// The ring on the disk, where one is wanted and can be had.
    pub fn open_history(&self) -> Option<History> {
        let opened = History::open(self.history.as_deref()?, self.extent);
        let told = |why: &anyhow::Error| log::warn!("no history is kept: {why:#}");
        opened.inspect_err(told).ok()
    }

    /// A page with nothing on it yet.
    pub fn page(&self) -> Page {
        let standing = Standing::new(self.resolve_after / 2);
        Page::new(State {
            build: [env!("CARGO_PKG_VERSION"), "", ""].map(str::to_owned),
            ..State::new(self.max_series, standing)
        })
    }

    /// As a file that says the same.
    pub fn print(&self, scope: &Scope) -> String {
        print(&self.keys(scope))
    }

    fn keys(&self, scope: &Scope) -> Vec<Key> {
        let key = |name, about, value| Key { name, about, value };
        let max_cpu = scope.max_cpu.map(|most| Value::Text(format!("{most}%")));
        let mut keys = vec![
            key(
                "listen",
                "Address of /metrics, /healthz and /readyz.",
                Value::Text(self.listen.to_string()),
            ),
            key(
                "level",
                "How much to keep of what passes the links: light, flows or full.",
                Value::Text(self.level.to_string()),
            ),
            key(
                "max_cpu",
                "Keep less when netdiag costs more than this share of one CPU.",
                max_cpu.unwrap_or(Value::Unset("\"2%\"")),
            ),
            key(
                "read",
                "How tracepoints read the kernel's structures: auto, or helper (slower, never by plain loads).",
                Value::Text(scope.read.unwrap_or_default().to_string()),
            ),
            key(
                "resolve_after",
                "Withdraw a finding at most so long after its end, 10s or longer.",
                Value::Text(seconds(self.resolve_after)),
            ),
            key(
                "canary",
                "Drop a packet of its own so often, to see whether drops are seen; \"0\" for never.",
                Value::Text(seconds(self.canary.unwrap_or_default())),
            ),
            key(
                "max_series",
                "Series of each metric at most; the rest is counted in workload other.",
                Value::Number(self.max_series as u64),
            ),
            key(
                "history",
                "Keep the last minutes in this folder, for `netdiag agent snapshot`; not kept where it is not set.",
                place::path(&self.history, "\"/var/lib/netdiag\""),
            ),
            key(
                "history_for",
                "How long they are kept, 1m or longer.",
                Value::Text(seconds(self.extent.time)),
            ),
            key(
                "history_size",
                "The most that they take on the disk: a number of bytes, or of K, M or G (1024).",
                Value::Text(self.extent.bytes.to_string()),
            ),
            key(
                "otlp",
                "Send what is seen and named to this OpenTelemetry collector; not sent where it is not set.",
                self.otlp
                    .as_ref()
                    .map_or(Value::Unset("\"http://otel-collector:4317\""), |it| {
                        Value::Text(it.to_string())
                    }),
            ),
            key(
                "events",
                "Tell findings as Kubernetes Events on this node's pods and on the node.",
                Value::Flag(self.events),
            ),
            key(
                "interfaces",
                "Watch these interfaces only (* and ? match); all where the list is empty.",
                Value::List(scope.iface.clone()),
            ),
        ];
        keys.extend(place::keys(&scope.place));
        keys
    }
}

fn read(named: Option<&Path>) -> Result<Read> {
    let path = named.unwrap_or(Path::new(USUAL));
    let bytes = match settings_file::read(path, LARGEST) {
        Err(e) if named.is_none() && e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Read::default());
        }
        read => read.with_context(|| format!("reading {}", path.display()))?,
    };
    let name = path.display();
    let no_text = |_| misconfigured(format!("{name} is not UTF-8"));
    let text = String::from_utf8(bytes).map_err(no_text)?;
    Read::parse(path, text).map_err(misconfigured)
}

fn fill(args: &mut AgentArgs, read: &Read) -> Result<(), String> {
    let file = &read.file;
    let listen = read.value("listen", &file.listen, |text| {
        let bad = |_| format!("'{text}' is no address with a port, like 127.0.0.1:9464");
        SocketAddr::from_str(text).map_err(bad)
    })?;
    let level = read.value("level", &file.level, |text| text.parse())?;
    let max_cpu = read.value("max_cpu", &file.max_cpu, |text| share(text))?;
    let reading = read.value("read", &file.read, |text| text.parse())?;
    let resolve = read.value("resolve_after", &file.resolve_after, |text| {
        withdrawal(text)
    })?;
    let canary = read.value("canary", &file.canary, |text| rounds(text))?;
    let max_series = read.value("max_series", &file.max_series, |n| series(&n.to_string()))?;
    let history_for = read.value("history_for", &file.history_for, |text| past(text))?;
    let history_size = read.value("history_size", &file.history_size, |text| bytes(text))?;
    let interfaces = read.value("interfaces", &file.interfaces, |all| Ok(all.clone()))?;
    let path = |text: &String| Ok(PathBuf::from(text));
    let history = read.value("history", &file.history, path)?;

    #[cfg(feature = "otlp")]
    {
        let parse = |text: &String| netdiag_otlp::Target::parse(text);
        let otlp = read.value("otlp", &file.otlp, parse)?;
        args.otlp = super::export::target(args.otlp.take(), otlp)?;
    }
    #[cfg(not(feature = "otlp"))]
    read.value("otlp", &file.otlp, |_| -> Result<(), _> {
        Err("this netdiag was built without OpenTelemetry".to_owned())
    })?;
    #[cfg(feature = "k8s")]
    {
        let events = read.value("events", &file.events, |wanted| Ok(*wanted))?;
        args.events |= events.unwrap_or_default();
    }
    #[cfg(not(feature = "k8s"))]
    read.value("events", &file.events, |wanted| match wanted {
        true => Err("this netdiag was built without the Kubernetes API".to_owned()),
        false => Ok(()),
    })?;
    args.listen = args.listen.or(listen);
    args.resolve_after = args.resolve_after.or(resolve);
    args.canary = args.canary.or(canary);
    args.max_series = args.max_series.or(max_series);
    args.history = args.history.take().or(history);
    args.history_for = args.history_for.or(history_for);
    args.history_size = args.history_size.or(history_size);
    let scope = &mut args.scope;
    scope.level = scope.level.or(level);
    scope.max_cpu = scope.max_cpu.or(max_cpu);
    scope.read = scope.read.or(reading);
    if scope.iface.is_empty() {
        scope.iface = interfaces.unwrap_or_default();
    }
    place::fill(&mut scope.place, read)
}

/// As [`duration`] takes it.
fn seconds(time: Duration) -> String {
    match time.is_zero() {
        true => "0".to_owned(),
        false => format!("{}s", time.as_secs_f64()),
    }
}

/// How long a finding may stand after its end.
pub fn withdrawal(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time >= SHORTEST {
        true => Ok(time),
        false => Err(format!(
            "'{text}' is too short: naming a cause takes {} s",
            SHORTEST.as_secs()
        )),
    }
}

/// How often a canary is dropped, zero for never.
pub fn rounds(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") {
        return Ok(Duration::ZERO);
    }
    let time = duration(text)?;
    match time >= SOONEST {
        true => Ok(time),
        false => Err(format!(
            "'{text}' is too often: {} s is the shortest",
            SOONEST.as_secs()
        )),
    }
}

/// How many series a metric has at most.
pub fn series(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=MOST_SERIES).contains(n));
    let clean = text::line(text, 40);
    number.ok_or_else(|| format!("'{clean}' is no number from 1 to {MOST_SERIES}"))
}

/// How long the past is kept.
pub fn past(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time >= SHORTEST_HISTORY {
        true => Ok(time),
        false => Err(format!("'{text}' is too short: 1m is the shortest")),
    }
}

/// `64M`, `1G`, or a number of bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(number) => (number, text.as_bytes()[number.len()]),
        None => (text, b'B'),
    };
    let shift = match unit {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => 0,
    };
    let bytes = number.parse::<u64>().ok();
    let bytes = bytes.and_then(|number| number.checked_mul(1 << shift));
    let clean = text::line(text, 40);
    match bytes {
        Some(bytes) if bytes >= SMALLEST_HISTORY => Ok(bytes),
        Some(_) => Err(format!("'{clean}' is too small: 1M is the smallest")),
        None => Err(format!("'{clean}' is no size, like 64M")),
    }
}

/// The folder of the history, for who asks for it alone.
pub fn history(named: Option<&Path>, config: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let read = read(config)?;
    let folder = read.file.history.as_ref().map(|it| it.get_ref());
    folder.map(PathBuf::from).ok_or_else(|| {
        misconfigured("no history is configured: --history names its folder, which `netdiag agent --history` keeps".into())
    })
}

#[cfg(test)]
mod tests;

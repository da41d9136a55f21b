//! Alerts: one of each cause of the catalogue, some of traffic that nobody explains, and those by
//! which netdiag is known not to see.
mod causes;
mod health;
mod traffic;

use std::collections::BTreeMap;

use crate::{
    monitoring::{Group, PrometheusRule, Rule, RuleFile, prometheus_rule},
    options::{Alerts, Options},
};

/// As the operator's object.
pub fn object(options: &Options) -> PrometheusRule {
    prometheus_rule(options.meta(), file(options))
}

/// As a rule file of Prometheus.
pub fn file(options: &Options) -> RuleFile {
    let context = Context {
        alerts: &options.alerts,
        job: options.name.as_str(),
    };
    let group = |name: &str, rules| Group {
        name: format!("netdiag-{name}"),
        rules,
    };
    RuleFile {
        groups: vec![
            group("causes", causes::rules(&context)),
            group("traffic", traffic::rules(&context)),
            group("health", health::rules(&context)),
        ],
    }
}

/// Seconds that have some scrapes in them, where Prometheus asks each half or whole minute.
const SHORTEST_WINDOW: f64 = 120.0;

/// What rules are made with.
struct Context<'a> {
    alerts: &'a Alerts,
    /// Of the agents' series.
    job: &'a str,
}

impl Context<'_> {
    /// So many seconds, as Prometheus writes them; never none at all.
    fn time(&self, seconds: u32) -> String {
        let milliseconds = (f64::from(seconds) * 1000.0 * self.alerts.scale)
            .round()
            .max(1.0);
        duration(milliseconds as u64)
    }

    /// What a rate is taken over. It is never longer than that, nor so short that it has no two
    /// scrapes.
    fn window(&self, seconds: u32) -> String {
        let scaled = f64::from(seconds) * self.alerts.scale.min(1.0);
        let milliseconds = scaled.max(SHORTEST_WINDOW) * 1000.0;
        duration(milliseconds.round() as u64)
    }

    /// What is alike in alerts that are about no cause.
    fn rule(&self, alert: &Alert<'_>) -> Rule {
        let annotations = [
            ("summary", alert.summary.to_owned()),
            ("description", alert.description.clone()),
            ("runbook", alert.runbook.to_owned()),
        ];
        Rule {
            alert: alert.name.to_owned(),
            expr: alert.expr.clone(),
            lasting: self.time(alert.seconds),
            labels: texts([("severity", alert.severity.to_owned())]),
            annotations: texts(annotations),
        }
    }
}

/// One that is about no cause.
struct Alert<'a> {
    name: &'a str,
    severity: &'a str,
    expr: String,
    /// How long it must last.
    seconds: u32,
    summary: &'a str,
    description: String,
    /// What to do.
    runbook: &'a str,
}

fn texts<const N: usize>(all: [(&str, String); N]) -> BTreeMap<String, String> {
    all.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The largest units first, each once (prometheus/common, model.Duration).
fn duration(mut milliseconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut text = String::new();
    for (unit, length) in UNITS {
        if milliseconds >= length {
            text.push_str(&format!("{}{unit}", milliseconds / length));
            milliseconds %= length;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_prometheus_own() {
        for (milliseconds, text) in [
            (1, "1ms"),
            (6000, "6s"),
            (120_000, "2m"),
            (90_500, "1m30s500ms"),
            (3_600_000, "1h"),
        ] {
            assert_eq!(duration(milliseconds), text);
        }
    }

    #[test]
    fn a_scale_shortens_all_of_them() {
        let alerts = Alerts {
            scale: 0.05,
            ..Alerts::default()
        };
        let context = Context {
            alerts: &alerts,
            job: "netdiag",
        };
        assert_eq!(context.time(120), "6s");
        assert_eq!(context.time(300), "15s");
        assert_eq!(context.window(300), "2m");
    }

    #[test]
    fn windows_of_rates_have_scrapes_in_them() {
        for (scale, window) in [(0.001, "2m"), (0.5, "2m30s"), (1.0, "5m"), (1000.0, "5m")] {
            let alerts = Alerts {
                scale,
                ..Alerts::default()
            };
            let context = Context {
                alerts: &alerts,
                job: "netdiag",
            };
            assert_eq!(context.window(300), window);
        }
    }
}

//! P1 to P10: what netdiag may cost, and whether it does. Every figure is of the document; what
//! was not measured says why.
mod attaching;
mod levels;
mod load;
mod own;
mod programs;
mod row;

use serde_json::Value;

pub use levels::Levels;
pub use programs::timed;
pub use row::Row;

type Goal = fn(&Value, &Levels) -> Vec<Row>;

const GOALS: [Goal; 10] = [
    programs::p1,
    load::p2,
    load::p3,
    load::p4,
    load::p5,
    programs::p6,
    own::p7,
    own::p8,
    attaching::p9,
    own::p10,
];

pub fn judge(document: &Value) -> Vec<Row> {
    let levels = Levels::of(document);
    GOALS
        .iter()
        .flat_map(|goal| goal(document, &levels))
        .collect()
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::row::State;
    use super::*;
    use crate::bench::stats::Spread;

    /// A document of one netdiag without levels.
    pub fn document() -> Value {
        let spread = |median: f64| {
            let all = [median * 0.99, median, median * 1.01];
            Spread::of(all).map(Spread::json)
        };
        let load = |rate: f64, cpu: f64| {
            json!({
                "rate": spread(rate), "cpu": spread(cpu), "busy": spread(cpu),
                "programs": {},
            })
        };
        let mut document = json!({
            "about": {"commit": "abc", "kernel": "6.18.1", "cpus": 2, "possible_cpus": 2, "date": "2026-01-02"},
            "levels": ["netdiag"],
            "seconds": 0.3,
            "nothing": {},
            "attached": {},
            "own": {"netdiag": {
                "idle": {"cpu_share": 0.002, "rss_bytes": 15 << 20, "map_bytes": 14 << 20, "seconds": 5.0},
                "storm": {"cpu_share": 0.01, "flows": 1000, "sent": 1_500_000, "seconds": 5.0},
                "flooded": {"cpu_share": 0.1, "rss_bytes": 40 << 20, "flows": 1_000_000, "sent": 10_000_000, "seconds": 33.0},
            }},
            "starting": [{
                "attached": "netdiag", "links": 1000, "infrastructure": 0.2, "covered": 0.9,
                "add_idle": spread(0.001), "add_idle_worst": 0.002,
                "add_meanwhile": spread(0.003), "add_meanwhile_worst": 0.03,
                "new": spread(0.02), "new_worst": 0.03,
            }],
            "identity": {"netdiag": {"storms": 10, "exact": 10, "sent": 5, "told": 5, "lost": 0, "largest_difference": 0.0}},
            "skipped": [],
        });
        for name in ["udp", "tcp", "storm"] {
            document["nothing"][name] = load(1000.0, 2e-6);
            document["attached"]["empty"][name] = load(0.99, 1.01);
            document["attached"]["netdiag"][name] = load(0.96, 1.02);
            document["attached"]["bpftrace printing"][name] = load(0.5, 2.0);
        }
        let ns = |ns: f64| json!({"runs": 5000, "ns": spread(ns)});
        document["attached"]["empty"]["udp"]["programs"] = json!({"empty": ns(50.0)});
        document["attached"]["netdiag"]["udp"]["programs"] =
            json!({"hop_ingress": ns(80.0), "uplink_egress": ns(100.0)});
        document["attached"]["empty"]["storm"]["programs"] = json!({"empty_kfree_skb": ns(50.0)});
        document["attached"]["netdiag"]["storm"]["programs"] = json!({"kfree_skb": ns(190.0)});
        document
    }

    pub fn row(document: &Value, id: &str, what: &str) -> Row {
        let found = judge(document).into_iter();
        let mut found = found.filter(|row| row.id == id && row.what.contains(what));
        found.next().expect("there is such a goal")
    }

    #[test]
    fn every_goal_has_a_row() {
        let document = document();
        for number in 1..=10 {
            let id = format!("P{number}");
            assert!(judge(&document).iter().any(|row| row.id == id), "{id}");
        }
    }

    #[test]
    fn nothing_measured_is_never_met() {
        for row in judge(&json!({"levels": ["netdiag"]})) {
            assert!(matches!(row.state, State::NotMeasured(_)), "{row:?}");
        }
        for row in judge(&json!({})) {
            assert!(matches!(row.state, State::NotMeasured(_)), "{row:?}");
        }
    }
}

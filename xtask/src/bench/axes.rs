//! What grows with flows, drops and links: nanoseconds a run, and memory.
use serde_json::{Value, json};

use super::lines::{EMPTY, number, of, programs, text};

/// Those that run for each packet on a link.
pub fn on_links(program: &str) -> bool {
    program == EMPTY || program.ends_with("_ingress") || program.ends_with("_egress")
}

/// Those that run where packets are dropped.
pub fn on_drops(program: &str) -> bool {
    program.ends_with("kfree_skb")
}

/// The points of each axis, in their order.
pub fn document(lines: &[Value]) -> Value {
    let mut all = json!({});
    for line in of(lines, "axis") {
        let axis = text(line, "axis");
        let kind = if axis == "drops" { on_drops } else { on_links };
        let seconds = number(line, "seconds").unwrap_or(f64::NAN);
        let point = json!({
            "at": line["at"],
            "attached": line["attached"],
            "per_second": number(line, "sent").map(|sent| sent / seconds),
            "ns": mean(line, kind),
            "cpu_share": number(line, "tracer/cpu_seconds").map(|cpu| cpu / seconds),
            "rss_bytes": number(line, "tracer/rss_bytes"),
        });
        match all[axis].as_array_mut() {
            Some(points) => points.push(point),
            None => all[axis] = json!([point]),
        }
    }
    all
}

/// Nanoseconds a run of all programs of that kind together.
fn mean(line: &Value, kind: fn(&str) -> bool) -> Option<f64> {
    let wanted = programs(line).into_iter().filter(|(name, _)| kind(name));
    let (runs, ns) = wanted.fold((0.0, 0.0), |(runs, ns), (_, it)| (runs + it.0, ns + it.1));
    (runs > 0.0).then(|| ns / runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_kept_in_their_order() {
        let point = |axis: &str, at: u32| {
            json!({
                "part": "axis", "axis": axis, "at": at, "attached": "netdiag", "sent": 100,
                "seconds": 2.0, "tracer": {"cpu_seconds": 1.0, "rss_bytes": 7},
                "programs": [
                    {"name": "hop_ingress", "runs": 3, "ns": 300},
                    {"name": "hop_egress", "runs": 1, "ns": 500},
                    {"name": "kfree_skb", "runs": 2, "ns": 100},
                    {"name": "flush", "runs": 9, "ns": 9000},
                ]
            })
        };
        let lines = [point("flows", 10), point("drops", 5), point("flows", 100)];
        let found = document(&lines);
        assert_eq!(found.pointer("/flows/1/at"), Some(&json!(100)));
        assert_eq!(found.pointer("/flows/0/ns"), Some(&json!(200.0)));
        assert_eq!(found.pointer("/drops/0/ns"), Some(&json!(50.0)));
        assert_eq!(found.pointer("/drops/0/per_second"), Some(&json!(50.0)));
        assert_eq!(found.pointer("/drops/0/cpu_share"), Some(&json!(0.5)));
    }
}

//! Series for promtool's tests of the rules, and what each is to come to.
use super::*;

/// What an alert is to say of a series: the templates that are used, filled in by hand.
fn filled(template: &str, labels: &BTreeMap<String, String>, value: &str) -> String {
    let mut text = template.replace("{{ $value }}", value);
    let none = r#"{{ or $labels.namespace "(none: the node's own)" }}"#;
    text = text.replace(none, &labels["namespace"]);
    for (key, value) in labels {
        text = text.replace(&format!("{{{{ $labels.{key} }}}}"), value);
    }
    assert!(!text.contains("{{"), "nobody fills {text}");
    text
}

/// Of each cause's alert: nothing before its time, and exactly what it says after it.
pub fn cause_tests(rules: &[Value]) -> Vec<Value> {
    let labels = |cause: &str| -> BTreeMap<String, String> {
        [
            ("job", "netdiag"),
            ("instance", "node-a"),
            ("namespace", "shop"),
            ("severity", "critical"),
            ("cause", cause),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    };
    let test = |rule: &Value| -> Option<Value> {
        let cause = rule["labels"]["cause"].as_str()?;
        let labels = labels(cause);
        let series = |workload: &str, more: &str, values: &str| {
            let more = format!("confidence=\"{more},workload=\"{workload}\"");
            let own = labels
                .iter()
                .map(|(key, value)| format!("{key}=\"{value}\""));
            let own: Vec<_> = own.collect();
            json!({ "series": format!("netdiag_finding{{{},{more}}}", own.join(",")), "values": values })
        };
        let annotations = rule["annotations"].as_object().expect("some");
        let annotations: BTreeMap<_, _> = annotations
            .iter()
            .map(|(key, text)| (key, filled(text.as_str().expect("text"), &labels, "2")))
            .collect();
        let fires = json!([{ "exp_labels": labels, "exp_annotations": annotations }]);
        let at = |time: &str, alerts: &Value| json!({ "eval_time": time, "alertname": rule["alert"], "exp_alerts": alerts });
        let nothing = json!([]);
        Some(json!({
            "interval": "15s",
            "input_series": [
                // There for six minutes, on two workloads; what is suspected, or another's
                // consequence, counts for nothing.
                series("Deployment/cart", "confirmed\"", "1x24 stale"),
                series("Deployment/web", "configured\"", "1x24 stale"),
                series("Deployment/db", "suspected\"", "1x60"),
                series("Deployment/api", "confirmed\",consequence_of=\"no-route\"", "1x60"),
            ],
            "alert_rule_test": [
                at("3m45s", &nothing),
                at("4m15s", &fires),
                at("6m", &fires),
                at("6m30s", &nothing),
            ],
        }))
    };
    rules.iter().filter_map(test).collect()
}

/// One packet is named for as long as a finding stands: 150 s at most, and of that nobody is called.
pub fn brief_test(rules: &[Value]) -> Value {
    let causes: Vec<_> = rules
        .iter()
        .filter_map(|it| it["labels"]["cause"].as_str())
        .collect();
    assert!(!causes.is_empty());
    let series = causes.iter().map(|cause| {
        let of =
            "job=\"netdiag\",instance=\"node-a\",namespace=\"shop\",workload=\"Deployment/cart\"";
        let how = "severity=\"critical\",confidence=\"confirmed\"";
        let name = format!("netdiag_finding{{{of},{how},cause=\"{cause}\"}}");
        json!({ "series": name, "values": "1x10 stale" })
    });
    let count = |state: &str| {
        let own = "cause!=\"\"";
        format!("count(ALERTS{{{own},alertstate=\"{state}\"}})")
    };
    let pending = json!({ "expr": count("pending"), "eval_time": "2m15s",
        "exp_samples": [{ "labels": "{}", "value": causes.len() }] });
    let fires = |at: &str| json!({ "expr": count("firing"), "eval_time": at, "exp_samples": [] });
    let mut tests = ["2m15s", "2m30s", "2m45s", "5m"].map(fires).to_vec();
    tests.push(pending);
    json!({ "interval": "15s", "input_series": series.collect::<Vec<_>>(),
        "promql_expr_test": tests })
}

/// Labels by which an alert is expected, its annotations not looked at where it has none to fill.
pub fn health_tests() -> Vec<Value> {
    let own = |series: &str, values: &str| json!({ "series": series, "values": values });
    let test = |series: Vec<Value>, alert: &str, before: &str, after: &str| {
        let silent = json!({ "expr": format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})"),
            "eval_time": before, "exp_samples": [] });
        let fires = json!({ "expr": format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})"),
            "eval_time": after, "exp_samples": [{ "labels": "{}", "value": 1 }] });
        json!({ "interval": "30s", "input_series": series, "promql_expr_test": [silent, fires] })
    };
    let of = "job=\"netdiag\",instance=\"node-a\"";
    let whose = "namespace=\"shop\",workload=\"Deployment/cart\"";
    let queries = |answers: &str| {
        vec![
            own(
                &format!("netdiag_dns_queries_total{{{of},{whose}}}"),
                "0+60x60",
            ),
            own(
                &format!("netdiag_dns_answers_total{{{of},{whose},code=\"{answers}\"}}"),
                if answers == "noerror" {
                    "0+50x60"
                } else {
                    "0+10x60"
                },
            ),
        ]
    };
    vec![
        test(
            vec![own(&format!("up{{{of}}}"), "0x60")],
            "NetdiagAgentDown",
            "4m",
            "6m",
        ),
        test(vec![], "NetdiagAgentsAbsent", "9m", "11m"),
        test(
            vec![own(&format!("netdiag_blind{{{of}}}"), "1x60")],
            "NetdiagBlind",
            "4m",
            "6m",
        ),
        test(
            vec![own(
                &format!("netdiag_lost_events_total{{{of},why=\"ring-full\"}}"),
                "0+60x60",
            )],
            "NetdiagLosingEvents",
            "9m",
            "15m",
        ),
        test(
            vec![own(
                &format!("netdiag_hidden_series_total{{{of},family=\"netdiag_drops\"}}"),
                "3x60",
            )],
            "NetdiagSeriesHidden",
            "9m",
            "11m",
        ),
        test(
            vec![own(
                &format!("netdiag_cpu_seconds_total{{{of},mode=\"user\"}}"),
                "0+15x60",
            )],
            "NetdiagCpuHigh",
            "14m",
            "20m",
        ),
        test(
            vec![
                own(
                    &format!("netdiag_resident_memory_bytes{{{of}}}"),
                    "420000000x60",
                ),
                own(&format!("netdiag_map_bytes{{{of}}}"), "14000000x60"),
            ],
            "NetdiagMemoryHigh",
            "14m",
            "16m",
        ),
        test(
            vec![own(
                &format!("netdiag_drops_total{{{of},{whose},reason=\"NO_SOCKET\",hop=\"pod\"}}"),
                "0+60x60",
            )],
            "NetdiagPacketsDropped",
            "14m",
            "20m",
        ),
        test(
            vec![own(
                &format!("netdiag_retransmits_total{{{of},{whose}}}"),
                "0+600x60",
            )],
            "NetdiagRetransmissions",
            "14m",
            "20m",
        ),
        test(queries("noerror"), "NetdiagDnsUnanswered", "14m", "20m"),
        test(queries("servfail"), "NetdiagDnsFailing", "14m", "20m"),
        test(
            vec![own(
                &format!(
                    "netdiag_finding{{{of},{whose},cause=\"no-route\",severity=\"warning\",confidence=\"suspected\"}}"
                ),
                "1x60",
            )],
            "NetdiagCauseSuspected",
            "14m",
            "16m",
        ),
    ]
}

/// Below each floor, and with a cause named beside the drops: not even pending.
pub fn quiet_tests() -> [Value; 3] {
    let of = "job=\"netdiag\",instance=\"node-a\",namespace=\"shop\",workload=\"Deployment/cart\"";
    let series = |name: &str, more: &str, values: &str| json!({ "series": format!("{name}{{{of}{more}}}"), "values": values });
    let busy = |name: &str, more: &str, values: &str| {
        let of = of.replace("cart", "busy");
        json!({ "series": format!("{name}{{{of}{more}}}"), "values": values })
    };
    let there = |name: &str, values: &str, more: &str| {
        let of = format!("job=\"netdiag\",instance=\"node-a\"{more}");
        json!({ "series": format!("{name}{{{of}}}"), "values": values })
    };
    let healthy = json!({
        "interval": "30s",
        "input_series": [
            there("up", "1x60", ""), there("netdiag_blind", "0x60", ""),
            there("netdiag_resident_memory_bytes", "40000000x60", ""), there("netdiag_map_bytes", "14000000x60", ""),
            series("netdiag_drops_total", ",reason=\"NO_SOCKET\"", "0+20x60"),
            series("netdiag_retransmits_total", "", "0+100x60"),
            // Two queries a minute, none of them answered.
            series("netdiag_dns_queries_total", "", "0+1x60"),
            // Another workload's are many, and answered.
            busy("netdiag_dns_queries_total", "", "0+60x60"),
            busy("netdiag_dns_answers_total", ",code=\"noerror\"", "0+50x60"),
            busy("netdiag_dns_answers_total", ",code=\"nxdomain\"", "0+10x60"),
            series("netdiag_finding", ",cause=\"no-route\",severity=\"info\",confidence=\"confirmed\"", "1x60"),
        ],
        "promql_expr_test": [
            { "expr": "count(ALERTS)", "eval_time": "25m", "exp_samples": [] },
        ],
    });
    // Their answers are counted in workload other.
    let hidden = json!({
        "interval": "30s",
        "input_series": [
            busy("netdiag_dns_queries_total", "", "0+60x60"),
            there("netdiag_hidden_series_total", "3x60", ",family=\"netdiag_dns_answers\""),
        ],
        "promql_expr_test": [
            { "expr": "count(ALERTS{alertname=\"NetdiagDnsUnanswered\"})", "eval_time": "25m", "exp_samples": [] },
        ],
    });
    // What is moved there happened long before, at whatever rate it moves.
    let gone = |name: &str, more: &str| {
        let series =
            format!("{name}{{job=\"netdiag\",instance=\"node-a\",workload=\"gone\"{more}}}");
        json!({ "series": series, "values": "0+6000x60" })
    };
    let moved = json!({
        "interval": "30s",
        "input_series": [
            there("up", "1x60", ""),
            gone("netdiag_drops_total", ",reason=\"NO_SOCKET\",hop=\"pod\""),
            gone("netdiag_retransmits_total", ""), gone("netdiag_dns_queries_total", ""),
            gone("netdiag_dns_answers_total", ",code=\"servfail\""),
        ],
        "promql_expr_test": [
            { "expr": "count(ALERTS)", "eval_time": "25m", "exp_samples": [] },
        ],
    });
    [healthy, hidden, moved]
}

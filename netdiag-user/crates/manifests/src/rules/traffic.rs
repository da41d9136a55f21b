//! Alerts of what packets meet, whatever netdiag makes of it. Each has a floor: a share of next to
//! nothing is no trouble.
use super::{Alert, Context};
use crate::monitoring::Rule;

const WINDOW: u32 = 300;
const LASTING: u32 = 900;
/// Packets a second of one reason that a node loses without anybody's calling for it.
const DROPS: f64 = 1.0;
/// Segments a second that one workload sends again.
const RETRANSMITS: f64 = 10.0;
/// Queries a second of one workload, below which their answers are not judged.
const QUERIES: f64 = 0.1;
/// Of them, those without an answer, or with one that is the server's failure.
const FAILED: f64 = 0.05;

pub fn rules(context: &Context<'_>) -> Vec<Rule> {
    let window = context.window(WINDOW);
    let rate = |metric: &str, more: &str, by: &str| {
        // What is moved to workload gone was counted when it happened.
        format!(
            "sum by (job, instance, namespace, workload{by}) \
             (rate({metric}{{workload!=\"gone\"{more}}}[{window}]))"
        )
    };
    let queries = rate("netdiag_dns_queries_total", "", "");
    let answers = rate("netdiag_dns_answers_total", "", "");
    let failures = rate(
        "netdiag_dns_answers_total",
        r#",code=~"servfail|refused""#,
        "",
    );
    let percent = FAILED * 100.0;
    let floor = format!("and {queries} > {QUERIES}");
    let rule = |name, expr, summary, description: String, runbook| {
        context.rule(&Alert {
            name,
            severity: "warning",
            expr,
            seconds: LASTING,
            summary,
            description: format!("{WHOSE} on {{{{ $labels.instance }}}} {description}"),
            runbook,
        })
    };
    vec![
        rule(
            "NetdiagPacketsDropped",
            format!(
                "{} > {DROPS} unless on (job, instance) netdiag_finding{{severity=~\"critical|warning\"}}",
                rate("netdiag_drops_total", "", ", reason")
            ),
            "Packets are dropped, and no cause is named",
            "loses {{ $value | humanize }} packets/s for {{ $labels.reason }}, and netdiag names no \
             cause on that node."
                .to_owned(),
            "netdiag explain REASON, and netdiag diagnose on that node: what it lists as not explained",
        ),
        rule(
            "NetdiagRetransmissions",
            format!("{} > {RETRANSMITS}", rate("netdiag_retransmits_total", "", "")),
            "A workload sends many TCP segments again",
            "sends {{ $value | humanize }} TCP segments/s again.".to_owned(),
            "netdiag path POD PEER tells at which hop the segments were seen last",
        ),
        rule(
            "NetdiagDnsUnanswered",
            // Answers that are counted in workload other would be missing here.
            format!(
                "({queries} - ({answers} or 0 * {queries})) / {queries} > {FAILED} {floor} \
                 unless on (job, instance) netdiag_hidden_series_total{{family=~\"netdiag_dns_.*\"}} > 0"
            ),
            "DNS queries of a workload get no answer",
            format!(
                "gets no answer to {{{{ $value | humanizePercentage }}}} of its DNS queries (limit {percent}%)."
            ),
            "netdiag explain dns-unreachable",
        ),
        rule(
            "NetdiagDnsFailing",
            format!("{failures} / {queries} > {FAILED} {floor}"),
            "DNS servers answer a workload with failures",
            format!(
                "gets SERVFAIL or REFUSED for {{{{ $value | humanizePercentage }}}} of its DNS queries \
                 (limit {percent}%)."
            ),
            "netdiag explain dns-upstream-failing",
        ),
    ]
}

const WHOSE: &str = "{{ if $labels.namespace }}{{ $labels.namespace }}/{{ $labels.workload }}{{ else }}The node's own traffic{{ end }}";

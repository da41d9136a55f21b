//! What is shown, row by row.

pub struct Row {
    pub title: &'static str,
    pub panels: &'static [Panel],
}

pub struct Panel {
    pub title: &'static str,
    pub about: &'static str,
    pub kind: Kind,
    /// Of Grafana's units.
    pub unit: &'static str,
    /// Each with the name of its lines. `$job`, `$instance` and `$__rate_interval` are Grafana's to
    /// fill in.
    pub queries: &'static [(&'static str, &'static str)],
    /// Shown where they give nothing, which is no fault: nothing of it was ever counted.
    pub none: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lines over time.
    Lines,
    /// One number.
    Number,
    /// What is so now.
    Table,
}

/// Of every query.
macro_rules! own {
    () => {
        r#"job="$job",instance=~"$instance""#
    };
}

/// Of what is counted by workload: what is moved to workload gone was counted when it happened.
macro_rules! counted_once {
    () => {
        concat!(own!(), r#",workload!="gone""#)
    };
}

/// A rate by labels; no line where nothing of it was ever counted.
macro_rules! rate {
    ($metric:literal, $by:literal) => {
        concat!(
            "sum by (",
            $by,
            ") (rate(",
            $metric,
            "{",
            counted_once!(),
            "}[$__rate_interval]))"
        )
    };
}

const fn lines(
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        about,
        kind: Kind::Lines,
        unit,
        queries,
        none: None,
    }
}

/// Lines of which a healthy node has none.
const fn counted(
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        none: Some("0"),
        ..lines(title, about, unit, queries)
    }
}

const fn number(
    title: &'static str,
    about: &'static str,
    query: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        about,
        kind: Kind::Number,
        unit: "short",
        queries: query,
        none: None,
    }
}

pub fn rows() -> [Row; 4] {
    [
        Row {
            title: "Now",
            panels: NOW,
        },
        Row {
            title: "Packets",
            panels: PACKETS,
        },
        Row {
            title: "DNS",
            panels: DNS,
        },
        Row {
            title: "netdiag itself",
            panels: OWN,
        },
    ]
}

const NOW: &[Panel] = &[
    number(
        "Critical findings",
        "Causes that netdiag names now, each once a node.",
        &[(
            concat!(
                "count(count by (instance, cause) (netdiag_finding{",
                own!(),
                ",severity=\"critical\"})) or vector(0)"
            ),
            "critical",
        )],
    ),
    number(
        "Warnings",
        "Causes that netdiag names now, each once a node.",
        &[(
            concat!(
                "count(count by (instance, cause) (netdiag_finding{",
                own!(),
                ",severity=\"warning\"})) or vector(0)"
            ),
            "warnings",
        )],
    ),
    number(
        "Nodes watched",
        "Agents that Prometheus reaches.",
        &[(concat!("sum(up{", own!(), "})"), "nodes")],
    ),
    number(
        "Blind nodes",
        "Agents that do not see all that they should: without a finding there, nothing is said of the node.",
        &[(concat!("sum(netdiag_blind{", own!(), "})"), "blind")],
    ),
    Panel {
        title: "Findings",
        about: "Workloads concerned by each cause. `netdiag explain CAUSE` is its manual.",
        kind: Kind::Table,
        unit: "short",
        none: Some("none"),
        queries: &[(
            concat!(
                "count by (instance, cause, severity, confidence, consequence_of, namespace) (netdiag_finding{",
                own!(),
                "})"
            ),
            "",
        )],
    },
    counted(
        "Findings over time",
        "Causes named, each once a node.",
        "short",
        &[(
            concat!(
                "count by (cause) (count by (instance, cause) (netdiag_finding{",
                own!(),
                "}))"
            ),
            "{{cause}}",
        )],
    ),
];

const PACKETS: &[Panel] = &[
    counted(
        "Drops by reason",
        "Each dropped packet once, where the kernel freed it.",
        "pps",
        &[(rate!("netdiag_drops_total", "reason"), "{{reason}}")],
    ),
    counted(
        "Drops by hop",
        "What the place is for where packets died: pod, bridge, tunnel, uplink, node.",
        "pps",
        &[(rate!("netdiag_drops_total", "hop"), "{{hop}}")],
    ),
    counted(
        "Drops by workload",
        "Whose packets they were: the sender's where it is known.",
        "pps",
        &[(
            rate!("netdiag_drops_total", "namespace, workload"),
            "{{namespace}}/{{workload}}",
        )],
    ),
    counted(
        "Bytes dropped",
        "From the IP header on, as on the wire.",
        "Bps",
        &[(rate!("netdiag_dropped_bytes_total", "reason"), "{{reason}}")],
    ),
    counted(
        "Retransmissions",
        "TCP segments that sockets of the node and its pods sent again.",
        "pps",
        &[(
            rate!("netdiag_retransmits_total", "namespace, workload"),
            "{{namespace}}/{{workload}}",
        )],
    ),
    counted(
        "Oversize packets",
        "Larger than what is next on their way takes, at each hop that they passed.",
        "pps",
        &[(
            rate!("netdiag_oversize_packets_total", "hop, direction"),
            "{{hop}} {{direction}}",
        )],
    ),
    counted(
        "Wrong outer addresses",
        "VXLAN packets with another outer source address than the other end expects.",
        "pps",
        &[(
            rate!(
                "netdiag_outer_address_mismatches_total",
                "namespace, workload"
            ),
            "{{namespace}}/{{workload}}",
        )],
    ),
    lines(
        "Harmless drops",
        "Those that every healthy node has; they are in none of the others.",
        "pps",
        &[(
            concat!(
                "sum by (instance) (rate(netdiag_harmless_drops_total{",
                own!(),
                "}[$__rate_interval]))"
            ),
            "{{instance}}",
        )],
    ),
];

const DNS: &[Panel] = &[
    counted(
        "Answers by code",
        "Of the queries of nodes' pods.",
        "reqps",
        &[(rate!("netdiag_dns_answers_total", "code"), "{{code}}")],
    ),
    counted(
        "Queries without an answer",
        "Queries less answers, by workload.",
        "reqps",
        &[(
            concat!(
                "clamp_min(sum by (namespace, workload) (rate(netdiag_dns_queries_total{",
                counted_once!(),
                "}[$__rate_interval])) - (sum by (namespace, workload) (rate(netdiag_dns_answers_total{",
                counted_once!(),
                "}[$__rate_interval])) or 0 * sum by (namespace, workload) (rate(netdiag_dns_queries_total{",
                counted_once!(),
                "}[$__rate_interval]))), 0)"
            ),
            "{{namespace}}/{{workload}}",
        )],
    ),
];

const OWN: &[Panel] = &[
    lines(
        "CPU",
        "Of netdiag's processes; its programs in the kernel run on the packets' account.",
        "percentunit",
        &[(
            concat!(
                "sum by (instance) (rate(netdiag_cpu_seconds_total{",
                own!(),
                "}[$__rate_interval]))"
            ),
            "{{instance}}",
        )],
    ),
    lines(
        "Memory",
        "Resident memory, and the kernel's behind netdiag's tables.",
        "bytes",
        &[
            (
                concat!("netdiag_resident_memory_bytes{", own!(), "}"),
                "{{instance}} process",
            ),
            (
                concat!("netdiag_map_bytes{", own!(), "}"),
                "{{instance}} tables",
            ),
        ],
    ),
    lines(
        "Lost events",
        "What netdiag could not deliver or store: its counts are too low by as many.",
        "cps",
        &[
            (
                concat!(
                    "sum by (why) (rate(netdiag_lost_events_total{",
                    own!(),
                    "}[$__rate_interval]))"
                ),
                "{{why}}",
            ),
            (
                concat!(
                    "sum(rate(netdiag_evicted_flows_total{",
                    own!(),
                    "}[$__rate_interval]))"
                ),
                "evicted flows",
            ),
        ],
    ),
    lines(
        "Canaries",
        "Packets that agents drop themselves: those unseen should be none. The minimal profile has no canary.",
        "cps",
        &[(
            concat!(
                "sum by (result) (rate(netdiag_canary_rounds_total{",
                own!(),
                "}[$__rate_interval]))"
            ),
            "{{result}}",
        )],
    ),
    lines(
        "Hooks attached",
        "A fall shows a node that is watched less than before.",
        "short",
        &[(concat!("netdiag_hooks{", own!(), "}"), "{{instance}}")],
    ),
    lines(
        "Series counted together",
        "In workload other, beyond --max-series; in workload gone, of workloads without a pod that made room.",
        "short",
        &[
            (
                concat!(
                    "sum by (family) (netdiag_hidden_series_total{",
                    own!(),
                    "})"
                ),
                "{{family}}: other",
            ),
            (
                concat!("sum by (family) (netdiag_gone_series_total{", own!(), "})"),
                "{{family}}: gone",
            ),
        ],
    ),
    Panel {
        title: "Versions",
        about: "Of netdiag and the kernel, by node.",
        kind: Kind::Table,
        unit: "short",
        none: None,
        queries: &[(
            concat!(
                "count by (instance, version, kernel) (netdiag_build_info{",
                own!(),
                "})"
            ),
            "",
        )],
    },
];

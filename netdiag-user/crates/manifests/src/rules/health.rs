//! Alerts of netdiag itself: silence is no health where nobody looks.
use super::{Alert, Context};
use crate::{
    monitoring::Rule,
    pod::{CPU_LIMIT_MILLI, MEMORY_LIMIT_MI},
};

const WINDOW: u32 = 300;
/// Of what the pod may take at most.
const SHARE: f64 = 0.8;
/// Events a second.
const LOST: f64 = 1.0;

pub fn rules(context: &Context<'_>) -> Vec<Rule> {
    let health = Health {
        context,
        window: context.window(WINDOW),
        job: format!("job=\"{}\"", context.job),
    };
    vec![
        health.down(),
        health.absent(),
        health.blind(),
        health.losing(),
        health.hidden(),
        health.cpu(),
        health.memory(),
    ]
}

struct Health<'a> {
    context: &'a Context<'a>,
    window: String,
    /// Whose series these are.
    job: String,
}

impl Health<'_> {
    fn down(&self) -> Rule {
        self.context.rule(&Alert {
            name: "NetdiagAgentDown",
            severity: "warning",
            expr: format!("up{{{}}} == 0", self.job),
            seconds: 300,
            summary: "netdiag's agent is down: nothing is seen on that node",
            description: "Prometheus cannot scrape netdiag's agent on {{ $labels.instance }}.".to_owned(),
            runbook: "kubectl get pods -o wide and kubectl logs --previous of the agent on that node",
        })
    }

    fn absent(&self) -> Rule {
        self.context.rule(&Alert {
            name: "NetdiagAgentsAbsent",
            severity: "warning",
            expr: format!("absent(up{{{}}})", self.job),
            seconds: 600,
            summary: "Prometheus knows no agent of netdiag's",
            description: format!("No target has the job {}: no node is watched.", self.context.job),
            runbook: "see whether the DaemonSet is there, and whether Prometheus selects its monitor",
        })
    }

    fn blind(&self) -> Rule {
        self.context.rule(&Alert {
            name: "NetdiagBlind",
            severity: "warning",
            expr: format!("max by (job, instance) (netdiag_blind{{{}}}) == 1", self.job),
            seconds: 300,
            summary: "netdiag does not see all that it should",
            description: "netdiag on {{ $labels.instance }} is blind: without a finding there, nothing is \
                said of its health."
                .to_owned(),
            runbook: "/readyz of that agent says what it does not see, netdiag doctor what to do about it",
        })
    }

    fn losing(&self) -> Rule {
        self.context.rule(&Alert {
            name: "NetdiagLosingEvents",
            severity: "warning",
            expr: format!(
                "sum by (job, instance, why) (rate(netdiag_lost_events_total{{{}}}[{}])) > {LOST}",
                self.job, self.window
            ),
            seconds: 600,
            summary: "netdiag loses events: its counts are too low",
            description: "netdiag on {{ $labels.instance }} loses {{ $value | humanize }} events/s \
                ({{ $labels.why }})."
                .to_owned(),
            runbook: "see whether the agent is throttled at its CPU limit; a storm of drops ends by itself",
        })
    }

    fn hidden(&self) -> Rule {
        self.context.rule(&Alert {
            name: "NetdiagSeriesHidden",
            severity: "info",
            expr: format!(
                "max by (job, instance, family) (netdiag_hidden_series_total{{{}}}) > 0",
                self.job
            ),
            seconds: 600,
            summary: "Workloads are counted together, for there are more than --max-series",
            description:
                "{{ $value }} series of {{ $labels.family }} on {{ $labels.instance }} are counted \
                in workload other."
                    .to_owned(),
            runbook: "raise --max-series of the agent, where Prometheus takes more series",
        })
    }

    fn cpu(&self) -> Rule {
        let limit = f64::from(CPU_LIMIT_MILLI) / 1000.0;
        self.context.rule(&Alert {
            name: "NetdiagCpuHigh",
            severity: "warning",
            expr: format!(
                "sum by (job, instance) (rate(netdiag_cpu_seconds_total{{{}}}[{}])) > {}",
                self.job,
                self.window,
                limit * SHARE
            ),
            seconds: 900,
            summary: "netdiag's agent is near its CPU limit",
            description: format!(
                "netdiag on {{{{ $labels.instance }}}} takes {{{{ $value | humanize }}}} CPUs, of {limit} that \
                 it may: beyond that it is throttled and loses events."
            ),
            runbook: "--level light and --max-cpu make the agent keep less; a higher limit lets it see more",
        })
    }

    fn memory(&self) -> Rule {
        let limit = f64::from(MEMORY_LIMIT_MI);
        let job = &self.job;
        self.context.rule(&Alert {
            name: "NetdiagMemoryHigh",
            severity: "warning",
            expr: format!(
                "max by (job, instance) (netdiag_resident_memory_bytes{{{job}}} + netdiag_map_bytes{{{job}}}) \
                 > {}",
                (limit * SHARE * 1_048_576.0).round()
            ),
            seconds: 900,
            summary: "netdiag's agent is near its memory limit",
            description: format!(
                "netdiag on {{{{ $labels.instance }}}} takes {{{{ $value | humanize1024 }}}}B with its tables in \
                 the kernel, of {limit} MiB that it may: beyond that it is killed."
            ),
            runbook: "lower --max-series of the agent, or raise the DaemonSet's limit",
        })
    }
}

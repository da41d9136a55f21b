//! An alert of each cause that netdiag may name.
use super::{Alert, Context, texts};
use crate::{
    diagnosis::causes::{ALL, Cause},
    monitoring::Rule,
};

/// A finding stands for --resolve-after after its last packet: what is named for so much longer did not
/// heal by itself.
const BEYOND: u32 = 120;
/// Nothing confirms it: who is called for it wants to know that it stays.
const SUSPECTED: u32 = 900;

pub fn rules(context: &Context<'_>) -> Vec<Rule> {
    let each = ALL.iter().map(|cause| rule(context, cause));
    each.chain([suspected(context)]).collect()
}

/// How many workloads of a namespace on a node it concerns.
fn expression(of: &str) -> String {
    format!("count by (job, instance, namespace, cause, severity) (netdiag_finding{{{of}}})")
}

fn rule(context: &Context<'_>, cause: &Cause) -> Rule {
    let id = cause.id;
    let sure = r#"severity=~"critical|warning",confidence!="suspected",consequence_of="""#;
    let mut annotations = texts([
        ("summary", format!("{}: {}", id, cause.title)),
        (
            "description",
            format!(
                "netdiag on {{{{ $labels.instance }}}} names {id} ({{{{ $labels.severity }}}}): {}. \
                 Workloads concerned in namespace {{{{ or $labels.namespace \"(none: the node's own)\" }}}}: \
                 {{{{ $value }}}}. Evidence, pods and commands of a fix: netdiag diagnose on that node.",
                cause.title
            ),
        ),
        ("runbook", format!("netdiag explain {id}")),
    ]);
    if let Some(prefix) = &context.alerts.runbook_url {
        annotations.insert("runbook_url".to_owned(), format!("{prefix}{id}"));
    }
    Rule {
        alert: name(id),
        expr: expression(&format!(r#"cause="{id}",{sure}"#)),
        lasting: context.time(lasting(context)),
        labels: texts([
            ("cause", id.to_owned()),
            ("severity", "{{ $labels.severity }}".to_owned()),
        ]),
        annotations,
    }
}

/// Seconds.
fn lasting(context: &Context<'_>) -> u32 {
    let stands = u32::try_from(context.alerts.resolve_after.as_secs()).unwrap_or(u32::MAX);
    stands.saturating_add(BEYOND)
}

fn suspected(context: &Context<'_>) -> Rule {
    let of = r#"severity=~"critical|warning",confidence="suspected",consequence_of="""#;
    context.rule(&Alert {
        name: "NetdiagCauseSuspected",
        severity: "info",
        expr: expression(of),
        seconds: lasting(context).max(SUSPECTED),
        summary: "netdiag suspects a cause of lost packets, and nothing confirms it",
        description:
            "netdiag on {{ $labels.instance }} suspects {{ $labels.cause }} for {{ $value }} \
            workloads of namespace {{ or $labels.namespace \"(none: the node's own)\" }}."
                .to_owned(),
        runbook: "netdiag diagnose on that node tells which evidence there is and which is missing",
    })
}

/// `NetdiagVxlanMtuTooLarge`
fn name(id: &str) -> String {
    let mut name = "Netdiag".to_owned();
    for word in id.split('-') {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Alerts;

    #[test]
    fn every_cause_has_one_alert_of_its_own() {
        let alerts = Alerts {
            runbook_url: Some("https://wiki.example/".to_owned()),
            ..Alerts::default()
        };
        let context = Context {
            alerts: &alerts,
            job: "netdiag",
        };
        let rules = rules(&context);
        assert_eq!(rules.len(), ALL.len() + 1);
        for (cause, rule) in ALL.iter().zip(&rules) {
            assert_eq!(rule.labels["cause"], cause.id);
            assert_eq!(
                rule.annotations["runbook_url"],
                format!("https://wiki.example/{}", cause.id)
            );
            assert_eq!(rule.lasting, "4m");
        }
        let slow = Alerts {
            resolve_after: std::time::Duration::from_secs(1200),
            ..Alerts::default()
        };
        let context = Context {
            alerts: &slow,
            ..context
        };
        assert!(super::rules(&context).iter().all(|it| it.lasting == "22m"));
        let names: std::collections::BTreeSet<_> = rules.iter().map(|rule| &rule.alert).collect();
        assert_eq!(names.len(), rules.len());
        assert_eq!(name("vxlan-mtu-too-large"), "NetdiagVxlanMtuTooLarge");
    }
}

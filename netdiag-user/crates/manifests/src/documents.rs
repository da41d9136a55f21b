//! Which objects are printed, in the order in which a cluster takes them.
use anyhow::Result;

use crate::{
    daemonset::daemonset,
    dashboard, monitors,
    options::{Monitor, Options},
    rbac, rules, scrape,
    yaml::Document,
};

/// A part of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    #[default]
    All,
    DaemonSet,
    Rbac,
    Monitors,
    Rules,
    Dashboard,
}

pub fn documents(what: What, options: &Options) -> Result<Vec<Document>> {
    match what {
        What::All => all(options),
        What::DaemonSet => Ok(vec![agents(options)?]),
        What::Rbac => rbac(options),
        What::Monitors => monitor(options.monitors.unwrap_or(Monitor::Pod), options),
        What::Rules => Ok(vec![rules(options)?]),
        What::Dashboard => Ok(vec![dashboard(options)?]),
    }
}

/// The operator's objects are there only where its operator is said to be.
fn all(options: &Options) -> Result<Vec<Document>> {
    let mut all = rbac(options)?;
    all.push(agents(options)?);
    if let Some(kind) = options.monitors {
        all.extend(monitor(kind, options)?);
        all.push(rules(options)?);
        all.push(dashboard(options)?);
    }
    Ok(all)
}

fn rbac(options: &Options) -> Result<Vec<Document>> {
    let namespace = options.own_namespace.then(|| {
        Document::new(
            "namespace",
            "The agents see their nodes, which the stricter levels of pod security forbid.",
            &rbac::namespace(options),
        )
    });
    let others = [
        Document::new(
            "serviceaccount",
            "As whom the agents ask the Kubernetes API.",
            &rbac::service_account(options),
        ),
        Document::new("clusterrole", &asked(options), &rbac::cluster_role(options)),
        Document::new("clusterrolebinding", "", &rbac::binding(options)),
    ];
    namespace.into_iter().chain(others).collect()
}

fn asked(options: &Options) -> String {
    let written = match options.events {
        true => "They write Events, as --events has it, and nothing else.",
        false => "They write nothing.",
    };
    format!(
        "All that they ask for: names of what packets belong to, and flannel's settings. {written}"
    )
}

fn agents(options: &Options) -> Result<Document> {
    let about = format!(
        "netdiag on every node, with the {} profile of capabilities.",
        options.profile
    );
    Document::new("daemonset", &about, &daemonset(options))
}

fn monitor(kind: Monitor, options: &Options) -> Result<Vec<Document>> {
    let about =
        "For Prometheus' operator; labels that its Prometheus selects by are given with --label.";
    Ok(match kind {
        Monitor::Pod => vec![Document::new(
            "podmonitor",
            about,
            &monitors::pods(options),
        )?],
        Monitor::Service => vec![
            Document::new(
                "service",
                "By which the ServiceMonitor finds the agents; it has no address.",
                &monitors::service(options),
            )?,
            Document::new("servicemonitor", about, &monitors::services(options))?,
        ],
    })
}

fn rules(options: &Options) -> Result<Document> {
    let about = "Alerts of every cause that netdiag may name, and of netdiag's own health.";
    Document::new("prometheusrule", about, &rules::object(options))
}

fn dashboard(options: &Options) -> Result<Document> {
    let about =
        "Where Grafana's sidecar looks for dashboards in all namespaces, it finds this one.";
    Document::new("dashboard", about, &dashboard::config_map(options)?)
}

/// The dashboard as Grafana imports it.
pub fn plain_dashboard(options: &Options) -> Result<String> {
    dashboard::plain(options)
}

/// The same as a rule file of Prometheus, for who has no operator.
pub fn plain_rules(options: &Options) -> Result<Document> {
    let about = "For rule_files of prometheus.yml.";
    Document::new("rules", about, &rules::file(options))
}

/// How the agents are found, for who has no operator.
pub fn plain_scrape(options: &Options) -> Result<Document> {
    let about = format!(
        "For prometheus.yml, or a file of its scrape_config_files. Its service account must be allowed to list and\n\
         watch pods in the namespace {}; outside the cluster, kubernetes_sd_configs say how to reach the API, too.",
        options.namespace
    );
    Document::new("scrape", &about, &scrape::scrapes(options))
}

#[cfg(test)]
mod tests;

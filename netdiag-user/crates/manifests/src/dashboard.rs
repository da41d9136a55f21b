//! The dashboard of Grafana: what is named now, what packets meet, and whether netdiag sees at all.
mod model;
mod panels;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::options::Options;
use model::Dashboard;

/// By this label Grafana's sidecar finds dashboards.
const LABEL: (&str, &str) = ("grafana_dashboard", "1");
const FILE: &str = "netdiag.json";

/// As Grafana imports it.
pub fn plain(options: &Options) -> Result<String> {
    let dashboard = Dashboard::new(options.name.as_str(), &panels::rows());
    let text = serde_json::to_string_pretty(&dashboard).context("encoding JSON")?;
    Ok(text + "\n")
}

/// As the sidecar takes it from the cluster.
pub fn config_map(options: &Options) -> Result<ConfigMap> {
    let mut metadata = options.meta();
    metadata.name = Some(format!("{}-dashboard", options.name));
    let mut labels = metadata.labels.unwrap_or_default();
    labels.insert(LABEL.0.to_owned(), LABEL.1.to_owned());
    Ok(ConfigMap {
        data: Some([(FILE.to_owned(), plain(options)?)].into()),
        metadata: ObjectMeta {
            labels: Some(labels),
            ..metadata
        },
        ..ConfigMap::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of nothing are nothing: a panel that is empty, and does not say what that means, cannot be
    /// told from one that is broken. A nought beside series with labels would be a line of nobody's.
    #[test]
    fn no_query_is_empty_where_all_is_well() {
        for panel in panels::rows().iter().flat_map(|row| row.panels) {
            for (expr, _) in panel.queries {
                let always = [
                    "netdiag_hooks",
                    "netdiag_blind",
                    "netdiag_canary",
                    "netdiag_lost_events",
                    "netdiag_cpu",
                    "netdiag_resident",
                    "netdiag_map",
                    "netdiag_build",
                    "netdiag_evicted",
                    "netdiag_hidden",
                    "netdiag_gone",
                    "netdiag_program",
                    "netdiag_harmless",
                    "up{",
                ];
                let is_there = always.iter().any(|name| expr.contains(name));
                let total = expr.starts_with("count(count") || expr.starts_with("sum(");
                let nought = expr.ends_with("or vector(0)");
                assert!(total || !nought, "{expr}");
                assert_eq!(is_there, panel.none.is_none() && !nought, "{expr}");
                assert!(expr.contains("$job"), "{expr}");
            }
        }
    }
}

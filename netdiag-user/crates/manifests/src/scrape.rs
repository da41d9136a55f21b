//! How a Prometheus without the operator finds the agents, with the labels that monitors give.
use serde::{Deserialize, Serialize};

use crate::{daemonset::PORT, options::Options};

/// What prometheus.yml has, and each of its scrape_config_files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scrapes {
    scrape_configs: [Job; 1],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    job_name: String,
    kubernetes_sd_configs: [Discovery; 1],
    relabel_configs: Vec<Relabel>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Discovery {
    role: String,
    namespaces: Namespaces,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Namespaces {
    names: [String; 1],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relabel {
    action: String,
    source_labels: [String; 1],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    regex: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_label: Option<String>,
}

pub fn scrapes(options: &Options) -> Scrapes {
    Scrapes {
        scrape_configs: [Job {
            job_name: options.name.to_string(),
            kubernetes_sd_configs: [Discovery {
                role: "pod".to_owned(),
                namespaces: Namespaces {
                    names: [options.namespace.to_string()],
                },
            }],
            relabel_configs: relabels(options),
        }],
    }
}

fn relabels(options: &Options) -> Vec<Relabel> {
    let by = |action: &str, source: &str, regex: &str| Relabel {
        action: action.to_owned(),
        source_labels: [format!("__meta_kubernetes_pod_{source}")],
        regex: Some(regex.to_owned()),
        target_label: None,
    };
    let identity = options.identity();
    // Values of these labels have nothing that a pattern would take for more than itself.
    let own = identity
        .iter()
        .map(|(key, value)| by("keep", &format!("label_{}", sanitised(key)), value));
    own.chain([
        by("keep", "container_port_name", PORT),
        // One that was evicted is there until somebody removes it.
        by("drop", "phase", "Failed|Succeeded"),
        Relabel {
            regex: None,
            target_label: Some("instance".to_owned()),
            ..by("replace", "node_name", "")
        },
    ])
    .collect()
}

/// A label's key as Prometheus spells it.
fn sanitised(key: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    key.chars().map(letter).collect()
}

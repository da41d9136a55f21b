//! For which processors the image is: the scheduler keeps the agents off other nodes.
use std::{env, fmt, str::FromStr};

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec,
};

const LABEL: &str = "kubernetes.io/arch";

/// As Kubernetes labels its nodes, and as images name their platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// This binary's, for an image of one platform is made of it.
    pub fn own() -> Self {
        match env::consts::ARCH {
            "aarch64" => Self::Arm64,
            _ => Self::Amd64,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut known = [Self::Amd64, Self::Arm64].into_iter();
        let known = known.find(|it| it.name() == text);
        known.ok_or_else(|| {
            format!("'{text}' is no processor that netdiag is built for: amd64 and arm64 are")
        })
    }
}

/// One is selected as people do; of several any will do.
pub fn keep_to(pod: &mut PodSpec, all: &[Arch]) {
    let mut all = all.to_vec();
    all.sort_unstable();
    all.dedup();
    let names = all.iter().map(|it| it.name().to_owned());
    if let [one] = all[..] {
        let selected = pod.node_selector.get_or_insert_default();
        selected.insert(LABEL.to_owned(), one.name().to_owned());
        return;
    }
    let any = NodeSelectorRequirement {
        key: LABEL.to_owned(),
        operator: "In".to_owned(),
        values: Some(names.collect()),
    };
    let affinity = pod.affinity.get_or_insert_default();
    *affinity = Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_expressions: Some(vec![any]),
                    ..NodeSelectorTerm::default()
                }],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(all: &[Arch]) -> (Option<String>, Vec<String>) {
        let mut pod = PodSpec::default();
        keep_to(&mut pod, all);
        let selected = pod.node_selector.unwrap_or_default().remove(LABEL);
        let node = pod.affinity.and_then(|it| it.node_affinity);
        let required = node.and_then(|it| it.required_during_scheduling_ignored_during_execution);
        let terms = required
            .map(|it| it.node_selector_terms)
            .unwrap_or_default();
        let asked = terms.into_iter().filter_map(|it| it.match_expressions);
        let values = asked.flatten().filter_map(|it| it.values);
        (selected, values.flatten().collect())
    }

    #[test]
    fn one_is_selected_and_of_several_any() {
        assert_eq!(kept(&[Arch::Arm64]), (Some("arm64".into()), Vec::new()));
        let twice = [Arch::Arm64, Arch::Arm64];
        assert_eq!(kept(&twice), (Some("arm64".into()), Vec::new()));
        let both = [Arch::Arm64, Arch::Amd64];
        let names = vec!["amd64".to_owned(), "arm64".to_owned()];
        assert_eq!(kept(&both), (None, names));
    }
}

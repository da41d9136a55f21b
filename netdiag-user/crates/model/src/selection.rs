//! Pods as people ask for them: by name, namespace, Service, labels, owner. Which addresses and
//! namespaces those are changes as pods come and go.
mod labels;
mod left_out;
mod resolve;

pub use self::{
    labels::Labels,
    left_out::Known,
    resolve::{Selected, Served},
};
use super::{filter::glob, pod::Pod};

/// Each kind of condition must hold, where one was given; of the same kind any one is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Globs.
    pub namespaces: Vec<String>,
    pub pods: Vec<Path>,
    pub services: Vec<Path>,
    pub labels: Vec<Labels>,
    pub owners: Vec<Owned>,
}

/// `NAMESPACE/NAME` or `NAME`, both globs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    namespace: Option<String>,
    name: String,
}

/// `KIND/NAME` or `NAME`, the name a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    kind: Option<String>,
    name: String,
}

/// Kinds as kubectl shortens them.
const KINDS: [(&str, &str); 18] = [
    ("po", "pod"),
    ("pods", "pod"),
    ("svc", "service"),
    ("services", "service"),
    ("deploy", "deployment"),
    ("deployments", "deployment"),
    ("ds", "daemonset"),
    ("daemonsets", "daemonset"),
    ("sts", "statefulset"),
    ("statefulsets", "statefulset"),
    ("rs", "replicaset"),
    ("replicasets", "replicaset"),
    ("jobs", "job"),
    ("cj", "cronjob"),
    ("cronjobs", "cronjob"),
    ("rc", "replicationcontroller"),
    ("no", "node"),
    ("nodes", "node"),
];

/// A kind's full name, given that or what kubectl takes for it.
pub fn kind(word: &str) -> Option<&'static str> {
    let is = |(short, long): &&(&str, &str)| *short == word || *long == word;
    KINDS.iter().find(is).map(|(_, long)| *long)
}

impl std::str::FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = split(text)?;
        Ok(Self { namespace, name })
    }
}

impl std::str::FromStr for Owned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, name) = split(text)?;
        let word = word.map(|w| w.to_lowercase());
        let kind = word.map(|w| kind(&w).map_or(w, str::to_owned));
        Ok(Self { kind, name })
    }
}

fn split(text: &str) -> Result<(Option<String>, String), String> {
    let (before, name) = match text.split_once('/') {
        Some((before, name)) => (Some(before), name),
        None => (None, text),
    };
    if name.is_empty() || name.contains('/') || before == Some("") {
        return Err(format!(
            "'{text}' is neither a name nor two with '/' between them"
        ));
    }
    Ok((before.map(str::to_owned), name.to_owned()))
}

impl Path {
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        let there = self.namespace.as_ref().is_none_or(|n| glob(n, namespace));
        there && glob(&self.name, name)
    }
}

impl Selection {
    pub fn is_empty(&self) -> bool {
        !self.asks_for_pods() && self.services.is_empty()
    }

    /// Whether something is asked of the pods themselves.
    pub fn asks_for_pods(&self) -> bool {
        let names = self.namespaces.is_empty() && self.pods.is_empty();
        !(names && self.labels.is_empty() && self.owners.is_empty())
    }

    /// Whether it is one of them, and its packets can be told from others'.
    pub fn takes(&self, pod: &Pod, served: &Served) -> bool {
        !pod.host_network && self.names(pod, served)
    }

    fn names(&self, pod: &Pod, served: &Served) -> bool {
        let none_or_any = |none: bool, any: bool| none || any;
        let (namespace, name) = (pod.namespace.as_str(), pod.name.as_str());
        none_or_any(
            self.namespaces.is_empty(),
            self.namespaces.iter().any(|n| glob(n, namespace)),
        ) && none_or_any(
            self.pods.is_empty(),
            self.pods.iter().any(|p| p.is(namespace, name)),
        ) && none_or_any(
            self.labels.is_empty(),
            self.labels.iter().any(|l| l.hold(&pod.labels)),
        ) && none_or_any(
            self.owners.is_empty(),
            self.owners.iter().any(|o| o.owns(pod)),
        ) && none_or_any(self.services.is_empty(), served.backs(pod))
    }
}

impl Owned {
    fn owns(&self, pod: &Pod) -> bool {
        pod.owner.as_ref().is_some_and(|owner| {
            let kind = self.kind.as_ref();
            kind.is_none_or(|k| owner.kind.eq_ignore_ascii_case(k)) && glob(&self.name, &owner.name)
        })
    }
}

/// As it would be typed.
impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words: Vec<String> = Vec::new();
        words.extend(self.namespaces.iter().map(|n| format!("-n {n}")));
        words.extend(self.pods.iter().map(|p| format!("-p {p}")));
        words.extend(self.services.iter().map(|s| format!("--service {s}")));
        words.extend(self.labels.iter().map(|l| format!("-l '{l}'")));
        words.extend(self.owners.iter().map(|o| format!("--owner {o}")));
        f.write_str(&words.join(" "))
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_path(f, self.namespace.as_deref(), &self.name)
    }
}

impl std::fmt::Display for Owned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_path(f, self.kind.as_deref(), &self.name)
    }
}

fn write_path(
    f: &mut std::fmt::Formatter<'_>,
    before: Option<&str>,
    name: &str,
) -> std::fmt::Result {
    match before {
        Some(before) => write!(f, "{before}/{name}"),
        None => f.write_str(name),
    }
}

#[cfg(test)]
mod tests;

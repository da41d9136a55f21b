//! The objects as files for `kubectl apply -k`: a base, and an overlay of each profile.
use anyhow::Result;
use k8s_openapi::api::core::v1::SecurityContext;
use serde::Serialize;

use crate::{
    daemonset::arguments,
    documents::{What, documents},
    options::Options,
    pod::{CONTAINER, node_files},
    profile::Profile,
    yaml::Document,
};

/// A file by its path within the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub text: String,
    /// Whether it is its reader's from then on: what a cluster changes stands there.
    pub is_yours: bool,
}

/// Where all is netdiag's own.
pub const BASE: &str = "base";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kustomization {
    api_version: &'static str,
    kind: &'static str,
    resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patches: Vec<Patch>,
}

#[derive(Debug, Serialize)]
struct Patch {
    path: String,
}

/// As much of a DaemonSet as an overlay changes: what is not there stays as it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    api_version: &'static str,
    kind: &'static str,
    metadata: Meta,
    spec: Workload,
}

#[derive(Debug, Serialize)]
struct Meta {
    name: String,
    namespace: String,
}

#[derive(Debug, Serialize)]
struct Workload {
    template: Template,
}

#[derive(Debug, Serialize)]
struct Template {
    spec: ContainerList,
}

#[derive(Debug, Serialize)]
struct ContainerList {
    containers: Vec<Container>,
}

/// One is known by its name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    args: Vec<String>,
    name: &'static str,
    security_context: SecurityContext,
    volume_mounts: [NodeFiles; 1],
}

/// The mount of the node's files, known by its path; what is null is taken away.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeFiles {
    mount_path: String,
    mount_propagation: Option<String>,
    name: String,
    recursive_read_only: Option<String>,
}

/// All files; those of the base are the minimal profile's.
pub fn files(options: &Options) -> Result<Vec<File>> {
    let minimal = Options {
        profile: Profile::Minimal,
        ..options.clone()
    };
    let base = documents(What::All, &minimal)?;
    let mut files = vec![kustomization(
        BASE,
        "Everything, with the minimal profile of capabilities. netdiag writes this folder anew each time.",
        base.iter().map(|it| format!("{}.yaml", it.name)).collect(),
        Vec::new(),
    )?];
    files.extend(base.iter().map(|it| file(BASE, it)));
    for profile in Profile::ALL {
        files.extend(overlay(profile, options)?);
    }
    Ok(files)
}

fn overlay(profile: Profile, options: &Options) -> Result<Vec<File>> {
    let folder = format!("overlays/{profile}");
    let about = format!(
        "netdiag with the {profile} profile: kubectl apply -k of this folder. What a cluster changes goes here: \
         this file is written once."
    );
    let base = vec!["../../base".to_owned()];
    if profile == Profile::Minimal {
        return Ok(vec![kustomization(&folder, &about, base, Vec::new())?]);
    }
    let about_patch =
        format!("What the {profile} profile may do, and what the agent does with it.");
    let patch = Document::new("profile", &about_patch, &changed(profile, options))?;
    let path = format!("{}.yaml", patch.name);
    Ok(vec![
        kustomization(&folder, &about, base, vec![Patch { path }])?,
        file(&folder, &patch),
    ])
}

fn changed(profile: Profile, options: &Options) -> Changed {
    let options = Options {
        profile,
        ..options.clone()
    };
    let files = node_files(profile);
    let container = Container {
        args: arguments(&options),
        name: CONTAINER,
        security_context: profile.security(&options.seccomp),
        volume_mounts: [NodeFiles {
            mount_path: files.mount_path,
            mount_propagation: files.mount_propagation,
            name: files.name,
            recursive_read_only: files.recursive_read_only,
        }],
    };
    let containers = ContainerList {
        containers: vec![container],
    };
    Changed {
        api_version: "apps/v1",
        kind: "DaemonSet",
        metadata: Meta {
            name: options.name.to_string(),
            namespace: options.namespace.to_string(),
        },
        spec: Workload {
            template: Template { spec: containers },
        },
    }
}

fn kustomization(
    folder: &str,
    about: &str,
    resources: Vec<String>,
    patches: Vec<Patch>,
) -> Result<File> {
    let object = Kustomization {
        api_version: "kustomize.config.k8s.io/v1beta1",
        kind: "Kustomization",
        resources,
        patches,
    };
    let document = Document::new("kustomization", about, &object)?;
    Ok(File {
        is_yours: folder != BASE,
        ..file(folder, &document)
    })
}

fn file(folder: &str, document: &Document) -> File {
    File {
        path: format!("{folder}/{}.yaml", document.name),
        text: document.file(),
        is_yours: false,
    }
}

//! Where on a node a program runs: as a service of the machine, or in a pod's container. Both are
//! known by their cgroups alone.
use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{filter, folder};
use crate::{netns::PREFIX, plan::Plan};

/// The place of a scenario's program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seat {
    /// Where the lab itself is.
    #[default]
    Anywhere,
    /// A service, as systemd starts it.
    Service,
    /// A container of the pod whose namespace the program is in, as kubelet starts it.
    Container,
}

/// Hierarchies by which services and containers are sorted: systemd's own of version 1, and
/// version 2.
fn bases() -> impl Iterator<Item = PathBuf> {
    let systemd = Path::new("/sys/fs/cgroup/systemd").to_owned();
    let systemd = Some(systemd).filter(|base| base.join("cgroup.procs").is_file());
    systemd.into_iter().chain(filter::base())
}

/// What holds the lab's services.
pub(super) fn slice(base: &Path, lab: &str) -> PathBuf {
    base.join(format!("{PREFIX}{lab}.slice"))
}

/// Whether one can be made here.
pub fn available() -> bool {
    let probe = format!("seat-{}", std::process::id());
    let mut folders = bases().map(|base| folder(&base, &probe));
    folders.any(|folder| fs::create_dir(&folder).is_ok() && fs::remove_dir(&folder).is_ok())
}

impl Seat {
    /// What a process writes "0" to that is to be there.
    pub fn doors(self, plan: &Plan, netns: &str, name: &str) -> Result<Vec<File>> {
        let mut doors = Vec::new();
        for base in bases() {
            let folder = match self {
                Self::Anywhere => continue,
                Self::Service => slice(&base, &plan.id).join(format!("{name}.service")),
                Self::Container => container(&folder(&base, &plan.id), plan, netns)?,
            };
            match door(&folder) {
                Ok(door) => doors.push(door),
                // Where cgroups may not be made, services run where the first process does.
                Err(error) => log::info!("{error:#}"),
            }
        }
        ensure!(
            self != Self::Container || !doors.is_empty(),
            "no cgroups can be made here"
        );
        Ok(doors)
    }
}

fn container(base: &Path, plan: &Plan, netns: &str) -> Result<PathBuf> {
    let mut pods = plan.nodes.iter().flat_map(|node| &node.pods);
    let pod = pods.find(|pod| pod.netns == netns);
    let pod = pod.context("no pod of the lab has that namespace")?;
    let pods = base.join(format!("kubepods/pod{}", pod.uid));
    Ok(pods.join(&pod.sandbox))
}

fn door(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let door = folder.join("cgroup.procs");
    let door = OpenOptions::new().write(true).open(door);
    door.context("cannot open a cgroup of the lab's")
}

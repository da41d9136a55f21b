//! A lab that stands: its plan, its namespaces and its record. Dropping it takes it down.
use std::collections::HashMap;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::future::join_all;

use super::case::Case;
use super::net::Net;
use super::netns::{self, Netns};
use super::plan::{Node, Plan};
use super::state::{self, Options, Record};
use super::{needs, root, topology};

pub struct Cluster {
    pub plan: Plan,
    record: Record,
    nets: HashMap<String, Net>,
    runtime: tokio::runtime::Handle,
    standing: bool,
}

impl Cluster {
    /// Builds the scenario's topology, ready for traffic, with every fault that stands from the
    /// start. Needs a tokio runtime.
    pub async fn build(case: Case, options: Options) -> Result<Self> {
        needs::check(&case.needs())?;
        netns::prepare()?;
        let names = |id: &str| case.plan(id, options.clone()).namespaces();
        let record = state::reserve(options.clone(), names)?;
        let mut cluster = Self {
            plan: case.plan(&record.id, options),
            record,
            nets: HashMap::new(),
            runtime: tokio::runtime::Handle::current(),
            standing: false,
        };
        for netns in create_all(&cluster.record.namespaces)? {
            cluster.nets.insert(netns.name.clone(), Net::open(&netns)?);
        }
        for node in &cluster.plan.nodes {
            root::make(&cluster.dir(), node)?;
        }
        topology::build(&cluster).await?;
        Ok(cluster)
    }

    /// Opens a lab that `lab up` left standing.
    pub fn open(case: Case, record: Record) -> Result<Self> {
        let mut nets = HashMap::new();
        for name in &record.namespaces {
            nets.insert(name.clone(), Net::open(&Netns::open(name)?)?);
        }
        Ok(Self {
            plan: case.plan(&record.id, record.options.clone()),
            record,
            nets,
            runtime: tokio::runtime::Handle::current(),
            standing: true,
        })
    }

    /// Leaves the lab standing when this process ends.
    pub fn keep(&mut self) -> Result<()> {
        self.record.standing = true;
        self.record.write()?;
        self.standing = true;
        Ok(())
    }

    pub fn net(&self, name: &str) -> Result<&Net> {
        self.nets
            .get(name)
            .with_context(|| format!("no namespace {name} in this lab"))
    }

    pub fn netns(&self, name: &str) -> Result<&Netns> {
        Ok(&self.net(name)?.netns)
    }

    /// Where this lab keeps its files.
    pub fn dir(&self) -> PathBuf {
        self.record.dir()
    }

    /// What `--cni-dir` is given on that node.
    pub fn cni_dir(&self, node: &Node) -> PathBuf {
        super::cni::dir(&self.dir(), node)
    }

    /// Where a diagnosis of that node leaves the ways that people are shown beside its verdict.
    pub fn ways(&self, node: &Node) -> PathBuf {
        self.dir().join(format!("ways.{}.json", node.name))
    }

    /// What `--root` is given on that node.
    pub fn root(&self, node: &Node) -> PathBuf {
        root::dir(&self.dir(), node)
    }

    /// A text of a scenario's with the lab's folders put in: `{dir}` is its own, `{root}` the root
    /// of the node whose namespace that is, `{netdiag}` this very program.
    pub fn fill(&self, netns: &str, text: &str) -> String {
        let node = self.plan.nodes.iter().find(|node| node.netns == netns);
        let root = node.map_or_else(|| self.dir(), |node| self.root(node));
        let netdiag = std::env::current_exe().unwrap_or_default();
        text.replace("{dir}", &self.dir().display().to_string())
            .replace("{netdiag}", &netdiag.display().to_string())
            .replace("{root}", &root.display().to_string())
    }

    /// Changes a limit of the whole machine until this lab is gone.
    pub fn machine_sysctl(&self, key: &str, value: &str) -> Result<()> {
        ensure!(
            needs::is_own_machine(),
            "{key} is not the lab's to change on this machine"
        );
        self.record.machine_sysctl(key, value)
    }

    /// Cuts the namespaces apart, then takes them away. Tried to the end whatever fails.
    fn take_down(&self) -> Result<()> {
        let nets: Vec<_> = self.nets.values().cloned().collect();
        let runtime = self.runtime.clone();
        // A thread of its own: this may run while a runtime's thread unwinds.
        let cut = thread::spawn(move || {
            runtime.block_on(async { join_all(nets.iter().map(Net::remove_veths)).await })
        });
        for result in cut
            .join()
            .map_err(|_| anyhow!("taking the links down panicked"))?
        {
            if let Err(error) = result {
                log::debug!("{error:#}");
            }
        }
        self.record.remove()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.standing
            && let Err(error) = self.take_down()
        {
            log::error!("lab {} is not quite gone: {error:#}", self.record.id);
        }
    }
}

/// Makes the namespaces side by side: each takes the kernel some milliseconds.
fn create_all(names: &[String]) -> Result<Vec<Netns>> {
    thread::scope(|scope| {
        let made: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || Netns::create(name)))
            .collect();
        made.into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
            })
            .collect()
    })
}

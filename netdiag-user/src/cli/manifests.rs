//! `netdiag manifests`: what a cluster is given for the agent.
mod arguments;
mod folder;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use self::arguments::Told;
use super::{Usage, exit};
use crate::{
    manifests::{
        self, Alerts, Arch, IMAGE, Image, Label, Listen, Monitor, Name, Options, Profile, Seccomp,
        What,
    },
    output::Sink,
};

/// Prints what to `kubectl apply` for the agent.
#[derive(Args, Debug)]
pub struct ManifestsArgs {
    /// Which part of it.
    #[arg(value_enum, default_value_t)]
    pub part: Part,
    /// What the agent may do: minimal (BPF, PERFMON, NET_ADMIN: the node's own links and the API's
    /// names) or full (pods' namespaces and processes too).
    #[arg(long, value_name = "PROFILE", default_value_t = Profile::Minimal)]
    pub profile: Profile,
    /// The seccomp profile of its containers: runtime-default, or localhost/FILE for one that each node
    /// has below its kubelet's folder (/var/lib/kubelet/seccomp), such as `netdiag manifests seccomp`.
    #[arg(long, value_name = "PROFILE", default_value_t)]
    pub seccomp_profile: Seccomp,
    /// The image, whose entry point netdiag is.
    #[arg(long, value_name = "REFERENCE", default_value = IMAGE)]
    pub image: Image,
    /// The processors that the image has a platform for (repeatable, or with commas), whose nodes alone
    /// are given an agent; this binary's where none is named.
    #[arg(long, value_name = "ARCH", value_delimiter = ',', default_values_t = [Arch::own()], hide_default_value = true)]
    pub arch: Vec<Arch>,
    /// The Secret by which the image is pulled.
    #[arg(long, value_name = "NAME")]
    pub pull_secret: Option<Name>,
    /// The namespace of all objects; it is one of them unless --no-namespace says otherwise.
    #[arg(short, long, value_name = "NAME", default_value = "netdiag")]
    pub namespace: Name,
    /// Leave the namespace itself out: it exists, and must admit privileged pods (its label
    /// pod-security.kubernetes.io/enforce, where it has one, is privileged).
    #[arg(long)]
    pub no_namespace: bool,
    /// What the objects are called, and the job by which Prometheus knows the agents.
    #[arg(long, value_name = "NAME", default_value = "netdiag")]
    pub name: Name,
    /// One more label of every object (repeatable): release=monitoring.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub label: Vec<Label>,
    /// The agents' priority: system-node-critical keeps them on a node that is short of memory.
    #[arg(long, value_name = "NAME")]
    pub priority_class: Option<Name>,
    /// Where each agent serves /metrics, /healthz and /readyz, in its node's network.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9464")]
    pub listen: Listen,
    /// Have Prometheus' operator scrape the agents, by a PodMonitor or a Service and ServiceMonitor,
    /// with alerts and a dashboard.
    #[arg(long, value_name = "KIND")]
    pub monitors: Option<Kind>,
    /// Print rules and scrape as files of Prometheus' configuration, the dashboard as Grafana's JSON:
    /// for who has no operator and no sidecar.
    #[arg(long)]
    pub plain: bool,
    /// Write it all to files for `kubectl apply -k DIR/overlays/minimal` or `…/full`. The base is written
    /// anew each time, the overlays' kustomization.yaml only where it is missing.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["plain", "profile", "part"])]
    pub kustomize: Option<PathBuf>,
    /// Before a cause's ID, the link to its manual that alerts have as runbook_url.
    #[arg(long, value_name = "PREFIX", value_parser = manifests::runbook_url)]
    pub runbook_url: Option<String>,
    /// Multiply how long things must last before an alert fires: 0.05 to try them out.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = manifests::scale)]
    pub alert_scale: f64,
    /// More arguments of `netdiag agent`: -- --level flows --max-cpu 2%.
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Part {
    /// Namespace, access to the API and the agents; with --monitors how they are scraped, the alerts
    /// and the dashboard.
    #[default]
    All,
    /// The agents.
    Daemonset,
    /// Namespace, service account, and what it may read of the API.
    Rbac,
    /// A PodMonitor, or as --monitors says.
    Monitors,
    /// Alerts of every cause, and of netdiag itself.
    Rules,
    /// The dashboard for Grafana.
    Dashboard,
    /// With --plain, how Prometheus finds the agents without its operator.
    Scrape,
    /// A seccomp profile (JSON) that allows what a profile of capabilities needs, for nodes whose
    /// runtime's default refuses bpf().
    Seccomp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    Pod,
    Service,
}

pub fn run(args: &ManifestsArgs) -> Result<i32> {
    let options = args.options()?;
    if let Some(folder) = &args.kustomize {
        folder::write(folder, &manifests::files(&options)?)?;
        return Ok(exit::OK);
    }
    let text = match (args.plain, args.part) {
        (_, Part::Seccomp) => manifests::seccomp(options.profile)?,
        (true, Part::Scrape) => manifests::plain_scrape(&options)?.file(),
        (true, Part::Rules) => manifests::plain_rules(&options)?.file(),
        (true, Part::Dashboard) => manifests::plain_dashboard(&options)?,
        (true, _) => {
            let why = "--plain is for rules, scrape and dashboard: the other parts are objects of a \
                cluster's";
            return Err(Usage(why.to_owned()).into());
        }
        (false, part) => manifests::stream(&manifests::documents(what(part)?, &options)?),
    };
    Sink::open(None)?.write(&text)?;
    Ok(exit::OK)
}

impl ManifestsArgs {
    fn options(&self) -> Result<Options> {
        let monitors = self.monitors.map(|kind| match kind {
            Kind::Pod => Monitor::Pod,
            Kind::Service => Monitor::Service,
        });
        let scraped = monitors.is_some() || matches!(self.part, Part::Monitors | Part::Scrape);
        if scraped && self.listen.is_local() {
            let why = format!(
                "Prometheus reaches nothing at {}: --listen 0.0.0.0:9464 is reached",
                self.listen.address()
            );
            return Err(Usage(why).into());
        }
        self.check_namespace()?;
        let told = arguments::read(&self.arguments)?;
        let options = Options {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            own_namespace: !self.no_namespace,
            image: self.image.clone(),
            arch: self.arch.clone(),
            profile: self.profile,
            seccomp: self.seccomp_profile.clone(),
            listen: self.listen,
            pull_secret: self.pull_secret.clone(),
            priority_class: self.priority_class.clone(),
            labels: self.label.clone(),
            arguments: self.arguments.clone(),
            canary: told.canary.is_some(),
            events: told.events,
            monitors,
            alerts: self.alerts(&told),
        };
        for &profile in self.profiles() {
            arguments::check(&options, profile, &told)?;
        }
        Ok(options)
    }

    fn alerts(&self, told: &Told) -> Alerts {
        let usual = Alerts::default();
        Alerts {
            runbook_url: self.runbook_url.clone(),
            scale: self.alert_scale,
            resolve_after: told.resolve_after.unwrap_or(usual.resolve_after),
        }
    }

    /// Whoever deletes what is printed here deletes a namespace that is among it.
    fn check_namespace(&self) -> Result<()> {
        let name = self.namespace.as_str();
        let others = name == "default" || name.starts_with("kube-");
        let is_written = matches!(self.part, Part::All | Part::Rbac) && !self.no_namespace;
        if others && is_written {
            let why = format!(
                "the namespace {name} is not netdiag's to label, nor to be deleted with it: --no-namespace \
                 leaves it out"
            );
            return Err(Usage(why).into());
        }
        Ok(())
    }

    /// Those that are written.
    fn profiles(&self) -> &[Profile] {
        match self.kustomize {
            Some(_) => &Profile::ALL,
            None => std::slice::from_ref(&self.profile),
        }
    }
}

/// The objects that it is.
fn what(part: Part) -> Result<What> {
    Ok(match part {
        Part::All => What::All,
        Part::Daemonset => What::DaemonSet,
        Part::Rbac => What::Rbac,
        Part::Monitors => What::Monitors,
        Part::Rules => What::Rules,
        Part::Dashboard => What::Dashboard,
        Part::Seccomp => {
            let why = "a seccomp profile is a file on each node, and no object of a cluster's";
            return Err(Usage(why.to_owned()).into());
        }
        Part::Scrape => {
            let why = "scrape is a part of Prometheus' own configuration, which --plain prints: monitors are \
                objects of a cluster's";
            return Err(Usage(why.to_owned()).into());
        }
    })
}

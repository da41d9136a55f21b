//! Real programs of a scenario: a name server, etcd, a CNI daemon. They run in a namespace of the
//! lab from before the traffic until after it.
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cgroup::{self, seat::Seat};
use super::cluster::Cluster;
use super::guarded::Guarded;
use super::step::Step;
use super::sys::{enter_before_exec, join_before_exec};

/// What a program may take until it answers; etcd takes two seconds on a slow machine.
const READY: Duration = Duration::from_secs(20);

/// A program as data. `{dir}`, `{root}` and `{netdiag}` in its program, arguments and files
/// are filled in by
/// [`Cluster::fill`].
#[derive(Clone, Debug, Default)]
pub struct Daemon {
    pub netns: String,
    pub program: String,
    /// What ps(1) shows as its name, where that is to be another one.
    pub shown_as: Option<String>,
    /// The container that it is, in a pod.
    pub container: Option<&'static str>,
    pub arguments: Vec<String>,
    pub seat: Seat,
    /// It runs in the lab's cgroup.
    pub confined: bool,
    /// Files that it reads: path, and text.
    pub files: Vec<(String, String)>,
    /// What is done before it starts, and when it is ready.
    pub before: Vec<Step>,
    pub after: Vec<Step>,
    /// It is ready when this takes a connection.
    pub listens: Option<SocketAddr>,
}

impl Daemon {
    /// Starts it and waits until it is ready.
    pub async fn start(&self, cluster: &Cluster) -> Result<Guarded> {
        let fill = |text: &str| cluster.fill(&self.netns, text);
        for (path, text) in &self.files {
            // One without a folder is in the lab's own.
            let path = cluster.dir().join(fill(path));
            let folder = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&path, fill(text)))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        apply(&self.before, cluster).await?;
        let netns = cluster.netns(&self.netns)?;
        let program = fill(&self.program);
        let name = program.rsplit('/').next().unwrap_or_default();
        let log = cluster.dir().join(format!("{}-{name}.log", self.netns));
        let out = std::fs::File::create(&log).context("cannot write the program's log")?;
        let mut command = Command::new(&program);
        if let Some(name) = &self.shown_as {
            command.arg0(name);
        }
        command
            .args(self.arguments.iter().map(|a| fill(a)))
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("cannot share the log")?)
            .stderr(out);
        if self.confined {
            join_before_exec(&mut command, cgroup::filter::door(&cluster.plan.id)?);
        }
        let known = self.shown_as.as_deref().unwrap_or(&program);
        let known = known.rsplit('/').next().unwrap_or_default();
        for door in self.seat.doors(&cluster.plan, &self.netns, known)? {
            join_before_exec(&mut command, door);
        }
        enter_before_exec(&mut command, netns.file()?);
        let child = tokio::process::Command::from(command)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program))?;
        let mut child = Guarded(child);
        let begun = Instant::now();
        while let Some(address) = self.listens {
            let connect = move || TcpStream::connect_timeout(&address, Duration::from_secs(1));
            if netns.run(move || Ok(connect().is_ok()))? {
                break;
            }
            let ended = child.0.try_wait().context("cannot watch the program")?;
            if ended.is_some() || begun.elapsed() > READY {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("nothing");
                bail!("{} does not answer; it said: {last}", self.program);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        apply(&self.after, cluster).await?;
        Ok(child)
    }
}

async fn apply(steps: &[Step], cluster: &Cluster) -> Result<()> {
    for step in steps {
        step.apply(cluster).await?;
    }
    Ok(())
}

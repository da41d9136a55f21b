//! `netdiag audit`: what the node's configuration alone tells, without programs in the kernel
//! and without any privilege beyond reading.
use anyhow::Result;
use clap::Args;
use netdiag_lang::{english, mark};

use super::{
    cluster,
    diagnose::code,
    gathering::Gathering,
    options::{Causes, NodeRootArgs},
    watch::Signals,
};
use crate::{
    diagnosis::diagnoser::Diagnoser,
    host::snapshot::Reader,
    kernel::read,
    model::{
        gather::Gathered,
        node::{Link, Node},
        observation::Observation,
        roles::{Role, Roles},
        verdict::{NotChecked, Verdict},
    },
    output::{self, Format},
    pipeline::{
        clock::Clock,
        facts::KnownNames,
        scene::{Run, Scene},
    },
    pods::Pods,
};

#[derive(Args, Debug)]
pub struct AuditArgs {
    #[command(flatten)]
    pub place: NodeRootArgs,
    #[command(flatten)]
    pub causes: Causes,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<std::path::PathBuf>,
}

pub async fn run(args: AuditArgs) -> Result<i32> {
    let mut sink = output::Sink::open(args.output_file.as_deref())?;
    let mut signals = Signals::catch()?;
    let verdict = tokio::select! {
        verdict = audit(&args.place, &args.causes) => verdict?,
        code = signals.wait() => return Ok(code),
    };
    output::verdict(&mut sink, &verdict, &[], args.output)?;
    Ok(code(&verdict))
}

async fn audit(place: &NodeRootArgs, causes: &Causes) -> Result<Verdict> {
    place.know_cgroups();
    let mut api = cluster::Source::open(place.api()).await?;
    let mut pods = Pods::open(place.pods(&api)).await?;
    let reader = Reader::open(&place.root, place.node_name.as_deref())?;
    let mut scene = scene(reader.node().await?, place, &mut pods);
    api.settle().await;
    scene.cluster = api.picture();
    cluster::know_as(&mut scene.node, &scene.cluster);
    scene.asked.causes.clone_from(&causes.cause);
    let mut judge = Diagnoser::default();
    let mut gathering = Gathering::new(place.places());
    // What is found out can point to more that is worth knowing.
    loop {
        let mut wants = judge.findings(&scene, &nothing_seen()).wants;
        wants.retain(|w| !scene.gathered.has(w));
        if wants.is_empty() {
            break;
        }
        gathering.settle(wants, &mut scene.gathered).await;
    }
    scene.run.not_checked = not_checked(&scene, &pods, &api);
    scene.run.not_checked.extend(reader.not_checked());
    scene.run.sources = pods.used();
    scene.run.blind = pods_unread(&scene.node).is_some();
    Ok(judge.verdict(&scene, &nothing_seen()))
}

fn nothing_seen() -> Observation {
    Observation {
        now: read::now(),
        ..Observation::default()
    }
}

fn scene(mut node: Node, place: &NodeRootArgs, pods: &mut Pods) -> Scene {
    let said = place.node_ip.iter().map(|a| (*a, "--node-ip".into()));
    node.known_as.extend(said);
    let now = read::now();
    Scene {
        start: node.clone(),
        pods: pods.index(&node),
        cluster: Default::default(),
        node,
        gathered: Gathered::default(),
        names: Box::new(KnownNames::default()),
        clock: Clock {
            monotonic: now,
            wall: jiff::Timestamp::now(),
        },
        run: Run {
            started: now,
            ..Run::default()
        },
        asked: crate::pipeline::asked::Asked::default(),
        links: Vec::new(),
    }
}

fn not_checked(scene: &Scene, pods: &Pods, api: &cluster::Source) -> Vec<NotChecked> {
    let mut rows = vec![NotChecked::new(
        mark!("traffic"),
        mark!("an audit does not watch it: `netdiag diagnose` does"),
    )];
    rows.extend(pods_unread(&scene.node));
    rows.extend(scene.asked.not_checked(0));
    rows.extend(pods.not_checked(&scene.pods));
    rows.extend(api.not_checked());
    rows.extend(scene.gathered.not_checked());
    rows
}

/// The pods whose own side stays unknown: what it sends at most, and its addresses.
fn pods_unread(node: &Node) -> Option<NotChecked> {
    let roles = Roles::new(node);
    let is_pods = |l: &&Link| roles.of(l) == Some(Role::Pod);
    let pods = node.links.iter().filter(is_pods);
    let read = |netns: Option<u32>| netns.is_some_and(|n| node.pod_side(n).is_some());
    let (read, unread): (Vec<_>, Vec<_>) = pods.partition(|l| read(l.peer_netns));
    let why = if nix::unistd::geteuid().is_root() {
        mark!("no file under /run/netns or /proc leads there: --root DIR says where the node's are")
    } else {
        mark!("only root may enter their network namespaces")
    };
    (!unread.is_empty()).then(|| {
        NotChecked::new(
            english!(
                "the inside of {} of {} pods",
                unread.len(),
                read.len() + unread.len()
            ),
            why,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netdiag_model::testing::overlay_node;

    #[test]
    fn pods_that_cannot_be_entered_are_told() {
        let mut node = overlay_node(1450, 1450, 1500);
        assert_eq!(pods_unread(&node), None);
        node.pod_sides.clear();
        node.linkless.clear();
        let told = pods_unread(&node).expect("told");
        assert_eq!(told.what, "the inside of 1 of 1 pods");
    }
}

//! `netdiag audit`: what the node's configuration alone tells, without programs in the kernel
//! and without any privilege beyond reading.
mod junit;

use anyhow::Result;
use clap::{Args, ValueEnum, builder::PossibleValue};
use netdiag_lang::{english, mark};

use super::{
    diagnose::code,
    options::{Causes, NodeRootArgs},
    still::{Still, nothing_seen},
    watch::Signals,
};
use crate::{
    diagnosis::{audit as owed, diagnoser::Diagnoser},
    model::{
        node::{Link, Node},
        roles::{Role, Roles},
        verdict::{NotChecked, Verdict},
    },
    output::{self, Format},
};

#[derive(Args, Debug)]
pub struct AuditArgs {
    #[command(flatten)]
    pub place: NodeRootArgs,
    #[command(flatten)]
    pub causes: Causes,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Printed,
    /// Write the output to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// As other commands have it.
    As(Format),
    Junit,
}

impl Printed {
    pub fn format(self) -> Option<Format> {
        match self {
            Self::As(format) => Some(format),
            Self::Junit => None,
        }
    }
}

impl Default for Printed {
    fn default() -> Self {
        Self::As(Format::default())
    }
}

impl ValueEnum for Printed {
    fn value_variants<'a>() -> &'a [Self] {
        use Format::{Json, Ndjson, Table, Wide, Yaml};
        const ALL: [Printed; 6] = [
            Printed::As(Table),
            Printed::As(Wide),
            Printed::As(Json),
            Printed::As(Ndjson),
            Printed::As(Yaml),
            Printed::Junit,
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::As(format) => format.to_possible_value(),
            Self::Junit => Some(PossibleValue::new("junit").help("JUnit XML, for CI systems")),
        }
    }
}

pub async fn run(args: AuditArgs) -> Result<i32> {
    let mut sink = output::Sink::open(args.output_file.as_deref())?;
    let mut signals = Signals::catch()?;
    let verdict = tokio::select! {
        verdict = audit(&args.place, &args.causes) => verdict?,
        code = signals.wait() => return Ok(code),
    };
    match args.output {
        Printed::As(format) => output::verdict(&mut sink, &verdict, &[], format)?,
        Printed::Junit => sink.write(&(junit::text(&verdict)? + "\n"))?,
    }
    Ok(code(&verdict))
}

async fn audit(place: &NodeRootArgs, causes: &Causes) -> Result<Verdict> {
    let mut still = Still::read(place).await?;
    still.scene.asked.causes.clone_from(&causes.cause);
    let mut judge = Diagnoser::default();
    // What is found out can point to more that is worth knowing.
    loop {
        let mut wants = judge.findings(&still.scene, &nothing_seen()).wants;
        let seen = nothing_seen();
        let rows = still.scene.rows(&seen);
        wants.extend(owed::wants(&still.scene.facts(&rows)));
        if !still.settle(wants).await {
            break;
        }
    }
    let mut rows = vec![NotChecked::new(
        mark!("traffic"),
        mark!("an audit does not watch it: `netdiag diagnose` does"),
    )];
    rows.extend(pods_unread(&still.scene.node));
    rows.extend(still.not_checked());
    still.scene.run.not_checked = rows;
    still.scene.run.blind = pods_unread(&still.scene.node).is_some();
    let seen = nothing_seen();
    let mut verdict = judge.verdict(&still.scene, &seen);
    let rows = still.scene.rows(&seen);
    owed::tell(&still.scene.facts(&rows), &causes.cause, &mut verdict);
    Ok(verdict)
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

//! `netdiag doctor`: what is possible here, and what to do about what is not.
use anyhow::Result;
use clap::Args;

use super::{cluster, exit, node_root, power};
use crate::{
    kernel::{support, weigh},
    output::{self, Format},
};

#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// The node's root, as a container sees it [default: /host in a container where the node's root is
    /// mounted there, else /].
    #[arg(long, value_name = "DIR", default_value = node_root::AUTO, hide_default_value = true)]
    #[arg(value_parser = node_root::parse)]
    pub root: std::path::PathBuf,
    /// How to reach the Kubernetes API, as for the other commands.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<std::path::PathBuf>,
    /// Let root run the program that the kubeconfig names to log in.
    #[arg(long)]
    pub allow_exec_plugin: bool,
    /// Load every program, attach none, and show what the kernel's verifier makes of each.
    #[arg(long)]
    pub programs: bool,
    /// This node's name in the cluster [default: the host's name].
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node_name: Option<String>,
}

pub async fn run(args: &DoctorArgs) -> Result<i32> {
    if args.programs {
        return programs(args);
    }
    let mut features = support::check(&args.root);
    let api = cluster::Place {
        kubeconfig: args.kubeconfig.as_deref(),
        node_name: args.node_name.as_deref(),
        allow_exec_plugin: args.allow_exec_plugin,
    };
    features.push(node_root::feature(&args.root));
    features.push(power::feature());
    features.push(cluster::feature(api).await?);
    output::features(&features, args.output)?;
    let essential_missing = features.iter().any(|f| f.essential && !f.available);
    Ok(if essential_missing {
        exit::ENVIRONMENT
    } else {
        exit::OK
    })
}

fn programs(args: &DoctorArgs) -> Result<i32> {
    let weighed = weigh::all(&args.root)?;
    output::programs(&weighed, args.output)?;
    Ok(match weighed.all_taken() {
        true => exit::OK,
        false => exit::ENVIRONMENT,
    })
}

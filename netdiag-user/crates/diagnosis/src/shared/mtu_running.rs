//! Another MTU for pods that run: what can be typed, and what becomes of the others.
use netdiag_lang::t;

use super::mtu::LargePod;
use crate::{
    model::{node::Node, shell::CommandLine},
    shell,
};

/// Pods that commands are printed for: the CNI's configuration is the cure, these tide over.
const MOST_PODS: usize = 8;

/// Commands that give running pods another MTU, at both ends of their links: the host's end alone would
/// silently drop what the pod goes on sending (net/core/dev.c, `is_skb_forwardable`).
pub fn lower(node: &Node, pods: &[LargePod<'_>], bytes: u32) -> Vec<CommandLine> {
    let set = |name: &str| shell!("ip link set dev {} mtu {}", name, bytes);
    let inner = |pod: &LargePod<'_>| {
        let netns = pod.link.peer_netns?;
        let own = node.pod_side(netns)?.links.iter();
        let (_, name) = own
            .clone()
            .find(|(index, _)| Some(*index) == pod.link.link)?;
        Some(node.inside(netns, set(name)))
    };
    let both = |pod: &LargePod<'_>| {
        let inner = inner(pod).filter(|it| !it.is_refused())?;
        Some([inner, set(&pod.link.name)])
    };
    let some = pods.iter().take(MOST_PODS);
    some.filter_map(both).flatten().collect()
}

/// What becomes of pods that run, with so many of these commands.
pub fn running(pods: &[LargePod<'_>], commands: usize) -> String {
    // Two for each.
    match (pods.len(), pods.len().saturating_sub(commands / 2)) {
        (0, _) => String::new(),
        (_, 0) => t!(
            "; running pods keep their MTU until they are recreated, these commands lower it \
             now"
        )
        .into(),
        (all, left) if left == all => {
            t!("; recreate the pods, which keep their MTU until then").into()
        }
        (_, left) => t!(
            "; running pods keep their MTU until they are recreated: these commands lower that of \
             some now, {left} more need the same"
        ),
    }
}

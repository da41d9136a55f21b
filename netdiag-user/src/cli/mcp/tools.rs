//! The tools, as clients see them.
use rmcp::model::{Tool, ToolAnnotations};

use super::{calls, forms};
use crate::output::schema::Kind;

pub fn all() -> Vec<Tool> {
    let verdict = || forms::document(Kind::Verdict);
    let tools = [
        (
            "diagnose",
            "Watches this node's packets by eBPF for some seconds, audits its configuration, and gives \
             the verdict: root causes first, each with evidence, pods, flows and a fix. Ask this first. \
             Needs root; one live call at a time.",
            forms::input::<calls::Diagnose>(),
            verdict(),
        ),
        (
            "audit",
            "The part of diagnose that needs no eBPF: the verdict of the node's configuration alone.",
            forms::input::<calls::Audit>(),
            verdict(),
        ),
        (
            "path",
            "One flow's way through this node, computed from its state and counted at each hop: where it ends or was \
             last seen, what dropped it; with predict before anybody sends anything. Sends nothing itself. Needs root; one \
             live call at a time.",
            forms::input::<calls::Path>(),
            forms::document(Kind::Path),
        ),
        (
            "replay",
            "The verdict of recordings; those of several nodes are joined into one incident.",
            forms::input::<calls::Replay>(),
            verdict(),
        ),
        (
            "findings",
            "Findings of the last verdict that diagnose, audit or replay gave here, few at a time and so \
             with more of their rows.",
            forms::input::<calls::Findings>(),
            forms::findings(),
        ),
        (
            "explain",
            "The manual of a cause or of a kernel drop reason: symptom, mechanism, look-alikes, fix. \
             Without a name: the catalogue.",
            forms::input::<calls::Explain>(),
            forms::own(),
        ),
        (
            "doctor",
            "What this kernel and these privileges allow, and what to do about what is missing.",
            forms::input::<calls::Doctor>(),
            forms::features(),
        ),
    ];
    let tool = |(name, description, input, output)| {
        let tool = Tool::new(name, description, input).with_raw_output_schema(output);
        let hints = ToolAnnotations::new().read_only(true);
        tool.with_annotations(hints.destructive(false).open_world(false))
    };
    tools.into_iter().map(tool).collect()
}

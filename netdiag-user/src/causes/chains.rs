//! Which findings explain which: incidents come as chains, and ten symptoms of one fault must read
//! as one incident.
//!
//! A link is tried where both causes are found. It tells whether this consequence follows from
//! that root, and how, in one sentence; "both are there" is never enough.
use crate::model::verdict::Finding;

/// One way in which a cause brings about another.
struct Link {
    root: &'static str,
    consequence: &'static str,
    /// The sentence that joins the two, when they are about the same thing.
    joins: fn(&Finding, &Finding) -> Option<String>,
}

/// Every link. The first that holds for a consequence is the one that is told.
const LINKS: &[Link] = &[
    Link {
        root: "link-failure",
        consequence: "neighbour-failed",
        joins: |root, silence| {
            let link = same_link(root, silence)?;
            Some(format!("nobody answers by {link}, which has no carrier"))
        },
    },
    Link {
        root: "service-stale-endpoint",
        consequence: "neighbour-failed",
        joins: |root, silence| {
            let address = root.shares(silence)?;
            Some(format!("a Service still sends connections to {address}"))
        },
    },
    // Silence alone never stands beside what explains it.
    Link {
        root: "vxlan-source-mismatch",
        consequence: "overlay-blocked",
        joins: |root, silence| {
            let peer = root.shares(silence)?;
            Some(format!(
                "{peer} is sent packets from an address that it does not expect"
            ))
        },
    },
    Link {
        root: "overlay-wrong-interface",
        consequence: "overlay-blocked",
        joins: |root, silence| {
            let peer = root.shares(silence)?;
            Some(format!(
                "{peer} is sent packets from the address of a NIC that does not lead to it"
            ))
        },
    },
    Link {
        root: "vxlan-source-mismatch",
        consequence: "neighbour-failed",
        joins: |root, silence| {
            let address = root.shares(silence)?;
            Some(format!(
                "{address} is a VTEP's old address, which nobody holds"
            ))
        },
    },
];

/// A link that both findings have evidence of.
fn same_link(root: &Finding, consequence: &Finding) -> Option<String> {
    let mut at = root.evidence.iter().filter_map(|e| e.at.as_ref());
    let there = |link: &&String| {
        consequence
            .evidence
            .iter()
            .any(|e| e.at.as_ref() == Some(link))
    };
    at.find(there).cloned()
}

/// Hangs consequences below their roots.
pub fn join(findings: &mut [Finding]) {
    join_by(LINKS, findings);
}

fn join_by(links: &[Link], findings: &mut [Finding]) {
    for link in links {
        let of = |id: &'static str| move |f: &Finding| f.cause == id;
        let Some(root) = findings.iter().position(of(link.root)) else {
            continue;
        };
        let Some(at) = findings.iter().position(of(link.consequence)) else {
            continue;
        };
        // Two that follow from each other would both vanish below.
        let circle = leads_to(findings, root, link.consequence);
        if findings[at].consequence_of.is_some() || circle {
            continue;
        }
        if let Some(because) = (link.joins)(&findings[root], &findings[at]) {
            findings[at].consequence_of = Some(link.root.to_owned());
            findings[at].because = Some(because);
        }
    }
}

/// Whether the finding is already below that cause, at any depth.
fn leads_to(findings: &[Finding], from: usize, cause: &str) -> bool {
    let mut at = Some(&findings[from]);
    let mut steps = findings.len();
    while let Some(finding) = at {
        if finding.cause == cause || steps == 0 {
            return true;
        }
        steps -= 1;
        let above = finding.consequence_of.as_deref();
        at = above.and_then(|c| findings.iter().find(|f| f.cause == c));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::{Confidence, Severity};

    fn finding(cause: &str) -> Finding {
        Finding::new(
            cause,
            Severity::Warning,
            Confidence::Confirmed,
            String::new(),
        )
    }

    #[test]
    fn links_name_causes_that_exist() {
        for link in LINKS {
            assert!(super::super::find(link.root).is_some(), "{}", link.root);
            let consequence = super::super::find(link.consequence);
            assert!(consequence.is_some(), "{}", link.consequence);
        }
    }

    #[test]
    fn chains_are_joined_and_circles_are_not() {
        let link = |root, consequence| Link {
            root,
            consequence,
            joins: |root, _| Some(format!("{} did it", root.cause)),
        };
        let links = [link("a", "b"), link("b", "c"), link("c", "a")];
        let mut findings = ["a", "b", "c"].map(finding);
        join_by(&links, &mut findings);
        let above = findings.each_ref().map(|f| f.consequence_of.as_deref());
        assert_eq!(above, [None, Some("a"), Some("b")]);
        assert_eq!(findings[1].because.as_deref(), Some("a did it"));
    }
}

//! Root causes, and what follows from each.
use crate::model::verdict::Finding;

/// Findings that a page has room for.
const MOST: usize = 200;
/// Consequences of consequences; whoever wrote the verdict may have made a ring of them.
const DEEPEST: usize = 8;

/// A finding by its place in the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    pub finding: usize,
    pub below: Vec<Branch>,
}

/// Every finding once, however they name each other.
pub fn tree(findings: &[Finding]) -> Vec<Branch> {
    let findings = &findings[..findings.len().min(MOST)];
    let parents: Vec<Option<usize>> = (0..findings.len()).map(|n| parent(findings, n)).collect();
    let mut seen = vec![false; findings.len()];
    let mut roots: Vec<Branch> = Vec::new();
    for rootless in [false, true] {
        for n in 0..findings.len() {
            if !seen[n] && (rootless || parents[n].is_none()) {
                roots.push(branch(n, &parents, &mut seen, 0));
            }
        }
    }
    roots
}

fn parent(findings: &[Finding], n: usize) -> Option<usize> {
    let own = &findings[n];
    let cause = own.consequence_of.as_ref()?;
    let by_id = own.root.as_ref();
    let is = |it: &Finding| match by_id {
        Some(id) => it.id == *id,
        None => it.cause == *cause,
    };
    let mut others = findings.iter().enumerate().filter(|(at, _)| *at != n);
    others.find(|(_, it)| is(it)).map(|(at, _)| at)
}

fn branch(n: usize, parents: &[Option<usize>], seen: &mut [bool], depth: usize) -> Branch {
    seen[n] = true;
    let mut below = Vec::new();
    if depth < DEEPEST {
        for child in 0..parents.len() {
            if parents[child] == Some(n) && !seen[child] {
                below.push(branch(child, parents, seen, depth + 1));
            }
        }
    }
    Branch { finding: n, below }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::{Confidence, Severity};

    fn finding(id: &str, root: Option<&str>) -> Finding {
        let mut it = Finding::new(id, Severity::Warning, Confidence::Confirmed, id.into());
        it.id = id.into();
        it.consequence_of = root.map(str::to_owned);
        it.root = root.map(str::to_owned);
        it
    }

    fn told(all: &[Branch]) -> String {
        let one = |it: &Branch| match it.below.as_slice() {
            [] => it.finding.to_string(),
            below => format!("{}({})", it.finding, told(below)),
        };
        all.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn consequences_stand_below_what_they_follow_from() {
        let all = [
            finding("a", None),
            finding("b", Some("a")),
            finding("c", Some("b")),
            finding("d", None),
            finding("e", Some("gone")),
        ];
        assert_eq!(told(&tree(&all)), "0(1(2)) 3 4");
    }

    #[test]
    fn a_ring_ends() {
        let all = [
            finding("a", Some("b")),
            finding("b", Some("a")),
            finding("a", Some("a")),
        ];
        assert_eq!(told(&tree(&all)), "0(1 2)");
        let chain = |n: usize| {
            finding(
                &n.to_string(),
                (n > 0).then(|| (n - 1).to_string()).as_deref(),
            )
        };
        let long: Vec<Finding> = (0..300).map(chain).collect();
        let roots = tree(&long);
        assert!(roots.len() > 1, "cut into pieces");
    }
}

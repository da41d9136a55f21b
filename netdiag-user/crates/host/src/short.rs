//! What a reading of the node left out, for whoever reads the verdict: a bound that was met is said,
//! with its number, and nothing else of the run suffers.
use netdiag_lang::{english, mark};

use super::{
    listing::{Left, NODE, OTHERS, POD},
    snapshot::MOST_SIDES,
};
use crate::{model::verdict::NotChecked, sys::file};

/// Counts of one reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Short {
    /// Listings of the node's own that were longer than their bound.
    pub node: Vec<(&'static str, usize)>,
    /// Those that changed while they were read.
    pub changed: Vec<&'static str>,
    /// Pods with longer listings than are read.
    pub pods_links: usize,
    pub pods_addresses: usize,
    pub pods_routes: usize,
    /// Pods with listings that changed while they were read.
    pub pods_changed: usize,
    /// Pods whose inside is not known yet for lack of time, or for there are too many.
    pub unentered: usize,
    /// Namespaces whose counters were read before, not now, of so many.
    pub uncounted: (usize, usize),
    /// Namespaces that were not asked whose links lead there.
    pub unasked: usize,
    /// There are more processes than were looked at.
    pub processes: bool,
}

impl Short {
    /// Notes a listing of the node's own.
    pub fn node(&mut self, what: &'static str, left: Left) {
        let most = match what {
            "links" => NODE.links,
            "addresses" => NODE.addresses,
            "routes" => NODE.routes,
            _ => OTHERS,
        };
        if left.more {
            self.node.push((what, most));
        }
        if left.changed {
            self.changed.push(what);
        }
    }

    pub fn not_checked(&self) -> Vec<NotChecked> {
        let node = self.node.iter().map(|(what, most)| {
            let what = english!("{what} of this node beyond the first {most}");
            NotChecked::new(what, mark!("a listing is read no further"))
        });
        let mut rows: Vec<_> = node.collect();
        let changed = self.changed.iter().map(|what| {
            let what = english!("whether these are all {what} of this node");
            NotChecked::new(what, CHANGED)
        });
        rows.extend(changed);
        let pods = [
            ("links", self.pods_links, POD.links),
            ("addresses", self.pods_addresses, POD.addresses),
            ("routes", self.pods_routes, POD.routes),
        ];
        for (what, pods, most) in pods.into_iter().filter(|(_, pods, _)| *pods > 0) {
            let of = format!("{what} inside {} with more than {most}", of_pods(pods));
            let why = mark!("a listing is read no further");
            rows.push(NotChecked::new(of, why));
        }
        let mut row = |count: usize, what: String, why: &str| {
            if count > 0 {
                rows.push(NotChecked::new(what, why));
            }
        };
        row(
            self.pods_changed,
            format!(
                "whether these are all links, addresses and routes of {}",
                of_pods(self.pods_changed)
            ),
            CHANGED,
        );
        row(
            self.unentered,
            format!("the inside of {}", of_pods(self.unentered)),
            &format!(
                "they are entered in turn, some at each reading, and no more than {MOST_SIDES} in all"
            ),
        );
        let (uncounted, all) = self.uncounted;
        row(
            uncounted,
            format!("the latest counters of {uncounted} of {all} network namespaces"),
            "they are read in turn, some at each reading",
        );
        row(
            self.unasked,
            format!(
                "links that lead into {} more network namespaces",
                self.unasked
            ),
            "there was no time to ask so many where they belong",
        );
        row(
            usize::from(self.processes),
            format!("processes beyond the first {}", file::PROCESSES),
            "their network namespaces are not looked for",
        );
        rows
    }
}

const CHANGED: &str = "they changed while they were listed, twice";

fn of_pods(count: usize) -> String {
    match count {
        1 => "1 pod".into(),
        n => format!("{n} pods"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_that_was_met_is_one_sentence_with_its_number() {
        assert_eq!(Short::default().not_checked(), []);
        let mut short = Short {
            pods_routes: 3,
            pods_changed: 1,
            uncounted: (10, 300),
            ..Short::default()
        };
        let (more, changed) = (true, true);
        short.node("neighbours", Left::default());
        short.node(
            "routes",
            Left {
                more,
                ..Left::default()
            },
        );
        short.node(
            "links",
            Left {
                changed,
                ..Left::default()
            },
        );
        let rows = short.not_checked();
        let whats: Vec<_> = rows.iter().map(|row| row.what.as_str()).collect();
        assert_eq!(
            whats,
            [
                "routes of this node beyond the first 262144",
                "whether these are all links of this node",
                "routes inside 3 pods with more than 512",
                "whether these are all links, addresses and routes of 1 pod",
                "the latest counters of 10 of 300 network namespaces",
            ]
        );
    }
}

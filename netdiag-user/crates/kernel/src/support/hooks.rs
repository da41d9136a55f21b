//! Whose programs are on links beside netdiag's: those decide what its hooks see.
use netdiag_lang::{english, mark, say, t};
use nix::net::if_::if_nameindex;

use super::{Feature, feature};
use crate::{
    attach,
    rtnl::Rtnl,
    tc::{self, SIDES},
    xdp,
};

/// Links that are named.
const NAMED: usize = 4;

/// Links by what others have on them.
#[derive(Default)]
struct Found {
    all: usize,
    tcx: Vec<String>,
    clsact: Vec<String>,
    xdp: Vec<String>,
}

pub(super) fn others() -> Feature {
    let why = mark!("run it where /sys/class/net and netlink can be read");
    let result = found().map(|found| found.told());
    feature(
        mark!("others' programs"),
        false,
        result.map_err(|e| (e, why)),
    )
}

fn found() -> Result<Found, String> {
    let links = if_nameindex().map_err(|e| english!("listing links: {e}"))?;
    let mut rtnl = Rtnl::default();
    let with_xdp = xdp::links(&mut rtnl);
    let mut found = Found::default();
    for link in &links {
        let (index, name) = (link.index(), link.name().to_string_lossy().into_owned());
        found.all += 1;
        if with_xdp.contains(&index) {
            found.xdp.push(name.clone());
        }
        let mut filtered = |side| tc::has_others(&mut rtnl, index, side).unwrap_or(false);
        if SIDES.iter().any(|side| filtered(*side)) {
            found.clsact.push(name.clone());
        }
        if SIDES.iter().any(|side| attach::has_others(&name, *side)) {
            found.tcx.push(name);
        }
    }
    Ok(found)
}

impl Found {
    fn told(&self) -> String {
        let ways = [
            (&self.tcx, mark!("tcx, which netdiag's go before")),
            (
                &self.clsact,
                mark!("clsact filters, which netdiag's run beside"),
            ),
            (
                &self.xdp,
                mark!("XDP, whose drops and redirects pass no hook"),
            ),
        ];
        let there = ways.iter().filter(|(links, _)| !links.is_empty());
        let told: Vec<String> = there.map(|(links, way)| on(links, way)).collect();
        match told.is_empty() {
            true => t!("none on {} links", self.all),
            false => told.join("; "),
        }
    }
}

fn on(links: &[String], way: &'static str) -> String {
    let (named, others) = links.split_at(links.len().min(NAMED));
    let mut names: Vec<String> = named.to_vec();
    if !others.is_empty() {
        names.push(t!("{} more", others.len()));
    }
    let (way, names) = (say(way), names.join(", "));
    t!("{names}: {way}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_told_by_what_others_have_on_them() {
        let mut found = Found {
            all: 9,
            ..Found::default()
        };
        assert_eq!(found.told(), "none on 9 links");
        found.tcx = (0..6).map(|n| format!("lxc{n}")).collect();
        found.xdp = vec!["eth0".to_owned()];
        assert_eq!(
            found.told(),
            "lxc0, lxc1, lxc2, lxc3, 2 more: tcx, which netdiag's go before; \
             eth0: XDP, whose drops and redirects pass no hook"
        );
    }
}

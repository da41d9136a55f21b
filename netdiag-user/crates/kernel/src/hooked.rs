//! Whether links are covered, asked of the kernel and not of the netdiag that covers them.
use anyhow::{Result, anyhow};
use aya::programs::{SchedClassifier, TcAttachType};
use nix::net::if_::if_nametoindex;

use super::{
    load,
    rtnl::Rtnl,
    tc::{self, SIDES, Side},
};

/// Asks in the namespace of the thread that asks first.
#[derive(Default)]
pub struct Hooked {
    rtnl: Rtnl,
}

impl Hooked {
    /// Whether programs of netdiag's run on both sides of the link, by tcx or by clsact.
    pub fn covers(&mut self, link: &str) -> Result<bool> {
        let Ok(index) = if_nametoindex(link) else {
            return Ok(false);
        };
        for side in SIDES {
            let found = by_tcx(link, side)
                || tc::has_ours(&mut self.rtnl, index, side)
                    .map_err(|e| anyhow!("listing the filters of {link}: {e}"))?;
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// No kernel before 6.6 has any.
fn by_tcx(link: &str, side: Side) -> bool {
    let side = match side {
        Side::Ingress => TcAttachType::Ingress,
        Side::Egress => TcAttachType::Egress,
    };
    let Ok((_, programs)) = SchedClassifier::query_tcx(link, side) else {
        return false;
    };
    let mut names = programs.iter().filter_map(|it| it.name_as_str());
    names.any(|name| load::on_links().any(|ours| ours == name))
}

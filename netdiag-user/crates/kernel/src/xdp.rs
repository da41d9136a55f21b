//! Links that run an XDP program: it is before tc, and what it sends passes no hook.
use std::collections::BTreeSet;

use super::rtnl::{Request, Rtnl, attribute, word};

/// Dumps of links (include/uapi/linux/rtnetlink.h, if_link.h).
const RTM_GETLINK: u16 = 18;
const IFINFOMSG: usize = 16;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;

/// The indexes of those links, of whatever mode the program is.
pub fn links(rtnl: &mut Rtnl) -> BTreeSet<u32> {
    let dumped = rtnl.dump(&Request::new(RTM_GETLINK, vec![0; IFINFOMSG]));
    let runs = |body: &[u8]| {
        let xdp = attribute(body.get(IFINFOMSG..)?, IFLA_XDP)?;
        let mode = attribute(xdp, IFLA_XDP_ATTACHED)?.first().copied()?;
        (mode != 0).then_some(word(body, 4)?)
    };
    let all = dumped.unwrap_or_default();
    all.iter().filter_map(|link| runs(&link.body)).collect()
}

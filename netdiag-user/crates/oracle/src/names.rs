//! What namespaces, tables and devices of a set are called: the same in every set, so that lines can name them.

/// Namespaces of a set.
pub const SPACES: usize = 4;
/// Tables that worlds use beside `main`.
pub const TABLES: [u32; 3] = [100, 101, 102];

/// A bridge that every namespace has, without ports until a world gives it some.
pub const BRIDGE: &str = "br0";

/// The tunnel that some worlds give some namespaces.
pub const TUNNEL: &str = "vx0";
/// A second one.
pub const TUNNEL2: &str = "vx1";
/// One without frames, where the kernel has such.
pub const IP_TUNNEL: &str = "ipt0";
/// A VLAN's, and a second one's.
pub const VLAN: &str = "vl0";
pub const VLAN2: &str = "vl1";
/// A bridge that filters VLANs.
pub const FILTERING: &str = "brv";
/// A bond's.
pub const BOND: &str = "bo0";
/// A macvlan's, with the number of the namespace that it is in.
pub const MACVLAN: &str = "mv";
/// A program's, and one that has none.
pub const TUN: &str = "tn0";
pub const TUN_ALONE: &str = "tn1";
/// Both ends of a pair of one namespace with itself.
pub const INNER: [&str; 2] = ["va0", "va1"];
/// An ipvlan's, the same.
pub const IPVLAN: &str = "ipv";
/// Where kube-proxy has the addresses of IPVS's virtual servers.
pub const VIRTUAL: &str = "kube-ipvs0";
/// WireGuard's.
pub const WIREGUARD: &str = "wgt0";
/// And the one that every namespace has then.
pub const OF_ITSELF: &str = "tunl0";

/// The device in `from` that leads to `to`.
pub fn device(to: usize) -> String {
    format!("e{to}")
}

/// Its link-layer address: the same in every set, so that lines can name it.
pub fn mac(from: usize, to: usize) -> String {
    format!("02:00:00:00:{from:02x}:{to:02x}")
}

/// All that carry packets of others.
pub fn devices(at: usize) -> impl Iterator<Item = String> {
    let pairs = (0..SPACES).filter(move |to| *to != at).map(device);
    pairs.chain([BRIDGE.to_owned()])
}

/// Those that worlds add.
pub fn added(at: usize) -> impl Iterator<Item = String> {
    let fixed = [
        TUNNEL, TUNNEL2, IP_TUNNEL, VLAN, VLAN2, FILTERING, BOND, TUN, TUN_ALONE, WIREGUARD,
        VIRTUAL, INNER[0], INNER[1],
    ];
    fixed
        .map(str::to_owned)
        .into_iter()
        .chain([MACVLAN, IPVLAN].map(|name| format!("{name}{at}")))
}

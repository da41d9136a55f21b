//! What a reading of the node keeps to tell the roles of links that come after it, each by what the
//! kernel says of that link alone.
use std::collections::{HashMap, HashSet};

use super::{Link, LinkKind, Node, Role, carriers, has_network, is_pods, tunnel_or};

#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// Links that the default route or a tunnel's packets leave by.
    carriers: HashSet<u32>,
    /// Those with others' networks behind them: a note on a link says nothing of addresses.
    networks: HashSet<u32>,
    /// Those that lead to a port of a bridge elsewhere.
    switched: HashSet<u32>,
    /// Those that pods' links may become ports of.
    bridges: HashMap<u32, Link>,
}

impl Outline {
    pub fn new(node: &Node) -> Self {
        let of = |fits: &dyn Fn(&Link) -> bool| {
            let links = node.links.iter().filter(|link| fits(link));
            links.map(|link| link.index).collect()
        };
        let bridges = node.links.iter().filter(|l| l.kind == LinkKind::Bridge);
        Self {
            carriers: carriers(node),
            networks: of(&|link| has_network(node, link)),
            switched: of(&|link| link.peer_elsewhere && !is_pods(node, link)),
            bridges: bridges.map(|l| (l.index, l.clone())).collect(),
        }
    }

    /// The roles that are known now that the kernel said this of a link: its own, and of a bridge that
    /// it made one for pods.
    pub fn hear(&mut self, link: &Link) -> Vec<(Link, Role)> {
        if link.kind == LinkKind::Bridge {
            self.bridges.insert(link.index, link.clone());
        }
        let role = self.role(link);
        let bridge = match (role, &link.kind, link.master) {
            (Some(Role::Pod), LinkKind::Veth, Some(master)) => self.bridges.get(&master),
            _ => None,
        };
        let bridge = bridge.and_then(|bridge| {
            let role = tunnel_or(bridge, || self.is_uplink(bridge))?;
            Some((bridge.clone(), role.unwrap_or(Role::Bridge)))
        });
        // Fewer packets pass the link than its bridge, but nobody else has seen its first ones.
        let own = role.map(|role| (link.clone(), role));
        own.into_iter().chain(bridge).collect()
    }

    fn role(&self, link: &Link) -> Option<Role> {
        if let Some(role) = tunnel_or(link, || self.is_uplink(link))? {
            return Some(role);
        }
        let pods = matches!(link.kind, LinkKind::Veth | LinkKind::Netkit)
            && link.peer_elsewhere
            && !self.switched.contains(&link.index);
        pods.then_some(Role::Pod)
    }

    fn is_uplink(&self, link: &Link) -> bool {
        let sets = [&self.carriers, &self.networks];
        link.master.is_none() && sets.iter().any(|set| set.contains(&link.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Roles;
    use crate::testing::{OVERLAY, POD, UPLINK, link, overlay_node};

    fn roles(outline: &mut Outline, link: &Link) -> Vec<(u32, Role)> {
        let known = outline.hear(link).into_iter();
        known.map(|(link, role)| (link.index, role)).collect()
    }

    /// As a note on it says: without addresses, and without where it leads.
    fn noted(link: &Link) -> Link {
        let mut link = link.clone();
        link.addresses.clear();
        link.peer_netns = None;
        link
    }

    #[test]
    fn links_keep_the_roles_that_a_reading_gave_them() {
        let mut node = overlay_node(1450, 1450, 1500);
        let before = Roles::new(&node);
        let mut outline = Outline::new(&node);
        for index in [UPLINK, OVERLAY, POD] {
            let link = node.link(index).expect("a link of the node's");
            let role = before.of(link).expect("a role");
            assert_eq!(roles(&mut outline, &noted(link)), [(index, role)]);
        }
        // It leads to a switch.
        node.links[2].link = Some(5);
        node.pod_sides[0].ports = vec![5];
        let mut outline = Outline::new(&node);
        assert_eq!(roles(&mut outline, &noted(&node.links[2])), []);
    }

    #[test]
    fn a_pods_link_that_is_new_makes_its_bridge_one_for_pods() {
        let node = overlay_node(1450, 1450, 1500);
        let mut outline = Outline::new(&node);
        let mut new = noted(&link(9, "veth9", LinkKind::Veth, 1500).with_peer(77));
        new.up = false;
        assert_eq!(roles(&mut outline, &new), []);
        new.up = true;
        assert_eq!(roles(&mut outline, &new), [(9, Role::Pod)]);
        assert_eq!(
            roles(&mut outline, &link(8, "br0", LinkKind::Bridge, 1500)),
            []
        );
        new.master = Some(8);
        assert_eq!(
            roles(&mut outline, &new),
            [(9, Role::Pod), (8, Role::Bridge)]
        );
        new.peer_elsewhere = false;
        assert_eq!(roles(&mut outline, &new), []);
    }
}

//! What the programs are told while they run: limits, namespaces, whose packets are asked for.
use std::collections::BTreeSet;

use anyhow::{Context, Result};
use aya::maps::{
    Array, HashMap as BpfHashMap, MapData,
    lpm_trie::{Key, LpmTrie},
};
use netdiag_common::{
    config::{FOLLOWED, HopSettings, MAX_VXLAN_PORTS, NETNS_NODE, NETNS_POD},
    filter::Rules,
    hop::Limit,
};

use super::load::Programs;
use crate::model::{
    address::{Prefix, to_wire},
    level::Level,
    selection::Selected,
};

impl Programs {
    /// Tells the programs which namespaces are this node's. Returns how many of the pods' the table
    /// had no room for: those that are in it stay.
    pub fn set_namespaces(&mut self, node: u32, pods: &BTreeSet<u32>) -> Result<usize> {
        let mut map: BpfHashMap<_, u32, u8> = self.map("NETNS")?;
        let old: Vec<u32> = map.keys().flatten().collect();
        for gone in old.iter().filter(|n| **n != node && !pods.contains(n)) {
            let _ = map.remove(gone);
        }
        map.insert(node, NETNS_NODE, 0)
            .context("naming the node's namespace")?;
        let others = pods.iter().filter(|pod| **pod != node);
        Ok(others
            .filter(|pod| map.insert(**pod, NETNS_POD, 0).is_err())
            .count())
    }

    /// What `--filter` says.
    pub fn set_rules(&mut self, rules: &Rules) -> Result<()> {
        let mut map: Array<_, Rules> = self.map("RULES")?;
        map.set(0, rules, 0).context("writing the filter")
    }

    /// Whose packets are asked for. An entry that stays is never absent, and new ones come before
    /// old ones go: each packet is judged as before the change or as after it. Returns how many
    /// there was no room for.
    pub fn select(&mut self, selected: &Selected) -> Result<usize> {
        let addresses = replace(self.map("SELECTED")?, &selected.addresses);
        let places = replace(self.map("SELECTED_PLACES")?, &selected.places);
        Ok(addresses + places)
    }

    /// Replaces the longest-prefix table, and has every processor look limits up again: where they
    /// are as they were, none is interrupted for it. Returns how many routes the table had no room
    /// for.
    pub fn set_limits(&mut self, rows: &[(Prefix, Limit)], vxlan_ports: &[u16]) -> Result<usize> {
        let (told, ports, refused) = &self.limits;
        if told == rows && ports == vxlan_ports {
            return Ok(*refused);
        }
        let refused = self.replace_limits(rows, vxlan_ports)?;
        self.limits = (rows.to_vec(), vxlan_ports.to_vec(), refused);
        Ok(refused)
    }

    /// Entries that stay are never absent meanwhile.
    fn replace_limits(&mut self, rows: &[(Prefix, Limit)], vxlan_ports: &[u16]) -> Result<usize> {
        let mut map: LpmTrie<_, [u8; 16], Limit> = self.map("LIMITS")?;
        let key = |p: &Prefix| Key::new(u32::from(p.wire_length()), to_wire(p.address));
        let old: Vec<Key<[u8; 16]>> = map.keys().flatten().collect();
        let refused =
            |(prefix, limit): &&(Prefix, Limit)| map.insert(&key(prefix), limit, 0).is_err();
        let refused = rows.iter().filter(refused).count();
        let same = |a: &Key<[u8; 16]>, b: &Key<[u8; 16]>| {
            a.prefix_len() == b.prefix_len() && a.data() == b.data()
        };
        for gone in old
            .iter()
            .filter(|o| !rows.iter().any(|(p, _)| same(o, &key(p))))
        {
            let _ = map.remove(gone);
        }
        let smallest = rows.iter().map(|(_, l)| l.bytes).filter(|b| *b > 0).min();
        let mut ports = [0; MAX_VXLAN_PORTS];
        for (slot, port) in ports.iter_mut().zip(vxlan_ports) {
            *slot = *port;
        }
        self.settings.smallest_limit = smallest.unwrap_or(0);
        self.settings.vxlan_ports = ports;
        self.write_settings()?;
        self.forget_limits();
        Ok(refused)
    }

    /// How much is kept from here on. What the front cache holds of before is kept, too.
    pub fn set_level(&mut self, level: Level) -> Result<()> {
        self.settings.level = level.wire();
        self.write_settings()
    }

    fn write_settings(&mut self) -> Result<()> {
        let settings = self.settings;
        let mut map: Array<_, HopSettings> = self.map("HOP_SETTINGS")?;
        map.set(0, settings, 0)
            .context("writing the hops' settings")
    }

    /// The links whose TCP sequences are followed at the level flows. One that shares its slot with
    /// another is not.
    pub fn set_followed(&mut self, links: &[u32]) -> Result<()> {
        let mut slots = vec![0; FOLLOWED as usize];
        for link in links {
            slots[(link % FOLLOWED) as usize] = *link;
        }
        let before = std::mem::replace(&mut self.followed, slots.clone());
        let mut map: Array<_, u32> = self.map("FOLLOWED")?;
        for (slot, link) in slots.iter().enumerate() {
            if before.get(slot) != Some(link) {
                let slot = u32::try_from(slot).unwrap_or(u32::MAX);
                map.set(slot, link, 0)
                    .context("writing whose sequences are followed")?;
            }
        }
        Ok(())
    }
}

fn replace<K: aya::Pod + Ord>(
    mut map: BpfHashMap<&mut MapData, K, u8>,
    wanted: &BTreeSet<K>,
) -> usize {
    let old: BTreeSet<K> = map.keys().flatten().collect();
    let refused = |key: &&K| map.insert(**key, 1, 0).is_err();
    let refused = wanted.difference(&old).filter(refused).count();
    for gone in old.difference(wanted) {
        let _ = map.remove(gone);
    }
    refused
}

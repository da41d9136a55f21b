//! Against the maps of the object that is loaded.
use aya_obj::{
    Object,
    generated::bpf_map_type::{
        BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE, BPF_MAP_TYPE_LRU_HASH,
        BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_RINGBUF,
    },
    maps::Map,
};

use super::*;

/// Takes memory only as it fills.
const BPF_F_NO_PREALLOC: u32 = 1;
/// What a processor's lists of the LRU maps take, beside its part of the arrays.
const LISTS: u64 = 1024;

fn maps() -> Vec<(String, Map)> {
    let bytes = aya::include_bytes_aligned!(env!("NETDIAG_BPF_OBJECT"));
    let object = Object::parse(bytes).expect("the object that is built in");
    object.maps.into_iter().collect()
}

/// A hash table's entries, and the bytes of one.
fn declared(map: &Map) -> (u64, u64) {
    let words = |bytes: u32| u64::from(bytes.next_multiple_of(8));
    let entry = entry::<(), ()>() + words(map.key_size()) + words(map.value_size());
    let made = map.map_flags() & BPF_F_NO_PREALLOC == 0;
    (u64::from(map.max_entries()), if made { entry } else { 0 })
}

#[test]
fn each_table_is_as_large_as_it_is_reckoned() {
    let small = SMALL.iter().map(|it| (it.name, it.live, it.entry));
    let mut known: Vec<_> = small.chain(LARGE).chain(SELECTIONS).collect();
    let hash = [BPF_MAP_TYPE_HASH as u32, BPF_MAP_TYPE_LRU_HASH as u32];
    for (name, map) in maps() {
        if !hash.contains(&map.map_type()) {
            continue;
        }
        let at = known.iter().position(|(it, ..)| *it == name);
        let at = at.unwrap_or_else(|| panic!("{name} has no size here"));
        let (_, entries, entry) = known.swap_remove(at);
        assert_eq!(declared(&map), (entries, entry), "{name}");
    }
    assert_eq!(known, [], "the object has no such tables");
}

#[test]
fn the_rest_has_its_room() {
    let (mut rest, mut per_cpu) = (0, 0);
    let arrays = [BPF_MAP_TYPE_ARRAY as u32, BPF_MAP_TYPE_RINGBUF as u32];
    for (name, map) in maps() {
        let value = u64::from(map.value_size().next_multiple_of(8).max(1));
        let bytes = u64::from(map.max_entries()) * value;
        match map.map_type() {
            kind if arrays.contains(&kind) => rest += bytes,
            kind if kind == BPF_MAP_TYPE_PERCPU_ARRAY as u32 => per_cpu += bytes,
            kind if kind == BPF_MAP_TYPE_LPM_TRIE as u32 => {
                assert_ne!(map.map_flags() & BPF_F_NO_PREALLOC, 0, "{name}");
            }
            kind => assert!(
                [BPF_MAP_TYPE_HASH as u32, BPF_MAP_TYPE_LRU_HASH as u32].contains(&kind),
                "{name} is of the kind {kind}, whose size is not reckoned"
            ),
        }
    }
    assert!(rest <= REST, "{rest} of {REST}");
    assert!(per_cpu + LISTS <= PER_CPU, "{per_cpu} of {PER_CPU}");
}

use super::super::map::{ENTRY_BYTES, OffsetMap};
use super::world::offset;
use alluvium_common::topic::PartitionIndex;

const P: PartitionIndex = PartitionIndex(0);

#[test]
fn a_map_knows_the_latest_offset_of_each_key() {
    let mut map = OffsetMap::new(1 << 20, 5);
    let key = |number: i64| format!("{}{number}", "k".repeat((number % 200) as usize));
    let mut put = std::collections::HashMap::new();
    for at in 0..40_000 {
        let (partition, key) = (PartitionIndex((at % 3) as i32), key(at % 12_000));
        assert!(map.put(partition, key.as_bytes(), offset(at)));
        put.insert((partition, key), at);
    }
    assert_eq!(map.len(), put.len());
    for ((partition, key), at) in &put {
        let latest = map.latest(*partition, key.as_bytes());
        assert_eq!(latest, Some(offset(*at)), "{key}");
    }
    assert_eq!(map.latest(P, b"another"), None);
    assert_eq!(map.latest(PartitionIndex(7), key(3).as_bytes()), None);
}

#[test]
fn keys_are_told_apart_by_every_byte_and_by_partition() {
    let mut map = OffsetMap::new(1 << 20, 0);
    let mut keys = vec![Vec::new()];
    for length in [
        1, 2, 3, 4, 8, 16, 17, 123, 124, 125, 128, 129, 240, 241, 1000,
    ] {
        for at in 0..length {
            let mut key = vec![0; length];
            keys.push(key.clone());
            key[at] = 1;
            keys.push(key);
        }
    }
    keys.sort();
    keys.dedup();
    for partition in [0, 1, i32::MAX] {
        for (at, key) in (0..).zip(&keys) {
            assert!(map.put(PartitionIndex(partition), key, offset(at)));
        }
    }
    assert_eq!(map.len(), 3 * keys.len());
}

#[test]
fn a_full_map_takes_no_new_key_but_later_offsets_of_those_it_has() {
    for entries in [0, 1, 2, 10, 1000] {
        let mut map = OffsetMap::new(entries * ENTRY_BYTES, 9);
        let room = (0..).find(|at: &i64| !map.put(P, &at.to_le_bytes(), offset(*at)));
        let room = room.expect("a number");
        let slots = entries.max(2);
        assert_eq!(room as usize, slots * 9 / 10, "nine tenths of {slots}");
        for at in 0..room {
            assert!(map.put(P, &at.to_le_bytes(), offset(at + room)));
        }
        for at in 0..room {
            assert_eq!(map.latest(P, &at.to_le_bytes()), Some(offset(at + room)));
        }
        assert_eq!(map.latest(P, &room.to_le_bytes()), None);
    }
}

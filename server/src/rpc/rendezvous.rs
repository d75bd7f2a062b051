//! Rendezvous hashing: everybody who knows the same brokers chooses the same one for a key, and when brokers come or go
//! only the keys that they had, or get, change hands.

use alluvium_common::epoch::BrokerId;

/// The broker that has the highest score with `key`.
pub fn home(key: &[u8], brokers: impl Iterator<Item = BrokerId>) -> Option<BrokerId> {
    let hash = fnv1a(key);
    brokers.max_by_key(|broker_id| (mix(hash ^ mix(broker_id.0 as u64)), broker_id.0))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The finish of splitmix64: every bit of the input changes every bit of the output.
fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(brokers: &[i32]) -> Vec<i32> {
        let home_of = |key: u32| {
            let brokers = brokers.iter().map(|id| BrokerId(*id));
            home(&key.to_be_bytes(), brokers).expect("one").0
        };
        (0..3_000).map(home_of).collect()
    }

    #[test]
    fn keys_are_spread_and_stay_where_they_are() {
        let three = homes(&[1, 2, 3]);
        assert_eq!(three, homes(&[3, 1, 2]), "whatever the order");
        for broker in 1..=3 {
            let count = three.iter().filter(|home| **home == broker).count();
            assert!((850..1_150).contains(&count), "{count}");
        }
        let two = homes(&[1, 3]);
        for (before, after) in three.iter().zip(two) {
            assert!(*before == 2 || *before == after);
        }
        assert_eq!(home(b"x", std::iter::empty()), None);
    }
}

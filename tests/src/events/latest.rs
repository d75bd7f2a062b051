//! The model of key compaction: the latest record of each key.

use std::collections::HashMap;

use super::digest::Digest;
use super::tally::Tally;

/// The latest records of one partition. Takes memory for each key.
#[derive(Debug, Default)]
pub struct Latest {
    keys: HashMap<Box<[u8]>, (i64, Digest)>,
}

impl Latest {
    /// Takes in a record, which replaces those of its key whose offsets are lower.
    pub fn add(&mut self, key: &[u8], offset: i64, digest: Digest) {
        match self.keys.get_mut(key) {
            Some(latest) if latest.0 > offset => {}
            Some(latest) => *latest = (offset, digest),
            None => drop(self.keys.insert(key.into(), (offset, digest))),
        }
    }

    /// What a reader finds of it as partition `partition`.
    pub fn tally(&self, partition: i32) -> Tally {
        let mut tally = Tally::default();
        for (offset, digest) in self.keys.values() {
            tally.add_digest(partition, *offset, *digest);
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_a_key_counts_however_they_come() {
        let digest = |of: &str| Digest::of(of.as_bytes());
        let mut latest = Latest::default();
        latest.add(b"a", 0, digest("a0"));
        latest.add(b"", 1, digest("1"));
        latest.add(b"a", 3, digest("a3"));
        latest.add(b"a", 2, digest("a2"));
        let mut wanted = Tally::default();
        wanted.add_digest(7, 3, digest("a3"));
        wanted.add_digest(7, 1, digest("1"));
        assert_eq!(latest.tally(7), wanted);
    }
}

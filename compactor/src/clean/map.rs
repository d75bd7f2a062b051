//! The latest offset of each key, in a fixed amount of memory: Kafka's `SkimpyOffsetMap`.
//!
//! Keys are known by a hash of 128 bits, so that an entry takes 24 bytes however long its key is. Of as many keys as fit,
//! two have the same hash with a probability of 2^-84. Who wanted to make such keys would have to know the seed; and who
//! may write to a topic may overwrite every key in it anyway.

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use twox_hash::XxHash3_128;

/// Hash, and the offset plus one; all zeroes: nothing.
type Slot = [u64; 3];

/// Bytes of an entry, as in Kafka: 16 of the hash and 8 of the offset.
pub const ENTRY_BYTES: usize = size_of::<Slot>();

/// Of ten slots, how many are filled at most: Kafka's `log.cleaner.io.buffer.load.factor`. With more, searches grow long.
const FILLED_OF_TEN: usize = 9;

/// Keys up to this size are hashed without an allocation; nearly all are.
const SHORT_KEY_BYTES: usize = 124;

/// See the module's documentation.
pub struct OffsetMap {
    slots: Vec<Slot>,
    len: usize,
    len_max: usize,
    seed: u64,
}

impl OffsetMap {
    /// Takes about `bytes` of memory, whatever is put into it: enough for one key at least.
    pub fn new(bytes: usize, seed: u64) -> Self {
        let slots = (bytes / ENTRY_BYTES).max(2);
        Self {
            slots: vec![[0; 3]; slots],
            len: 0,
            len_max: slots * FILLED_OF_TEN / 10,
            seed,
        }
    }

    /// Takes in that the key has a record at `offset`, which is later than those put before. Whether there was room.
    #[must_use]
    pub fn put(&mut self, partition: PartitionIndex, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(partition, key);
        let at = self.find(hash);
        if self.slots[at][2] == 0 {
            if self.len == self.len_max {
                return false;
            }
            self.len += 1;
        }
        // Offsets are below 2^63.
        self.slots[at] = [hash[0], hash[1], offset.get() as u64 + 1];
        true
    }

    /// The latest offset of the key, if it was put.
    pub fn latest(&self, partition: PartitionIndex, key: &[u8]) -> Option<Offset> {
        let [_, _, next] = self.slots[self.find(self.hash(partition, key))];
        Offset::new(next as i64 - 1)
    }

    /// Keys that were put.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where the key is, or where there is room for it: never all slots are filled.
    fn find(&self, hash: [u64; 2]) -> usize {
        let slots = self.slots.len();
        let mut at = ((u128::from(hash[0]) * slots as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || slot[..2] == hash {
                return at;
            }
            at = (at + 1) % slots;
        }
    }

    /// Of partition and key together: one map serves all partitions of a topic.
    fn hash(&self, partition: PartitionIndex, key: &[u8]) -> [u64; 2] {
        let partition = partition.0.to_le_bytes();
        let mut short = [0; SHORT_KEY_BYTES + 4];
        let hash = match short.get_mut(..key.len() + 4) {
            Some(both) => {
                both[..4].copy_from_slice(&partition);
                both[4..].copy_from_slice(key);
                XxHash3_128::oneshot_with_seed(self.seed, both)
            }
            None => XxHash3_128::oneshot_with_seed(self.seed, &[&partition, key].concat()),
        };
        [hash as u64, (hash >> 64) as u64]
    }
}

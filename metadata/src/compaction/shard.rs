//! Compaction shards: the parts into which topics are divided among those who compact.

use std::fmt;

use alluvium_common::topic::TopicId;

/// Compaction shards of a cluster: more than there will be compactors for long, and few keys.
pub const COMPACTION_SHARDS: u32 = 16;

/// One part of a cluster's topics, compacted by one process at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CompactionShard(u32);

impl CompactionShard {
    /// The shard that a topic belongs to, for ever.
    pub fn of(topic_id: TopicId) -> Self {
        Self(crc32c::crc32c(topic_id.0.as_bytes()) % COMPACTION_SHARDS)
    }

    /// All shards, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..COMPACTION_SHARDS).map(Self)
    }

    /// From 0 to [`COMPACTION_SHARDS`] - 1.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Reads what [`fmt::Display`] wrote, and nothing else: a shard has one name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse::<u32>().ok()).flatten()?;
        (number < COMPACTION_SHARDS).then_some(Self(number))
    }
}

/// Two digits, as keys have it.
impl fmt::Display for CompactionShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

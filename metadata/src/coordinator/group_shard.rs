//! Group shards: the parts into which the groups of a cluster are divided among its brokers.

use std::fmt;

use super::group::GroupId;

/// Group shards of a cluster. Stored keys depend on it, so it never changes.
pub const GROUP_SHARDS: u32 = 16;

/// One part of a cluster's groups, coordinated by one broker at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupShard(u32);

impl GroupShard {
    /// The shard of that number, if there is one.
    pub fn new(number: u32) -> Option<Self> {
        (number < GROUP_SHARDS).then_some(Self(number))
    }

    /// All shards, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..GROUP_SHARDS).map(Self)
    }

    /// From 0 to [`GROUP_SHARDS`] - 1.
    pub fn number(self) -> u32 {
        self.0
    }

    /// As an index of a table of all shards.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// Reads what [`fmt::Display`] wrote, and nothing else: a shard has one name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok().and_then(Self::new))?
    }
}

/// Two digits, as keys have it.
impl fmt::Display for GroupShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// The shard that a group belongs to, for ever: its committed offsets are stored there.
pub fn group_shard(id: &GroupId) -> GroupShard {
    GroupShard(crc32c::crc32c(id.as_str().as_bytes()) % GROUP_SHARDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What brokers of all versions must agree on.
    #[test]
    fn a_group_keeps_its_shard_for_ever() {
        let shard = |name: &str| group_shard(&name.into()).number();
        // The check value of CRC-32C is 0xe3069283.
        assert_eq!(shard("123456789"), 3);
        let pinned = [("", 0), ("g", 8), ("orders", 10), ("a/b", 3), ("größe", 7)];
        assert_eq!(pinned.map(|(name, _)| (name, shard(name))), pinned);
    }

    #[test]
    fn every_shard_has_groups_and_one_name() {
        let used = (0..200).map(|n| group_shard(&GroupId::new(&format!("group-{n}"))));
        let used: std::collections::BTreeSet<_> = used.collect();
        assert!(used.into_iter().eq(GroupShard::all()));
        for shard in GroupShard::all() {
            assert_eq!(GroupShard::parse(&shard.to_string()), Some(shard));
        }
        for foreign in ["", "1", "001", "16", "+1", "writer"] {
            assert_eq!(GroupShard::parse(foreign), None, "{foreign}");
        }
    }
}

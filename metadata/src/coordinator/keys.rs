//! The coordinator's keys in the metadata store.
//!
//! ```text
//! /alluvium/<cluster>/groups/writer                                   who writes below, and its last batch
//! /alluvium/<cluster>/groups/state/<group>                            one group
//! /alluvium/<cluster>/groups/offsets/<group>/<topic id>/<partition>   one committed offset
//! ```
//!
//! `<group>` is the group id with every byte outside of `[A-Za-z0-9._-]` as `%XX`: any string may name
//! a group, and the empty one does too. `<topic id>` is 32 hex digits, `<partition>` 10 decimal digits.

use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use bytes::Bytes;
use uuid::Uuid;

use super::group::GroupId;
use crate::keys::Keys;
use crate::store::KeyRange;

/// Builds and parses the keys of the groups of one cluster.
#[derive(Debug, Clone)]
pub struct GroupKeys {
    writer: Bytes,
    state: String,
    offsets: String,
}

impl GroupKeys {
    /// The coordinator's keys in a cluster.
    pub fn new(cluster: &Keys) -> Self {
        let folder = |name: &str| String::from_utf8_lossy(&cluster.below(name)).into_owned();
        Self {
            writer: cluster.below("groups/writer"),
            state: folder("groups/state/"),
            offsets: folder("groups/offsets/"),
        }
    }

    /// Put by every batch that the coordinator writes.
    pub fn writer(&self) -> Bytes {
        self.writer.clone()
    }

    /// The record of one group.
    pub fn group(&self, id: &GroupId) -> Bytes {
        let mut key = self.state.clone();
        escape(id.as_str(), &mut key);
        key.into()
    }

    /// One committed offset.
    pub fn offset(&self, id: &GroupId, partition: &TopicPartition) -> Bytes {
        let mut key = self.offsets.clone();
        escape(id.as_str(), &mut key);
        let topic = partition.topic_id.0.simple();
        key.push_str(&format!("/{topic}/{:010}", partition.partition.0));
        key.into()
    }

    /// All groups.
    pub fn all_groups(&self) -> KeyRange {
        KeyRange::prefix(self.state.clone())
    }

    /// All committed offsets.
    pub fn all_offsets(&self) -> KeyRange {
        KeyRange::prefix(self.offsets.clone())
    }

    /// Whose record a key is.
    pub fn parse_group(&self, key: &[u8]) -> Option<GroupId> {
        let name = std::str::from_utf8(key).ok()?.strip_prefix(&self.state)?;
        unescape(name)
    }

    /// Whose offset of what a key is.
    pub fn parse_offset(&self, key: &[u8]) -> Option<(GroupId, TopicPartition)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.offsets)?;
        let mut parts = rest.split('/');
        let (group, topic, partition) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || partition.len() != 10 {
            return None;
        }
        let topic_id = TopicId(Uuid::try_parse(topic).ok()?);
        let partition = PartitionIndex(partition.parse().ok()?);
        Some((unescape(group)?, TopicPartition::new(topic_id, partition)))
    }
}

fn escape(name: &str, out: &mut String) {
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn unescape(name: &str) -> Option<GroupId> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    Some(GroupId::new(&String::from_utf8(bytes).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_id_has_its_own_keys_and_comes_back() {
        let keys = GroupKeys::new(&Keys::new("c"));
        let partition = TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(12));
        let names = ["", "plain", "a/b", "a%2Fb", "größe", "a b\n", "\u{0}"];
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            let id = GroupId::new(name);
            let key = keys.group(&id);
            assert_eq!(keys.parse_group(&key), Some(id.clone()));
            let offset = keys.offset(&id, &partition);
            assert_eq!(keys.parse_offset(&offset), Some((id, partition)));
            assert!(seen.insert(key) && seen.insert(offset));
        }
    }

    #[test]
    fn the_layout_is_fixed() {
        let keys = GroupKeys::new(&Keys::new("c"));
        let partition = TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(12));
        assert_eq!(keys.writer(), "/alluvium/c/groups/writer");
        assert_eq!(keys.group(&"a/b".into()), "/alluvium/c/groups/state/a%2Fb");
        assert_eq!(
            keys.offset(&"g".into(), &partition),
            "/alluvium/c/groups/offsets/g/00000000000000000000000000000007/0000000012"
        );
    }

    #[test]
    fn foreign_keys_are_nobodys() {
        let keys = GroupKeys::new(&Keys::new("c"));
        for key in [
            "/alluvium/c/groups/state/%2",
            "/alluvium/c/groups/state/%zz",
            "/alluvium/c/groups/state/%FF",
            "/alluvium/d/groups/state/g",
        ] {
            assert_eq!(keys.parse_group(key.as_bytes()), None, "{key}");
        }
        for key in [
            "/alluvium/c/groups/offsets/g",
            "/alluvium/c/groups/offsets/g/7/0000000012",
            "/alluvium/c/groups/offsets/g/00000000000000000000000000000007/12",
            "/alluvium/c/groups/offsets/g/00000000000000000000000000000007/0000000012/1",
        ] {
            assert_eq!(keys.parse_offset(key.as_bytes()), None, "{key}");
        }
    }
}

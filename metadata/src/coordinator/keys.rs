//! The coordinator's keys in the metadata store.
//!
//! ```text
//! /alluvium/<cluster>/groups/<shard>/writer                                   who writes below, and its last batch
//! /alluvium/<cluster>/groups/<shard>/state/<group>                            one group
//! /alluvium/<cluster>/groups/<shard>/offsets/<group>/<topic id>/<partition>   one committed offset
//! ```
//!
//! `<shard>` is the group shard's number in two decimal digits. `<group>` is the group id with every byte outside
//! of `[A-Za-z0-9._-]` as `%XX`: any string may name a group, and the empty one does too. `<topic id>` is 32 hex
//! digits, `<partition>` 10 decimal digits.
//!
//! Before there were shards, `<shard>/` was missing (`OldGroupKeys`).

use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use bytes::Bytes;
use uuid::Uuid;

use super::group::GroupId;
use super::group_shard::{GroupShard, group_shard};
use crate::keys::Keys;
use crate::store::KeyRange;

/// Builds and parses the keys of one group shard.
#[derive(Debug, Clone)]
pub struct GroupKeys {
    shard: GroupShard,
    folder: Folder,
}

impl GroupKeys {
    /// The keys of a shard in a cluster.
    pub fn new(cluster: &Keys, shard: GroupShard) -> Self {
        Self {
            shard,
            folder: Folder::new(cluster, &format!("groups/{shard}/")),
        }
    }

    /// Put by every batch that the shard's coordinator writes.
    pub fn writer(&self) -> Bytes {
        self.folder.writer.clone()
    }

    /// The record of one group.
    pub fn group(&self, id: &GroupId) -> Bytes {
        let mut key = self.folder.state.clone();
        escape(id.as_str(), &mut key);
        key.into()
    }

    /// One committed offset.
    pub fn offset(&self, id: &GroupId, partition: &TopicPartition) -> Bytes {
        let mut key = self.folder.offsets.clone();
        escape(id.as_str(), &mut key);
        let topic = partition.topic_id.0.simple();
        key.push_str(&format!("/{topic}/{:010}", partition.partition.0));
        key.into()
    }

    /// All groups of the shard.
    pub fn all_groups(&self) -> KeyRange {
        KeyRange::prefix(self.folder.state.clone())
    }

    /// All committed offsets of the shard.
    pub fn all_offsets(&self) -> KeyRange {
        KeyRange::prefix(self.folder.offsets.clone())
    }

    /// Whose record a key is. A group in a shard that is not its own is nobody's: nobody would look for it there.
    pub fn parse_group(&self, key: &[u8]) -> Option<GroupId> {
        let id = self.folder.parse_group(key)?;
        (group_shard(&id) == self.shard).then_some(id)
    }

    /// Whose offset of what a key is.
    pub fn parse_offset(&self, key: &[u8]) -> Option<(GroupId, TopicPartition)> {
        let (id, partition) = self.folder.parse_offset(key)?;
        (group_shard(&id) == self.shard).then_some((id, partition))
    }
}

/// The keys from before there were group shards, to be moved to where they belong now.
#[derive(Debug)]
pub(super) struct OldGroupKeys {
    cluster: Keys,
    folder: Folder,
}

impl OldGroupKeys {
    pub fn new(cluster: &Keys) -> Self {
        Self {
            cluster: cluster.clone(),
            folder: Folder::new(cluster, "groups/"),
        }
    }

    pub fn writer(&self) -> Bytes {
        self.folder.writer.clone()
    }

    /// Every old key and no new one: `offsets/`, `state/` and `writer` stand in this order, and behind all digits.
    pub fn all(&self) -> KeyRange {
        KeyRange {
            from: self.folder.offsets.clone().into(),
            to: KeyRange::key(self.writer()).to,
        }
    }

    /// The old groups and offsets, without the writer's key.
    pub fn all_but_writer(&self) -> KeyRange {
        KeyRange::between(self.folder.offsets.clone(), self.writer())
    }

    /// The new key of what stands under an old one.
    pub fn moved(&self, key: &[u8]) -> Option<Bytes> {
        let keys_of = |id: &GroupId| GroupKeys::new(&self.cluster, group_shard(id));
        if let Some(id) = self.folder.parse_group(key) {
            return Some(keys_of(&id).group(&id));
        }
        let (id, partition) = self.folder.parse_offset(key)?;
        Some(keys_of(&id).offset(&id, &partition))
    }
}

/// Names below one folder; with a slash at their ends where they are folders themselves.
#[derive(Debug, Clone)]
struct Folder {
    writer: Bytes,
    state: String,
    offsets: String,
}

impl Folder {
    fn new(cluster: &Keys, folder: &str) -> Self {
        let below = |name: &str| cluster.below(&format!("{folder}{name}"));
        let text = |name: &str| String::from_utf8_lossy(&below(name)).into_owned();
        Self {
            writer: below("writer"),
            state: text("state/"),
            offsets: text("offsets/"),
        }
    }

    fn parse_group(&self, key: &[u8]) -> Option<GroupId> {
        let name = std::str::from_utf8(key).ok()?.strip_prefix(&self.state)?;
        unescape(name)
    }

    fn parse_offset(&self, key: &[u8]) -> Option<(GroupId, TopicPartition)> {
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

    fn tp() -> TopicPartition {
        TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(12))
    }

    fn keys_of(id: &GroupId) -> GroupKeys {
        GroupKeys::new(&Keys::new("c"), group_shard(id))
    }

    #[test]
    fn every_group_id_has_its_own_keys_and_comes_back() {
        let names = ["", "plain", "a/b", "a%2Fb", "größe", "a b\n", "\u{0}"];
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            let id = GroupId::new(name);
            let keys = keys_of(&id);
            let key = keys.group(&id);
            assert_eq!(keys.parse_group(&key), Some(id.clone()));
            let offset = keys.offset(&id, &tp());
            assert_eq!(keys.parse_offset(&offset), Some((id, tp())));
            assert!(seen.insert(key) && seen.insert(offset));
        }
    }

    #[test]
    fn the_layout_is_fixed() {
        let id = GroupId::new("123456789");
        let keys = keys_of(&id);
        assert_eq!(keys.writer(), "/alluvium/c/groups/03/writer");
        assert_eq!(keys.group(&id), "/alluvium/c/groups/03/state/123456789");
        assert_eq!(
            keys.offset(&id, &tp()),
            "/alluvium/c/groups/03/offsets/123456789/00000000000000000000000000000007/0000000012"
        );
        assert!(keys.group(&"a/b".into()).ends_with(b"/state/a%2Fb"));
    }

    #[test]
    fn foreign_keys_are_nobodys() {
        for shard in GroupShard::all() {
            let keys = GroupKeys::new(&Keys::new("c"), shard);
            let own = format!("/alluvium/c/groups/{shard}");
            let other = format!("/alluvium/d/groups/{shard}/state/g");
            for key in [
                format!("{own}/state/%2"),
                format!("{own}/state/%zz"),
                format!("{own}/state/%FF"),
                other,
            ] {
                assert_eq!(keys.parse_group(key.as_bytes()), None, "{key}");
            }
            for rest in [
                "g",
                "g/7/0000000012",
                "g/00000000000000000000000000000007/12",
                "g/00000000000000000000000000000007/0000000012/1",
            ] {
                let key = format!("{own}/offsets/{rest}");
                assert_eq!(keys.parse_offset(key.as_bytes()), None, "{key}");
            }
        }
    }

    #[test]
    fn a_group_in_a_strange_shard_is_nobodys() {
        let id = GroupId::new("123456789");
        let own = GroupShard::all().filter(|shard| {
            let keys = GroupKeys::new(&Keys::new("c"), *shard);
            let group = keys.parse_group(&keys.group(&id));
            let offset = keys.parse_offset(&keys.offset(&id, &tp()));
            assert_eq!(group.is_some(), offset.is_some());
            group.is_some()
        });
        assert!(own.eq([group_shard(&id)]));
    }

    #[test]
    fn old_keys_are_told_from_new_ones_and_have_a_place() {
        let old = OldGroupKeys::new(&Keys::new("c"));
        let id = GroupId::new("a/b");
        let keys = keys_of(&id);
        let state = b"/alluvium/c/groups/state/a%2Fb";
        let offset =
            b"/alluvium/c/groups/offsets/a%2Fb/00000000000000000000000000000007/0000000012";
        assert_eq!(old.moved(state), Some(keys.group(&id)));
        assert_eq!(old.moved(offset), Some(keys.offset(&id, &tp())));
        assert_eq!(old.moved(&old.writer()), None);
        for key in [&state[..], &offset[..]] {
            assert!(old.all().contains(key) && old.all_but_writer().contains(key));
        }
        assert!(old.all().contains(&old.writer()) && !old.all_but_writer().contains(&old.writer()));
        for shard in GroupShard::all() {
            let keys = GroupKeys::new(&Keys::new("c"), shard);
            for key in [keys.writer(), keys.group(&id), keys.offset(&id, &tp())] {
                assert!(!old.all().contains(&key));
            }
        }
    }
}

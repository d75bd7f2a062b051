//! Makes batches, each of which fits into one transaction, of writes in their order.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::coordinator::group::{GroupId, Write, WriteOp, WriteToken};
use crate::coordinator::keys::GroupKeys;
use crate::coordinator::stored;
use crate::store::{Op, TXN_BYTES_PER_OPERATION};

/// What is left of a transaction for a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    pub operations: usize,
    pub bytes: usize,
}

/// Operations for one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By key, which a transaction takes once: of two writes the later one stands. `None` deletes.
    changes: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
    /// Writes of which nothing is left for a later batch.
    pub ended: Vec<(GroupId, WriteToken)>,
    /// Writes that no transaction can hold.
    pub too_large: Vec<(GroupId, WriteToken)>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn ops(&self) -> impl Iterator<Item = Op> {
        self.changes.iter().map(|(key, value)| match value {
            Some(value) => Op::put(key.clone(), value.clone()),
            None => Op::delete(key.clone()),
        })
    }

    /// False when it does not fit beside what is there.
    fn add(&mut self, key: Bytes, value: Option<Bytes>, limits: BatchLimits) -> bool {
        let cost = change_bytes(&key, value.as_ref());
        let replaced = self.changes.get(&key);
        let freed = replaced.map_or(0, |old| change_bytes(&key, old.as_ref()));
        let operations = self.changes.len() + usize::from(replaced.is_none());
        let bytes = self.bytes + cost - freed;
        if operations > limits.operations || bytes > limits.bytes {
            return false;
        }
        self.bytes = bytes;
        self.changes.insert(key, value);
        true
    }
}

/// A deletion is counted as a range of its key and the key's successor, as the store counts it.
pub(super) fn change_bytes(key: &Bytes, value: Option<&Bytes>) -> usize {
    TXN_BYTES_PER_OPERATION
        + match value {
            Some(value) => key.len() + value.len(),
            None => 2 * key.len() + 1,
        }
}

/// Turns writes into batches; keeps the rest of a write that did not fit into one.
#[derive(Debug)]
pub(super) struct Batcher {
    keys: GroupKeys,
    limits: BatchLimits,
    rest: Option<Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    group_id: GroupId,
    token: WriteToken,
    ops: VecDeque<WriteOp>,
}

impl Batcher {
    pub fn new(keys: GroupKeys, limits: BatchLimits) -> Self {
        Self {
            keys,
            limits,
            rest: None,
        }
    }

    /// Takes writes from `next` for as long as they fit.
    pub fn next_batch(&mut self, mut next: impl FnMut() -> Option<Write>) -> Batch {
        let mut batch = Batch::default();
        while let Some(mut write) = self.rest.take().or_else(|| next().map(Unfinished::from)) {
            let (key, value) = match write.ops.front() {
                Some(op) => self.encode(&write.group_id, op),
                None => {
                    batch.ended.push((write.group_id, write.token));
                    continue;
                }
            };
            if change_bytes(&key, value.as_ref()) > self.limits.bytes {
                batch.too_large.push((write.group_id, write.token));
                continue;
            }
            let fits = batch.add(key, value, self.limits);
            if fits {
                write.ops.pop_front();
            }
            self.rest = Some(write);
            if !fits {
                break;
            }
        }
        batch
    }

    fn encode(&self, group_id: &GroupId, op: &WriteOp) -> (Bytes, Option<Bytes>) {
        let keys = &self.keys;
        match op {
            WriteOp::PutGroup(record) => {
                (keys.group(group_id), Some(stored::group::encode(record)))
            }
            WriteOp::DeleteGroup => (keys.group(group_id), None),
            WriteOp::PutOffset(partition, record) => {
                let value = stored::offset::encode(record);
                (keys.offset(group_id, partition), Some(value))
            }
            WriteOp::DeleteOffset(partition) => (keys.offset(group_id, partition), None),
        }
    }
}

impl From<Write> for Unfinished {
    fn from(write: Write) -> Self {
        Self {
            group_id: write.group_id,
            token: write.token,
            ops: write.ops.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_common::offset::Offset;
    use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
    use uuid::Uuid;

    use super::*;
    use crate::coordinator::group::{GroupRecord, OffsetRecord};
    use crate::coordinator::group_shard::group_shard;

    fn offset(number: i64) -> OffsetRecord {
        OffsetRecord {
            topic: TopicName::new("t").expect("valid"),
            offset: Offset::new(number),
            leader_epoch: None,
            metadata: String::new(),
            commit_ms: 0,
            expire_ms: None,
        }
    }

    fn partition(index: i32) -> TopicPartition {
        TopicPartition::new(TopicId(Uuid::nil()), PartitionIndex(index))
    }

    fn commit(token: u64, partitions: std::ops::Range<i32>) -> Write {
        let put = |index| WriteOp::PutOffset(partition(index), offset(token as i64));
        Write {
            group_id: "g".into(),
            token: WriteToken(token),
            ops: partitions.map(put).collect(),
        }
    }

    fn batches(limits: BatchLimits, writes: Vec<Write>) -> Vec<Batch> {
        let shard = group_shard(&"g".into());
        let keys = GroupKeys::new(&crate::keys::Keys::new("c"), shard);
        let mut batcher = Batcher::new(keys, limits);
        let mut writes = writes.into_iter();
        let mut batches = Vec::new();
        loop {
            let batch = batcher.next_batch(|| writes.next());
            if batch.is_empty() && batch.ended.is_empty() && batch.too_large.is_empty() {
                return batches;
            }
            batches.push(batch);
        }
    }

    const WIDE: BatchLimits = BatchLimits {
        operations: 4,
        bytes: 1 << 20,
    };

    fn tokens(ended: &[(GroupId, WriteToken)]) -> Vec<u64> {
        ended.iter().map(|(_, token)| token.0).collect()
    }

    #[test]
    fn many_writes_share_a_batch_and_large_ones_span_several() {
        let writes = vec![commit(0, 0..1), commit(1, 1..8), commit(2, 8..9)];
        let made = batches(WIDE, writes);
        let sizes: Vec<_> = made.iter().map(|batch| batch.ops().count()).collect();
        assert_eq!(sizes, [4, 4, 1]);
        let ended: Vec<_> = made.iter().map(|batch| tokens(&batch.ended)).collect();
        assert_eq!(
            ended,
            [vec![0], vec![1], vec![2]],
            "ends with its last part"
        );
    }

    #[test]
    fn a_later_write_of_a_key_replaces_the_earlier_in_its_batch() {
        let delete = Write {
            ops: vec![WriteOp::DeleteOffset(partition(0))],
            ..commit(2, 0..0)
        };
        let made = batches(WIDE, vec![commit(0, 0..1), commit(1, 0..2), delete]);
        assert_eq!(made.len(), 1);
        assert_eq!(tokens(&made[0].ended), [0, 1, 2]);
        let ops: Vec<_> = made[0].ops().collect();
        assert!(matches!(ops[0], Op::Delete { .. }));
        assert!(matches!(ops[1], Op::Put { .. }));
        assert_eq!(ops.len(), 2);
    }

    #[test]
    fn bytes_are_bounded_and_what_never_fits_is_told_apart() {
        let limits = BatchLimits {
            operations: 100,
            bytes: 600,
        };
        let mut writes: Vec<_> = (0..9).map(|i| commit(i, i as i32..i as i32 + 1)).collect();
        let huge = GroupRecord {
            generation: 1,
            protocol_type: Some("x".repeat(700)),
            protocol: None,
            leader: None,
            state_since_ms: 0,
            members: Vec::new(),
        };
        writes.insert(
            4,
            Write {
                group_id: "g".into(),
                token: WriteToken(99),
                ops: vec![WriteOp::PutGroup(huge)],
            },
        );
        let made = batches(limits, writes);
        let mut ended = Vec::new();
        let mut too_large = Vec::new();
        for batch in &made {
            let txn = batch
                .ops()
                .fold(crate::store::Txn::new(), |txn, op| txn.then(op));
            assert!(txn.size_bytes() <= 600, "as the store counts");
            ended.extend(tokens(&batch.ended));
            too_large.extend(tokens(&batch.too_large));
        }
        assert_eq!(ended, (0..9).collect::<Vec<_>>());
        assert_eq!(too_large, [99]);
        assert!(made.len() > 2);
    }
}

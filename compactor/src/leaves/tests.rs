mod figures;
mod model;
mod plan;

use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId};
use alluvium_segment::manifest::{Leaf, LeafEntry, SpanEntry, TableEntry};
use alluvium_segment::object_key::{ObjectKey, SegmentName, TableName};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::*;
use crate::fold::ReadError;

const TOPIC: TopicId = TopicId(Uuid::from_u128(7));

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

fn name(id: Uuid) -> TableName {
    TableName {
        topic_id: TOPIC,
        written: SegmentName {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(5),
            id,
        },
    }
}

fn span(partition: i32, base: i64, next: i64) -> SpanEntry {
    SpanEntry {
        partition: PartitionIndex(partition),
        base_offset: offset(base),
        next_offset: offset(next),
        records: next.abs_diff(base),
        raw_bytes: 100 * next.abs_diff(base),
        min_timestamp: base,
        max_timestamp: next,
    }
}

fn table(number: u128, size_bytes: u64, spans: Vec<SpanEntry>) -> TableEntry {
    TableEntry {
        object_key: ObjectKey::table(&name(Uuid::from_u128(number))),
        size_bytes,
        tail_length: 100,
        tail_crc: number as u32,
        spans,
    }
}

fn leaf(id: Uuid, tables: Vec<TableEntry>) -> (LeafEntry, PutPayload) {
    let tables = tables.into_iter().map(Arc::new).collect();
    let leaf = Leaf::new(TOPIC, tables).expect("well formed");
    let object = leaf.encode().expect("encodes");
    let entry = LeafEntry::new(ObjectKey::leaf(&name(id)), &object, &leaf);
    (entry, object.chunks.into_iter().collect())
}

async fn put(objects: &InMemory, (entry, object): (LeafEntry, PutPayload)) -> LeafEntry {
    let path = Path::from(entry.object_key.as_str());
    objects.put(&path, object).await.expect("put");
    entry
}

#[tokio::test]
async fn leaves_are_kept_as_far_as_there_is_room() {
    let objects = Arc::new(InMemory::new());
    let mut entries = Vec::new();
    for number in 0..3 {
        let tables = vec![table(number, 1, vec![span(0, 0, 10)])];
        let new = leaf(Uuid::from_u128(number), tables);
        entries.push(put(&objects, new).await);
    }
    let one = read_leaf(&*objects, TOPIC, &entries[0])
        .await
        .expect("whole");
    let leaves = Leaves::bounded(objects.clone(), 2 * one.memory_bytes());
    let read = async |number: usize| leaves.read(TOPIC, &entries[number]).await;
    for number in [0, 1, 0, 2] {
        read(number).await.expect("whole");
    }
    for entry in &entries {
        let path = Path::from(entry.object_key.as_str());
        objects.delete(&path).await.expect("deleted");
    }
    assert!(read(0).await.is_ok() && read(2).await.is_ok());
    let error = read(1).await.expect_err("wanted least, and gone");
    assert!(error.is_final(), "{error}");
}

#[tokio::test]
async fn a_damaged_leaf_is_told_by_name() {
    let objects = InMemory::new();
    let (entry, object) = leaf(Uuid::from_u128(1), vec![table(1, 1, vec![span(0, 0, 10)])]);
    let mut bytes = object.iter().flatten().copied().collect::<Vec<_>>();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let entry = put(&objects, (entry, bytes.into())).await;
    let error = read_leaf(&objects, TOPIC, &entry)
        .await
        .expect_err("damaged");
    assert!(
        matches!(&error, ReadError::Damaged { key, .. } if *key == entry.object_key),
        "{error}"
    );
    assert!(error.is_final());
}

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use uuid::Uuid;

use super::*;
use crate::footer::BlockEncoding;
use crate::object_key::SegmentName;

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("positive")
}

fn segment(id: u128) -> Arc<SegmentRef> {
    let name = SegmentName {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(1),
        id: Uuid::from_u128(id),
    };
    let object_key = ObjectKey::segment(&name);
    Arc::new(SegmentRef {
        object_key,
        size_bytes: 1000,
    })
}

/// Blocks of ten offsets with the given largest timestamps.
fn span(base: i64, timestamps: &[i64]) -> PartitionSpan {
    let block = |(index, timestamp): (usize, &i64)| BlockEntry {
        position: 32 + 100 * index as u64,
        stored_length: 100,
        raw_length: 100,
        encoding: BlockEncoding::Raw,
        crc: 0,
        base_offset: offset(base + 10 * index as i64),
        next_offset: offset(base + 10 * index as i64 + 10),
        max_timestamp: *timestamp,
        batch_count: 1,
    };
    PartitionSpan {
        tp: TopicPartition::new(TopicId(Uuid::from_u128(1)), PartitionIndex(0)),
        base_offset: offset(base),
        next_offset: offset(base + 10 * timestamps.len() as i64),
        max_timestamp: *timestamps.iter().max().expect("not empty"),
        leader_epochs: Vec::new(),
        blocks: timestamps.iter().enumerate().map(block).collect(),
        producers: Vec::new(),
    }
}

fn index() -> SegmentIndex {
    let mut index = SegmentIndex::new(Offset::ZERO);
    index.add(segment(1), &span(0, &[5, 9])).expect("first");
    index.add(segment(2), &span(20, &[7])).expect("second");
    index.add(segment(3), &span(30, &[9, 20])).expect("third");
    index
}

#[test]
fn every_offset_is_found_in_its_block() {
    let index = index();
    for at in 0..50 {
        let (_, blocks) = index.find(offset(at)).expect("indexed");
        assert!(blocks[0].base_offset <= offset(at) && offset(at) < blocks[0].next_offset);
        let from: Vec<_> = index
            .blocks_from(offset(at))
            .map(|b| b.block.base_offset.get())
            .collect();
        let expected: Vec<_> = (at / 10..5).map(|block| block * 10).collect();
        assert_eq!(from, expected, "{at}");
    }
    assert!(index.find(offset(50)).is_none());
    assert_eq!(index.blocks_from(offset(50)).count(), 0);
    assert_eq!(
        index.find(offset(25)).map(|found| found.0),
        Some(&segment(2))
    );
    assert_eq!((index.next_offset().get(), index.stored_bytes()), (50, 500));
}

#[test]
fn gaps_and_overlaps_are_refused() {
    let mut index = index();
    for base in [0, 49, 51] {
        let refused = index.add(segment(4), &span(base, &[1]));
        let (expected, found) = (offset(50), offset(base));
        assert_eq!(refused, Err(NotContiguous { expected, found }));
    }
    let mut empty = SegmentIndex::new(offset(15));
    assert!(empty.add(segment(1), &span(20, &[1])).is_err());
    empty
        .add(segment(1), &span(10, &[1]))
        .expect("covers the start");
    assert!(empty.find(offset(14)).is_none());
    assert!(empty.find(offset(15)).is_some());
}

#[test]
fn timestamps_are_found_in_offset_order() {
    let index = index();
    let since = |t| {
        index
            .first_block_since(t)
            .map(|found| found.block.base_offset.get())
    };
    assert_eq!(
        [since(0), since(6), since(9), since(10), since(21)],
        [Some(0), Some(10), Some(10), Some(40), None]
    );
    let max = index.max_timestamp_block().expect("not empty");
    assert_eq!(max.block.base_offset.get(), 40);
}

#[test]
fn trimming_forgets_whole_segments_and_hides_blocks() {
    let mut index = index();
    assert_eq!(index.trim(offset(25)), [segment(1)]);
    assert!(index.find(offset(24)).is_none());
    assert_eq!(
        index
            .first_block_since(8)
            .map(|b| b.block.base_offset.get()),
        Some(30)
    );
    assert_eq!(index.trim(offset(20)), []);
    assert_eq!(index.start_offset(), offset(25));
    assert_eq!(index.trim(offset(45)).len(), 2 - 1);
    assert_eq!(
        index
            .first_block_since(8)
            .map(|b| b.block.base_offset.get()),
        Some(40)
    );
    index.trim(offset(60));
    assert!(index.is_empty());
    assert_eq!(index.next_offset(), offset(60));
    index
        .add(segment(5), &span(60, &[1]))
        .expect("continues at the log start");
}

#[test]
fn an_empty_index_is_small() {
    assert!(size_of::<SegmentIndex>() <= 64);
}

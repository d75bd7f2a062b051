use alluvium_common::topic::{PartitionIndex, TopicId};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::segment_object::SEGMENT_HEADER_BYTES;

type RawBlock = (u32, Option<u32>, u32, u32, i64, u32);
type RawProducer = (u16, i16, Vec<(i32, u8, u8, i64)>);
type RawSpan = (u8, u8, u32, Vec<(i32, u8)>, Vec<RawBlock>, Vec<RawProducer>);

fn any_span() -> impl Strategy<Value = RawSpan> {
    let block = (
        any::<u32>(),
        any::<Option<u32>>(),
        any::<u32>(),
        any::<u32>(),
        any::<i64>(),
        any::<u32>(),
    );
    let batch = (0..i32::MAX, any::<u8>(), any::<u8>(), any::<i64>());
    let producer = (any::<u16>(), any::<i16>(), vec(batch, 1..6));
    (
        0..3u8,
        any::<u8>(),
        any::<u32>(),
        vec((any::<i32>(), any::<u8>()), 0..3),
        vec(block, 1..4),
        vec(producer, 0..3),
    )
}

fn build(raw: Vec<RawSpan>, created_ms: i64) -> Footer {
    let header = SegmentHeader {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(22),
        created_ms,
    };
    let mut raw = raw;
    raw.sort_by_key(|span| (span.0, span.1));
    raw.dedup_by_key(|span| (span.0, span.1));
    let mut position = SEGMENT_HEADER_BYTES as u64;
    let partitions = raw.into_iter().map(|span| build_span(span, &mut position));
    let partitions = partitions.collect();
    Footer { header, partitions }
}

fn build_span(raw: RawSpan, position: &mut u64) -> PartitionSpan {
    let (topic, partition, base, epochs, raw_blocks, raw_producers) = raw;
    let base_offset = Offset::new(i64::from(base)).expect("positive");
    let mut at = base_offset;
    let mut after = |count: u32| {
        at = at.checked_add(count).expect("small");
        at
    };
    let leader_epochs = epochs
        .into_iter()
        .map(|(epoch, step)| (LeaderEpoch(epoch), after(step.into())));
    let leader_epochs = leader_epochs.collect();
    let mut next_offset = base_offset;
    let mut blocks = Vec::new();
    for (stored_length, compressed, crc, records, max_timestamp, batch_count) in raw_blocks {
        let block_base = next_offset;
        next_offset = next_offset.checked_add(records).expect("small");
        blocks.push(BlockEntry {
            position: *position,
            stored_length,
            raw_length: compressed.unwrap_or(stored_length),
            encoding: compressed.map_or(BlockEncoding::Raw, |_| BlockEncoding::Zstd),
            crc,
            base_offset: block_base,
            next_offset,
            max_timestamp,
            batch_count,
        });
        *position += u64::from(stored_length);
    }
    let mut producers: Vec<_> = raw_producers
        .into_iter()
        .map(|raw| build_producer(raw, base_offset))
        .collect();
    producers.sort_by_key(|producer| producer.producer_id);
    producers.dedup_by_key(|producer| producer.producer_id);
    PartitionSpan {
        tp: TopicPartition::new(
            TopicId(Uuid::from_u128(topic.into())),
            PartitionIndex(partition.into()),
        ),
        base_offset,
        next_offset,
        max_timestamp: blocks
            .iter()
            .map(|block| block.max_timestamp)
            .max()
            .expect("one"),
        leader_epochs,
        blocks,
        producers,
    }
}

fn build_producer((id, epoch, raw): RawProducer, base: Offset) -> ProducerSummary {
    let mut at = base;
    let mut batches = Vec::new();
    for (sequence, step, span, max_timestamp) in raw {
        let base_sequence = Sequence::new(sequence).expect("positive");
        let base_offset = at.checked_add(step.into()).expect("small");
        at = base_offset.checked_add(span.into()).expect("small");
        batches.push(ProducerBatch {
            base_sequence,
            last_sequence: base_sequence.plus(span.into()),
            base_offset,
            last_offset: at,
            max_timestamp,
        });
    }
    ProducerSummary {
        producer_id: ProducerId(id.into()),
        producer_epoch: ProducerEpoch(epoch),
        batches,
    }
}

proptest! {
    #[test]
    fn footers_round_trip_also_behind_other_bytes(raw in vec(any_span(), 0..6), created_ms: i64, before in vec(any::<u8>(), 0..9)) {
        let footer = build(raw, created_ms);
        let (bytes, crc) = footer.encode().expect("valid");
        prop_assert_eq!(footer_length(&bytes), Ok(bytes.len() as u32));
        prop_assert_eq!(crc, crc32c::crc32c(&bytes[..bytes.len() - TRAILER_BYTES]));
        let tail = [&before[..], &bytes[..]].concat();
        prop_assert_eq!(Footer::decode(&tail), Ok(footer));
        let short = Footer::decode(&bytes[1..]);
        let needed = bytes.len();
        prop_assert_eq!(short, Err(FormatError::NeedMore { needed, have: needed - 1 }));
    }

    #[test]
    fn any_flipped_bit_is_found(raw in vec(any_span(), 0..4), at: prop::sample::Index, bits in 1..=255u8) {
        let (mut bytes, _) = build(raw, 5).encode().expect("valid");
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        prop_assert!(Footer::decode(&bytes).is_err());
    }

    /// Flips below the checksum: what a forger could write.
    #[test]
    fn forged_sections_never_panic(raw in vec(any_span(), 0..4), flips in vec(any::<(prop::sample::Index, u8)>(), 1..8)) {
        let (mut bytes, _) = build(raw, 5).encode().expect("valid");
        bytes.truncate(bytes.len() - TRAILER_BYTES);
        for (at, bits) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        if let Ok(footer) = sections::decode(&bytes) {
            let _ = footer.encode();
        }
    }

    #[test]
    fn random_sections_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Footer::decode(&bytes);
        let _ = sections::decode(&bytes);
        let header = build(Vec::new(), 0).header;
        let _ = partitions::decode(&bytes, &header);
    }
}

/// A footer as a later version might write it: with one more section.
fn with_extra_section(flags: u16) -> Vec<u8> {
    let (mut bytes, _) = build(Vec::new(), 5).encode().expect("valid");
    bytes.truncate(bytes.len() - TRAILER_BYTES);
    bytes.extend_from_slice(&99u16.to_le_bytes());
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend_from_slice(&3u32.to_le_bytes());
    bytes.extend_from_slice(b"new");
    trailer::append(&mut bytes).expect("small");
    bytes
}

#[test]
fn unknown_sections_are_skipped_unless_required() {
    assert!(Footer::decode(&with_extra_section(0)).is_ok());
    let refused = Footer::decode(&with_extra_section(1));
    assert_eq!(refused, Err(FormatError::UnknownSection(99)));
}

#[test]
fn ten_thousand_partitions_stay_small() {
    let now = 1_800_000_000_000;
    let block = (4_000, Some(9_000), 0xdead_beef, 120, now - 30, 3);
    let producer = (
        70,
        3,
        vec![(100_000, 0, 40, now - 40), (100_041, 1, 40, now - 35)],
    );
    let span = |n: u32| {
        let spans = vec![block, block];
        (n, spans)
    };
    let mut position = SEGMENT_HEADER_BYTES as u64;
    let partitions = (0..10_000).map(span).map(|(n, blocks)| {
        let raw = (
            0,
            0,
            1_000_000 + n,
            vec![(7, 0)],
            blocks,
            vec![producer.clone()],
        );
        let mut span = build_span(raw, &mut position);
        span.tp.partition = PartitionIndex(n as i32);
        span
    });
    let mut footer = build(Vec::new(), now);
    footer.partitions = partitions.collect();
    let (bytes, _) = footer.encode().expect("valid");
    assert!(bytes.len() < 60 * 10_000, "{} bytes", bytes.len());
    assert_eq!(Footer::decode(&bytes), Ok(footer));
}

#[test]
fn contradictions_are_not_encoded() {
    let block = (10, None, 1, 5, 7, 1);
    let good = build(
        vec![
            (0, 0, 3, vec![], vec![block, block], vec![]),
            (0, 1, 3, vec![], vec![block], vec![]),
        ],
        5,
    );
    let broken: [fn(&mut Footer); 5] = [
        |footer| footer.partitions.swap(0, 1),
        |footer| footer.partitions[0].blocks[1].base_offset = Offset::ZERO,
        |footer| footer.partitions[1].blocks[0].position = 1,
        |footer| footer.partitions[0].next_offset = Offset::ZERO,
        |footer| footer.partitions[0].max_timestamp = 6,
    ];
    assert!(good.encode().is_ok());
    for (index, breaks) in broken.iter().enumerate() {
        let mut bad = good.clone();
        breaks(&mut bad);
        assert!(bad.encode().is_err(), "{index}");
    }
}

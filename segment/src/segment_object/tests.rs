use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_common::topic::{PartitionIndex, TopicId};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::footer::{BlockEncoding, PartitionSpan};
use crate::record_batch::{BatchBuilder, BatchHeader, Codec, NO_HEADERS, split};

pub(crate) fn header() -> SegmentHeader {
    SegmentHeader {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(42),
        created_ms: 1_700_000_000_000,
    }
}

pub(crate) fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(0xa11)), PartitionIndex(partition))
}

pub(crate) fn entry(partition: i32, base: i64, codec: Codec, values: &[&[u8]]) -> SegmentEntry {
    let mut builder = BatchBuilder::new(codec).producer(
        ProducerId(i64::from(partition) + 100),
        ProducerEpoch(0),
        Sequence::new(base as i32).expect("positive"),
    );
    for (index, value) in values.iter().enumerate() {
        let timestamp = 1_699_999_999_000 + base + index as i64;
        builder.push(timestamp, Some(b"key"), Some(value), NO_HEADERS);
    }
    let raw = builder.build().expect("small");
    let header = BatchHeader::decode(&raw).expect("valid");
    let base = Offset::new(base).expect("positive");
    let batch = StoredBatch::stamp(raw, &header, base, LeaderEpoch(2)).expect("fits");
    let tp = tp(partition);
    SegmentEntry { tp, batch }
}

fn object(encoded: &EncodedSegment) -> Bytes {
    let object: Bytes = encoded.chunks.concat().into();
    assert_eq!(object.len() as u64, encoded.size_bytes);
    object
}

fn batches_of(object: &Bytes, span: &PartitionSpan) -> Vec<StoredBatch> {
    let mut out = Vec::new();
    for block in &span.blocks {
        let start = block.position as usize;
        let stored = object.slice(start..start + block.stored_length as usize);
        let raw = decode_block(block, stored).expect("valid block");
        let batches: Vec<_> = split(&raw).map(|batch| batch.expect("valid").1).collect();
        assert_eq!(batches.len(), block.batch_count as usize);
        out.extend(
            batches
                .into_iter()
                .map(|raw| StoredBatch::from_stored(raw).expect("valid")),
        );
        assert_eq!(
            out.last().map(StoredBatch::next_offset),
            Some(block.next_offset)
        );
    }
    out
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back(
        raw in vec((0..4i32, prop::sample::select(&[Codec::None, Codec::None, Codec::Lz4][..]), 1..300usize, any::<u8>()), 1..40),
        target in 1..4_000usize,
    ) {
        let mut next = [0i64; 4];
        let mut entries = Vec::new();
        for (partition, codec, size, fill) in raw {
            let value = vec![fill; size];
            let base = next[partition as usize];
            entries.push(entry(partition, base, codec, &[&value, b"second"]));
            next[partition as usize] += 2;
        }
        let options = EncodeOptions { block_bytes_target: target, ..EncodeOptions::default() };
        let encoded = encode(&header(), entries.clone(), &options).expect("contiguous");
        let object = object(&encoded);
        let footer = Footer::decode(&object).expect("valid");
        prop_assert_eq!(&footer, &encoded.footer);
        prop_assert_eq!(decode_header(&object), Ok(header()));
        for partition in 0..4 {
            let sent: Vec<_> = entries.iter().filter(|entry| entry.tp == tp(partition)).map(|entry| entry.batch.clone()).collect();
            let Some(span) = footer.partition(tp(partition)) else {
                prop_assert!(sent.is_empty());
                continue;
            };
            prop_assert_eq!(&batches_of(&object, span), &sent);
            for block in &span.blocks {
                prop_assert!(block.batch_count == 1 || block.raw_length as usize <= target);
            }
            prop_assert_eq!(span.producers.len(), 1);
            let remembered = &span.producers[0].batches;
            prop_assert_eq!(remembered.len(), sent.len().min(5));
            prop_assert_eq!(remembered.last().map(|batch| batch.last_offset), sent.last().map(StoredBatch::last_offset));
            prop_assert_eq!(&span.leader_epochs, &vec![(LeaderEpoch(2), Offset::ZERO)]);
        }
    }

    #[test]
    fn damaged_blocks_are_never_decoded(at: prop::sample::Index, bits in 1..=255u8) {
        let entries = vec![entry(0, 0, Codec::None, &[&[7; 900]])];
        let encoded = encode(&header(), entries, &EncodeOptions::default()).expect("one");
        let block = encoded.footer.partitions[0].blocks[0];
        prop_assert_eq!(block.encoding, BlockEncoding::Zstd);
        let mut stored = object(&encoded)[block.position as usize..][..block.stored_length as usize].to_vec();
        let at = at.index(stored.len());
        stored[at] ^= bits;
        prop_assert!(decode_block(&block, stored.into()).is_err());
    }
}

#[test]
fn bodies_that_stay_raw_are_not_copied() {
    let entries = vec![
        entry(1, 0, Codec::Lz4, &[b"a"]),
        entry(0, 5, Codec::Lz4, &[b"b"]),
    ];
    let bodies: Vec<_> = entries
        .iter()
        .map(|entry| entry.batch.body().as_ptr())
        .collect();
    let encoded = encode(&header(), entries, &EncodeOptions::default()).expect("contiguous");
    let chunks: Vec<_> = encoded.chunks.iter().map(|chunk| chunk.as_ptr()).collect();
    assert!(bodies.iter().all(|body| chunks.contains(body)));
    assert!(encoded.footer.partitions.is_sorted_by_key(|span| span.tp));
}

#[test]
fn only_what_gets_smaller_is_compressed() {
    let repeated = vec![b'x'; 200_000];
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    })
    .take(200_000)
    .collect();
    let entries = vec![
        entry(0, 0, Codec::None, &[&repeated]),
        entry(1, 0, Codec::None, &[&noise]),
        entry(2, 0, Codec::Gzip, &[&repeated]),
        entry(2, 1, Codec::None, &[&repeated]),
    ];
    let encoded =
        encode(&header(), entries.clone(), &EncodeOptions::default()).expect("contiguous");
    let encodings: Vec<Vec<_>> = encoded
        .footer
        .partitions
        .iter()
        .map(|span| span.blocks.iter().map(|block| block.encoding).collect())
        .collect();
    use BlockEncoding::{Raw, Zstd};
    assert_eq!(encodings, [vec![Zstd], vec![Raw], vec![Raw, Zstd]]);
    let off = EncodeOptions {
        zstd_level: None,
        ..EncodeOptions::default()
    };
    let encoded = encode(&header(), entries, &off).expect("contiguous");
    let mut blocks = encoded
        .footer
        .partitions
        .iter()
        .flat_map(|span| &span.blocks);
    assert!(blocks.all(|block| block.encoding == Raw));
}

#[test]
fn a_gap_is_refused() {
    let entries = vec![
        entry(0, 0, Codec::None, &[b"a"]),
        entry(0, 2, Codec::None, &[b"b"]),
    ];
    assert!(encode(&header(), entries, &EncodeOptions::default()).is_err());
}

#[test]
fn a_new_producer_epoch_forgets_the_old_sequences() {
    let mut entries = vec![entry(0, 0, Codec::None, &[b"a"])];
    let mut builder =
        BatchBuilder::new(Codec::None).producer(ProducerId(100), ProducerEpoch(1), Sequence::ZERO);
    builder.push(1, None, None, NO_HEADERS);
    let raw = builder.build().expect("small");
    let header_of = BatchHeader::decode(&raw).expect("valid");
    let base = Offset::new(1).expect("positive");
    let batch = StoredBatch::stamp(raw, &header_of, base, LeaderEpoch(4)).expect("fits");
    entries.push(SegmentEntry { tp: tp(0), batch });
    let encoded = encode(&header(), entries, &EncodeOptions::default()).expect("contiguous");
    let span = &encoded.footer.partitions[0];
    assert_eq!(span.producers[0].producer_epoch, ProducerEpoch(1));
    assert_eq!(span.producers[0].batches.len(), 1);
    assert_eq!(
        span.leader_epochs,
        [(LeaderEpoch(2), Offset::ZERO), (LeaderEpoch(4), base)]
    );
}

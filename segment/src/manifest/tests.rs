mod leaves;

use std::collections::btree_map::Entry;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::footer::ProducerBatch;
use crate::object_key::{SegmentName, TableName};

const TOPIC: TopicId = TopicId(Uuid::from_u128(7));

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

fn span(partition: i32, base: i64, next: i64) -> SpanEntry {
    SpanEntry {
        partition: PartitionIndex(partition),
        base_offset: offset(base),
        next_offset: offset(next),
        records: next.abs_diff(base),
        raw_bytes: 100 * next.abs_diff(base),
        min_timestamp: i64::MIN,
        max_timestamp: base,
    }
}

fn table(number: u128, spans: Vec<SpanEntry>) -> TableEntry {
    let written = SegmentName {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(5),
        id: Uuid::from_u128(number),
    };
    TableEntry {
        object_key: ObjectKey::table(&TableName {
            topic_id: TOPIC,
            written,
        }),
        size_bytes: 1_000,
        tail_length: 100,
        tail_crc: number as u32,
        spans,
    }
}

fn published(next: i64) -> PublishedPartition {
    PublishedPartition {
        next_offset: offset(next),
        ..PublishedPartition::default()
    }
}

fn content(tables: Vec<TableEntry>, ends: &[(i32, i64)]) -> ManifestContent {
    let ends = ends.iter();
    ManifestContent {
        version: 3,
        created_ms: -9,
        tables,
        partitions: ends
            .map(|(partition, end)| (PartitionIndex(*partition), published(*end)))
            .collect(),
        ..ManifestContent::empty(TOPIC)
    }
}

fn batch(sequence: i32, base: i64) -> ProducerBatch {
    let base_sequence = Sequence::new(sequence).expect("not negative");
    ProducerBatch {
        base_sequence,
        last_sequence: base_sequence.plus(4),
        base_offset: offset(base),
        last_offset: offset(base + 4),
        max_timestamp: base,
    }
}

fn summary(id: i64, epoch: i16, batches: &[(i32, i64)]) -> ProducerSummary {
    let batches = batches.iter().map(|(seq, base)| batch(*seq, *base));
    ProducerSummary {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        batches: batches.collect(),
    }
}

fn encoded(content: &ManifestContent) -> Bytes {
    content.encode().expect("encodes").chunks.concat().into()
}

#[test]
fn offsets_are_found_over_files_and_gaps() {
    let tables = vec![
        table(1, vec![span(0, 10, 20), span(3, 0, 5)]),
        table(2, vec![span(0, 0, 10)]),
        table(3, vec![span(0, 30, 35)]),
    ];
    let manifest = Manifest::new(content(tables, &[(0, 40), (3, 5)])).expect("well formed");
    let found = |partition, from| {
        let spans = manifest.spans_from(PartitionIndex(partition), offset(from));
        let bases = spans.map(|found| match found.holder {
            Holder::Table(table) => (table.tail_crc, found.span.base_offset.get()),
            Holder::Leaf(leaf) => panic!("{leaf:?}"),
        });
        bases.collect::<Vec<_>>()
    };
    assert_eq!(found(0, 0), [(2, 0), (1, 10), (3, 30)]);
    assert_eq!(found(0, 19), [(1, 10), (3, 30)]);
    assert_eq!(found(0, 20), [(3, 30)], "a gap leads to what follows");
    assert_eq!(found(0, 35), []);
    assert_eq!(found(3, 4), [(1, 0)]);
    assert_eq!(found(1, 0), []);
    assert_eq!(manifest.published_end(PartitionIndex(0)), offset(40));
    assert_eq!(manifest.published_end(PartitionIndex(9)), Offset::ZERO);
    let shares = [0, 3].map(|partition| manifest.stored_bytes(PartitionIndex(partition)));
    assert_eq!(shares, [666 + 1_000 + 1_000, 333]);
}

#[test]
fn contradictions_are_refused() {
    let overlap = vec![
        table(1, vec![span(0, 0, 11)]),
        table(2, vec![span(0, 10, 20)]),
    ];
    assert!(Manifest::new(content(overlap, &[(0, 20)])).is_err());
    let beyond = vec![table(1, vec![span(0, 0, 11)])];
    assert!(Manifest::new(content(beyond.clone(), &[(0, 10)])).is_err());
    assert!(Manifest::new(content(beyond, &[(0, 11)])).is_ok());
    let empty = vec![table(1, vec![span(0, 5, 5)])];
    assert!(Manifest::new(content(empty, &[(0, 10)])).is_err());
}

#[test]
fn what_is_clean_has_to_make_sense() {
    let mark = |at, cleaned_ms| TombstoneMark {
        next_offset: offset(at),
        cleaned_ms,
    };
    let check = |clean: CleanState| {
        let published = PublishedPartition {
            clean,
            ..published(20)
        };
        let content = ManifestContent {
            partitions: [(PartitionIndex(0), published)].into(),
            ..ManifestContent::empty(TOPIC)
        };
        let object = encoded(&content);
        Manifest::decode(&object).map(|(manifest, _)| assert_eq!(manifest.to_content(), content))
    };
    let clean = |next, tombstones| CleanState {
        next_offset: offset(next),
        removed_before: offset(next),
        raw_bytes: u64::MAX,
        dirty_since_ms: Some(u64::MAX),
        tombstones,
    };
    let removed = |before| CleanState {
        removed_before: offset(before),
        ..clean(10, vec![])
    };
    check(removed(20)).expect("sound");
    check(clean(20, vec![mark(3, i64::MIN), mark(20, i64::MAX)])).expect("sound");
    check(clean(20, vec![mark(3, 5), mark(4, 5)])).expect("sound");
    let many = |count: i64| (1..=count).map(|at| mark(1, at)).collect::<Vec<_>>();
    for wrong in [
        clean(21, vec![]),
        removed(21),
        clean(10, vec![mark(11, 0)]),
        clean(10, vec![mark(5, 0), mark(5, 1)]),
        clean(10, vec![mark(5, 1), mark(6, 0)]),
        clean(20, many(TOMBSTONE_MARKS_MAX as i64 + 1)),
    ] {
        check(wrong.clone()).expect_err(&format!("{wrong:?}"));
    }
}

#[test]
fn the_oldest_dirty_record_is_known() {
    let mut clean = CleanState::default();
    for timestamp in [i64::MIN, -1, 0] {
        clean.add_dirty(timestamp);
        assert_eq!(clean.dirty_since_ms, None);
    }
    clean.add_dirty(9);
    clean.add_dirty(7);
    clean.add_dirty(8);
    assert_eq!(clean.dirty_since_ms, Some(7));
}

#[test]
fn producers_are_remembered_as_a_leader_does() {
    let mut partition = PublishedPartition::default();
    partition.add_producers(&[summary(4, 0, &[(0, 0), (5, 5)])], 100);
    partition.add_producers(&[summary(2, 1, &[(0, 20)])], 150);
    let more = [(5, 5), (10, 30), (15, 35), (20, 40), (25, 45)];
    partition.add_producers(&[summary(4, 0, &more)], 200);
    let bases = |at: usize| {
        let batches = partition.producers[at].summary.batches.iter();
        batches.map(|b| b.base_offset.get()).collect::<Vec<_>>()
    };
    assert_eq!(bases(0), [20], "sorted by id");
    assert_eq!(bases(1), [5, 30, 35, 40, 45], "the last five, each once");
    assert_eq!(partition.producers[1].last_seen_ms, 200);
    partition.add_producers(&[summary(2, 0, &[(0, 60)])], 210);
    assert_eq!(
        partition.producers[0].last_seen_ms, 150,
        "an older epoch says nothing"
    );
    partition.add_producers(&[summary(2, 2, &[(0, 70)])], 220);
    assert_eq!(
        partition.producers[0].summary.producer_epoch,
        ProducerEpoch(2)
    );
    partition.forget_producers(210);
    assert_eq!(partition.producers.len(), 1);
}

prop_compose! {
    /// Three partitions, cut into spans with gaps, over some files.
    fn contents()(
        cuts in vec((0..3i32, 0..5i64, 1..9i64, 0..4usize), 0..12),
        producers in vec((0..9i64, 0..3i16, 0..100i32), 0..4),
        cleaned in vec((0..3i32, 0..40i64, -5..50i64, 0..9u64), 0..5),
    ) -> ManifestContent {
        let mut ends = [0i64; 3];
        let mut files: [BTreeMap<i32, SpanEntry>; 4] = Default::default();
        for (partition, gap, length, file) in cuts {
            let end = &mut ends[partition as usize];
            let (base, next) = (*end + gap, *end + gap + length);
            if let Entry::Vacant(free) = files[file].entry(partition) {
                free.insert(span(partition, base, next));
                *end = next;
            }
        }
        let tables = files.into_iter().enumerate().filter(|(_, spans)| !spans.is_empty());
        let tables = tables.map(|(number, spans)| table(number as u128, spans.into_values().collect()));
        let ends: Vec<_> = (0..).zip(ends).collect();
        let mut content = content(tables.collect(), &ends);
        for (id, epoch, sequence) in producers {
            let partition = content.partitions.get_mut(&PartitionIndex((id % 3) as i32));
            let summary = summary(id, epoch, &[(sequence, i64::from(sequence))]);
            partition.expect("there").add_producers(&[summary], id);
        }
        for (partition, further, later_ms, bytes) in cleaned {
            let published = content.partitions.get_mut(&PartitionIndex(partition)).expect("there");
            let clean = &mut published.clean;
            let next_offset = offset(clean.next_offset.get() + further).min(published.next_offset);
            if next_offset > clean.next_offset {
                let last = clean.tombstones.last().map_or(i64::MIN, |mark| mark.cleaned_ms);
                clean.tombstones.push(TombstoneMark { next_offset, cleaned_ms: last.max(later_ms) });
            }
            (clean.next_offset, clean.raw_bytes) = (next_offset, bytes);
            let removed = offset(next_offset.get() + bytes as i64);
            clean.removed_before = removed.min(published.next_offset);
            clean.add_dirty(later_ms);
        }
        content
    }
}

proptest! {
    #[test]
    fn manifests_round_trip(content in contents()) {
        let object = content.encode().expect("encodes");
        let index_crc = object.index_crc;
        let (manifest, crc) = Manifest::decode(&object.chunks.concat().into()).expect("decodes");
        prop_assert_eq!(crc, index_crc);
        prop_assert_eq!(manifest.to_content(), content);
    }

    #[test]
    fn any_flipped_bit_behind_the_header_is_found(content in contents(), at: prop::sample::Index, bits in 1..=255u8) {
        let mut bytes = encoded(&content).to_vec();
        let header = crate::parted::PARTED_HEADER_BYTES;
        let at = header + at.index(bytes.len() - header);
        bytes[at] ^= bits;
        prop_assert!(Manifest::decode(&bytes.into()).is_err());
    }

    #[test]
    fn random_items_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let mut content = ManifestContent::empty(TOPIC);
        let mut reader = crate::reader::Reader::new(&bytes, "x");
        while codec::decode_item(&mut reader, &mut content).is_ok() {}
        let _ = Manifest::new(content);
        let _ = Manifest::decode(&bytes.into());
    }
}

//! Files of every format version ever written, kept under `testdata/`: they must decode as they did
//! and, where no compressor is involved, encode to the same bytes. A change that breaks this breaks
//! what users have stored: it needs a new version, with this one still read.
//!
//! A new version adds files; existing ones are never changed. `GOLDEN_WRITE=1 cargo test -p
//! alluvium-segment --test golden` writes those that are missing.

use std::path::{Path, PathBuf};

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_segment::fold_object::{FoldBuilder, FoldIndex, FoldedCommit};
use alluvium_segment::footer::{BlockEncoding, Footer, ProducerBatch, ProducerSummary};
use alluvium_segment::manifest::{
    CleanState, Leaf, LeafEntry, Manifest, ManifestContent, PublishedPartition, PublishedProducer,
    SpanEntry, TableEntry, TombstoneMark,
};
use alluvium_segment::object_key::{ObjectKey, SegmentName, TableName};
use alluvium_segment::record_batch::{
    BatchBuilder, BatchHeader, Codec, DecodeLimits, NO_HEADERS, RecordHeader, StoredBatch,
    check_crc, check_records, records, split,
};
use alluvium_segment::segment_object::{
    self, EncodeOptions, EncodedSegment, SegmentEntry, SegmentHeader,
};
use alluvium_segment::snapshot_object::{Snapshot, SnapshotBuilder, SnapshotHead};
use alluvium_segment::wal_frame::{
    self, FRAME_HEADER_BYTES, FrameHeader, WalFileHeader, padding_bytes,
};
use bytes::Bytes;
use uuid::Uuid;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

/// The file's bytes. `fresh` is what today's code would write, for files that do not exist yet.
fn golden(name: &str, fresh: &[u8]) -> Bytes {
    let path = path(name);
    if std::env::var_os("GOLDEN_WRITE").is_some() && !path.exists() {
        std::fs::write(&path, fresh).expect("testdata is writable");
    }
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .into()
}

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The records that `KafkaBatches.java` writes too.
fn fill(builder: &mut BatchBuilder) {
    let large = vec![b'x'; 100_000];
    let headers: [Header<'_>; 3] = [(b"h", Some(b"1")), (b"h", Some(b"2")), (b"null", None)];
    builder.push(
        1_700_000_000_000,
        Some(b"key-0"),
        Some(b"value-0"),
        NO_HEADERS,
    );
    builder.push(1_700_000_000_007, None, Some(b"no key"), &headers);
    builder.push(1_699_999_999_999, Some(b"tombstone"), None, NO_HEADERS);
    builder.push(1_700_000_000_003, Some(b""), Some(&large), NO_HEADERS);
}

fn batch(codec: Codec) -> Bytes {
    let sequence = Sequence::new(2_147_483_646).expect("not negative");
    let mut builder = BatchBuilder::new(codec)
        .base_offset(offset(4711))
        .leader_epoch(LeaderEpoch(9))
        .producer(ProducerId(1234), ProducerEpoch(5), sequence);
    fill(&mut builder);
    builder.build().expect("small")
}

fn check_batch(raw: &Bytes, codec: Codec) {
    check_crc(raw).expect("checksum");
    let (header, bytes) = split(raw).next().expect("one").expect("valid");
    assert_eq!(bytes.len(), raw.len());
    let limits = DecodeLimits::default();
    let summary = check_records(&header, raw, &limits).expect("consistent");
    assert_eq!(
        (summary.max_timestamp, summary.max_timestamp_offset_delta),
        (1_700_000_000_007, 1)
    );
    assert_eq!((summary.record_count, summary.keyless_count), (4, 1));
    assert_eq!(header.max_timestamp, 1_700_000_000_007);
    assert_eq!(header.attributes.codec(), Ok(codec));
    let producer = header.producer().expect("idempotent");
    assert_eq!(
        (producer.producer_id, producer.producer_epoch),
        (ProducerId(1234), ProducerEpoch(5))
    );
    assert_eq!(
        (producer.base_sequence.get(), producer.last_sequence.get()),
        (2_147_483_646, 1)
    );
    let records: Vec<_> = records(raw, &limits)
        .expect("opens")
        .map(|record| record.expect("valid"))
        .collect();
    let offsets: Vec<_> = records.iter().map(|record| record.offset.get()).collect();
    assert_eq!(offsets, [4711, 4712, 4713, 4714]);
    let timestamps: Vec<_> = records
        .iter()
        .map(|record| record.timestamp - 1_700_000_000_000)
        .collect();
    assert_eq!(timestamps, [0, 7, -1, 3]);
    assert_eq!(records[0].key.as_deref(), Some(&b"key-0"[..]));
    assert_eq!(
        (records[1].key.as_deref(), records[1].value.as_deref()),
        (None, Some(&b"no key"[..]))
    );
    assert_eq!(
        (records[2].key.as_deref(), records[2].value.as_deref()),
        (Some(&b"tombstone"[..]), None)
    );
    assert_eq!(records[3].key.as_deref(), Some(&b""[..]));
    assert_eq!(records[3].value.as_deref(), Some(&[b'x'; 100_000][..]));
    let header = |key: &'static [u8], value: Option<&'static [u8]>| RecordHeader {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    };
    let expected = [
        header(b"h", Some(b"1")),
        header(b"h", Some(b"2")),
        header(b"null", None),
    ];
    assert_eq!(records[1].headers, expected);
}

#[test]
fn batches_written_by_kafka_are_read() {
    for codec in Codec::ALL {
        let raw = std::fs::read(path(&format!("record_batch/kafka-{codec}.bin")));
        check_batch(&raw.expect("written by KafkaBatches.java").into(), codec);
    }
}

#[test]
fn batches_of_our_own_are_read_and_equal_kafkas() {
    for codec in Codec::ALL {
        let raw = golden(&format!("record_batch/alluvium-{codec}.bin"), &batch(codec));
        check_batch(&raw, codec);
    }
    let uncompressed = std::fs::read(path("record_batch/kafka-none.bin")).expect("there");
    assert_eq!(batch(Codec::None), uncompressed);
}

fn tp(topic: u128, partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(topic)), PartitionIndex(partition))
}

fn entry(tp: TopicPartition, base: i64, epoch: i32, codec: Codec, values: &[&str]) -> SegmentEntry {
    let sequence = Sequence::new(base as i32).expect("small");
    let mut builder =
        BatchBuilder::new(codec).producer(ProducerId(1000), ProducerEpoch(1), sequence);
    for value in values {
        builder.push(
            1_700_000_000_000 + base,
            Some(b"key"),
            Some(value.as_bytes()),
            NO_HEADERS,
        );
    }
    let raw = builder.build().expect("small");
    let header = BatchHeader::decode(&raw).expect("valid");
    let batch = StoredBatch::stamp(raw, &header, offset(base), LeaderEpoch(epoch));
    let batch = batch.expect("fits");
    SegmentEntry { tp, batch }
}

fn segment(options: &EncodeOptions) -> EncodedSegment {
    let header = SegmentHeader {
        broker_id: BrokerId(7),
        broker_epoch: BrokerEpoch(123_456),
        created_ms: 1_700_000_000_500,
    };
    let text = "a line that repeats itself, ".repeat(40);
    let entries = vec![
        entry(tp(2, 0), 10, 3, Codec::None, &[&text, &text]),
        entry(tp(1, 4), 1_000_000, 1, Codec::None, &["one", "two"]),
        entry(tp(2, 0), 12, 4, Codec::None, &["three"]),
        entry(tp(1, 0), 0, 0, Codec::None, &[&text]),
        entry(tp(1, 4), 1_000_002, 1, Codec::None, &["four"]),
    ];
    segment_object::encode(&header, entries, options).expect("contiguous")
}

/// Every block decodes to the batches that it says it has.
fn check_blocks(object: &Bytes, footer: &Footer) {
    for block in footer.partitions.iter().flat_map(|span| &span.blocks) {
        let start = block.position as usize;
        let stored = object.slice(start..start + block.stored_length as usize);
        let raw = segment_object::decode_block(block, stored).expect("valid");
        let batches: Vec<_> = split(&raw)
            .map(|batch| StoredBatch::from_stored(batch.expect("valid").1).expect("valid"))
            .collect();
        assert_eq!(batches.len(), block.batch_count as usize);
        assert_eq!(batches[0].base_offset(), block.base_offset);
        assert_eq!(batches[batches.len() - 1].next_offset(), block.next_offset);
        assert!(
            batches
                .iter()
                .all(|batch| check_crc(&batch.to_bytes()).is_ok())
        );
    }
}

fn check_segment(name: &str, encoded: &EncodedSegment) -> (Bytes, Footer) {
    let object = golden(name, &encoded.chunks.concat());
    let footer = Footer::decode(&object).expect("valid");
    assert_eq!(segment_object::decode_header(&object), Ok(footer.header));
    assert_eq!(footer.header, encoded.footer.header);
    let (again, _) = footer.encode().expect("valid");
    assert!(
        object.ends_with(&again),
        "the footer encodes to other bytes"
    );
    check_blocks(&object, &footer);
    (object, footer)
}

#[test]
fn segments_of_version_1() {
    let options = EncodeOptions {
        zstd_level: None,
        ..EncodeOptions::default()
    };
    let encoded = segment(&options);
    let (object, footer) = check_segment("segment/v1-raw.seg", &encoded);
    assert_eq!(footer, encoded.footer);
    assert_eq!(object, encoded.chunks.concat());
    let span = footer.partition(tp(2, 0)).expect("there");
    assert_eq!(
        span.leader_epochs,
        [(LeaderEpoch(3), offset(10)), (LeaderEpoch(4), offset(12))]
    );
    assert_eq!(span.producers[0].batches.len(), 2);
}

/// The compressed bytes may change with the library; what is stored must stay readable.
#[test]
fn segments_of_version_1_with_compressed_blocks() {
    let (_, footer) = check_segment("segment/v1-zstd.seg", &segment(&EncodeOptions::default()));
    let blocks = footer.partitions.iter().flat_map(|span| &span.blocks);
    assert!(
        blocks
            .clone()
            .any(|block| block.encoding == BlockEncoding::Zstd)
    );
    assert_eq!(blocks.map(|block| block.batch_count).sum::<u32>(), 5);
}

#[test]
fn wal_files_of_version_1() {
    let header = WalFileHeader {
        salt: 0x0123_4567_89ab_cdef,
        file_bytes: 8192,
    };
    let mut fresh = header.encode();
    let SegmentEntry { tp, batch } = entry(tp(1, 4), 77, 2, Codec::None, &["a value"]);
    let frame = FrameHeader {
        broker_epoch: BrokerEpoch(42),
        sequence: 1001,
        synced_position: 4096,
        tp,
        batch_bytes: batch.size_bytes() as u32,
    };
    fresh.extend_from_slice(&wal_frame::encode_head(header.salt, &frame, &batch));
    fresh.extend_from_slice(batch.body());
    fresh.resize(fresh.len() + padding_bytes(batch.size_bytes()), 0);
    let file = golden("wal/v1.bin", &fresh);
    assert_eq!(file, fresh);
    assert_eq!(WalFileHeader::decode(&file), Ok(header));
    let stored = &file[wal_frame::FILE_HEADER_BYTES..];
    assert_eq!(wal_frame::decode(header.salt, stored), Ok(frame));
    let stored = stored[FRAME_HEADER_BYTES..][..frame.batch_bytes as usize].to_vec();
    assert_eq!(StoredBatch::from_stored(stored.into()), Ok(batch));
}

/// The compressed bytes may change with the library; what is stored must stay readable.
#[test]
fn fold_objects_of_version_1() {
    let segment = segment(&EncodeOptions::default());
    let object = segment.chunks.concat();
    let footer_at = object.len() - segment.footer_length as usize;
    let commit = |id| FoldedCommit {
        object_key: ObjectKey::segment(&SegmentName {
            broker_id: BrokerId(7),
            broker_epoch: BrokerEpoch(123_456),
            id: Uuid::from_u128(id),
        }),
        size_bytes: segment.size_bytes,
        footer_crc: segment.footer_crc,
        footer: Bytes::copy_from_slice(&object[footer_at..]),
    };
    let commits = [commit(1), commit(2), commit(3)];
    let mut builder = FoldBuilder::new(BrokerId(7), BrokerEpoch(123_456), 41, 1_700_000_000_500);
    commits
        .iter()
        .for_each(|commit| builder.push(commit).expect("small"));
    let fresh = builder.finish().expect("small").chunks.concat();
    let file = golden("fold/v1.fold", &fresh);
    let index = FoldIndex::decode(&file).expect("valid");
    assert_eq!((index.first_seq, index.last_seq()), (41, 43));
    let read = index.open_all(&file).expect("valid");
    // Of a segment that was compressed by the library of the day.
    let (_, golden_footer) = check_segment("segment/v1-zstd.seg", &segment);
    let names = read
        .iter()
        .map(|(seq, commit)| (*seq, commit.object_key.clone()));
    let expected = (41..).zip(commits.iter().map(|commit| commit.object_key.clone()));
    assert!(names.eq(expected));
    for (_, commit) in &read {
        assert_eq!(commit.decode_footer().expect("valid"), golden_footer);
    }
}

#[test]
fn metadata_snapshots_of_version_1() {
    let head = SnapshotHead {
        cluster_id: Uuid::from_u128(0xc1),
        revision: 1_000_000,
        created_ms: 1_700_000_000_500,
        sessions: vec![(BrokerId(7), BrokerEpoch(123_456))],
    };
    let keys: Vec<(Bytes, Bytes)> = vec![
        ("cluster".into(), "the record".into()),
        ("topics/t".into(), "a record ".repeat(40).into()),
    ];
    let mut builder = SnapshotBuilder::new(head.clone());
    for (key, value) in &keys {
        builder.push(key, value).expect("small");
    }
    let fresh = builder.finish().expect("small").chunks.concat();
    let file = golden("metadata/v1.snap", &fresh);
    assert_eq!(Snapshot::decode(&file), Ok(Snapshot { head, keys }));
}

fn span(partition: i32, base: i64, next: i64) -> SpanEntry {
    SpanEntry {
        partition: PartitionIndex(partition),
        base_offset: offset(base),
        next_offset: offset(next),
        records: next.abs_diff(base) - 1,
        raw_bytes: 700 * next.abs_diff(base),
        min_timestamp: 1_700_000_000_000 - base,
        max_timestamp: 1_700_000_000_000 + next,
    }
}

fn table(number: u128, spans: Vec<SpanEntry>) -> TableEntry {
    TableEntry {
        object_key: ObjectKey::table(&TableName {
            topic_id: TopicId(Uuid::from_u128(2)),
            written: SegmentName {
                broker_id: BrokerId(7),
                broker_epoch: BrokerEpoch(123_456),
                id: Uuid::from_u128(number),
            },
        }),
        size_bytes: 268_435_456,
        tail_length: 70_000,
        tail_crc: 0x0123_4567,
        spans,
    }
}

/// Two partitions, of which one is cleaned and has a producer.
fn manifest_content() -> ManifestContent {
    let cleaned = PublishedPartition {
        next_offset: offset(4_000_000_000),
        producers: vec![PublishedProducer {
            summary: ProducerSummary {
                producer_id: ProducerId(1000),
                producer_epoch: ProducerEpoch(1),
                batches: vec![ProducerBatch {
                    base_sequence: Sequence::ZERO,
                    last_sequence: Sequence::new(4).expect("not negative"),
                    base_offset: offset(3_999_999_990),
                    last_offset: offset(3_999_999_994),
                    max_timestamp: 1_700_000_000_000,
                }],
            },
            last_seen_ms: 1_700_000_000_400,
        }],
        clean: CleanState {
            next_offset: offset(1_000_000),
            removed_before: offset(2_000_000),
            raw_bytes: 123_456_789,
            dirty_since_ms: Some(1_699_999_000_000),
            tombstones: vec![TombstoneMark {
                next_offset: offset(900_000),
                cleaned_ms: 1_699_000_000_000,
            }],
        },
    };
    let plain = PublishedPartition {
        next_offset: offset(5_000),
        ..PublishedPartition::default()
    };
    ManifestContent {
        version: 41,
        created_ms: 1_700_000_000_500,
        tables: vec![
            table(3, vec![span(0, 0, 1_000_000), span(4, 0, 4_000)]),
            table(4, vec![span(0, 1_000_000, 4_000_000_000)]),
            table(5, vec![span(4, 4_000, 5_000)]),
        ],
        partitions: [(PartitionIndex(0), cleaned), (PartitionIndex(4), plain)].into(),
        ..ManifestContent::empty(TopicId(Uuid::from_u128(2)))
    }
}

#[test]
fn manifests_of_version_1() {
    let fresh = manifest_content().encode().expect("small").chunks.concat();
    let file = golden("manifest/v1.manifest", &fresh);
    let (manifest, _) = Manifest::decode(&file).expect("valid");
    assert_eq!(manifest.to_content(), manifest_content());
}

/// The compressed bytes may change with the library; what is stored must stay readable.
#[test]
fn manifests_of_version_2_and_their_leaves_of_version_1() {
    let topic_id = TopicId(Uuid::from_u128(2));
    let mut expected = manifest_content();
    let (older, newer) = expected.tables.split_at(2);
    let older = older.iter().cloned().map(std::sync::Arc::new).collect();
    let leaf = Leaf::new(topic_id, older).expect("valid");
    let object = leaf.encode().expect("small");
    let file = golden("manifest/v1.leaf", &object.chunks.concat());
    let (found, index_crc) = Leaf::decode(&file).expect("valid");
    assert_eq!(found, leaf);

    let object_key = ObjectKey::leaf(&TableName {
        topic_id,
        written: SegmentName {
            broker_id: BrokerId(7),
            broker_epoch: BrokerEpoch(123_456),
            id: Uuid::from_u128(9),
        },
    });
    let entry = LeafEntry {
        size_bytes: file.len() as u64,
        index_crc,
        ..LeafEntry::new(object_key, &object, &leaf)
    };
    expected.tables = newer.to_vec();
    expected.leaves = vec![entry];
    let fresh = expected.encode().expect("small").chunks.concat();
    let file = golden("manifest/v2.manifest", &fresh);
    let (manifest, _) = Manifest::decode(&file).expect("valid");
    assert_eq!(manifest.to_content(), expected);
}

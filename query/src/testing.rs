//! A log with known content in any mix of tiers, for the tests of this crate.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::{EpochHistory, Logs, PartitionLog};
use alluvium_cache::metrics::{SegmentCacheMetrics, TailMetrics};
use alluvium_cache::segment_cache::{SegmentCache, SegmentCacheConfig};
use alluvium_cache::tail::{SpilledBatch, TailBudget, TailStart};
use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::object_store::fault::{FaultPlan, FaultStore};
use alluvium_common::offset::Offset;
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_segment::manifest::{
    Leaf, LeafEntry, Manifest, ManifestContent, PublishedPartition, SpanEntry, TableEntry,
};
use alluvium_segment::object_key::{ObjectKey, SegmentName, TableName};
use alluvium_segment::record_batch::{
    BatchBuilder, BatchHeader, Codec, DecodeLimits, NO_HEADERS, StoredBatch, TimestampType,
};
use alluvium_segment::segment_index::{SegmentIndex, SegmentRef};
use alluvium_segment::segment_object::{EncodeOptions, SegmentEntry, SegmentHeader, encode};
use alluvium_table::{TableOptions, TableWriter};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::guard::LeaderGuard;
use crate::log_reader::{LogRead, LogReader};
use crate::metrics::ReadMetrics;

/// The epoch under which test partitions are led.
pub(crate) const EPOCH: LeaderEpoch = LeaderEpoch(5);

pub(crate) fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

pub(crate) fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(partition))
}

/// How to make a batch.
#[derive(Debug, Clone)]
pub(crate) struct BatchSpec {
    pub(crate) codec: Codec,
    pub(crate) timestamps: Vec<i64>,
    pub(crate) value_bytes: usize,
    pub(crate) log_append_time: bool,
}

impl BatchSpec {
    pub(crate) fn of(timestamps: impl IntoIterator<Item = i64>) -> Self {
        Self {
            codec: Codec::None,
            timestamps: timestamps.into_iter().collect(),
            value_bytes: 100,
            log_append_time: false,
        }
    }
}

struct FakeWal(StoredBatch);

impl SpilledBatch for FakeWal {
    fn read(&self) -> io::Result<StoredBatch> {
        StoredBatch::from_stored(self.0.to_bytes()).map_err(io::Error::other)
    }
    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

/// One partition and what it should contain.
pub(crate) struct TestLog {
    pub(crate) log: Arc<PartitionLog>,
    pub(crate) batches: Vec<StoredBatch>,
    uploaded: usize,
    published: usize,
    manifest: ManifestContent,
}

/// A session whose end tests decide.
#[derive(Debug)]
pub(crate) struct FakeGuard(Mutex<Option<Instant>>);

impl FakeGuard {
    /// Proved for longer than any test lasts.
    fn new() -> Arc<Self> {
        let long = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        Arc::new(Self(Mutex::new(Some(long))))
    }

    pub(crate) fn prove_until(&self, until: Option<Instant>) {
        *self.0.lock() = until;
    }
}

impl LeaderGuard for FakeGuard {
    fn proved_until(&self) -> Option<Instant> {
        *self.0.lock()
    }
}

/// Partitions, an object store, a cache and a reader.
pub(crate) struct TestBroker {
    pub(crate) logs: Arc<Logs>,
    pub(crate) reader: Arc<LogReader>,
    pub(crate) cache_metrics: SegmentCacheMetrics,
    pub(crate) faults: Arc<FaultPlan>,
    pub(crate) guard: Arc<FakeGuard>,
    store: Arc<dyn ObjectStore>,
    pub(crate) budget: Arc<TailBudget>,
    random: Arc<SeededRandom>,
}

impl TestBroker {
    pub(crate) async fn new(tail_bytes: usize) -> Self {
        let faults = FaultPlan::new(1);
        let store: Arc<dyn ObjectStore> = Arc::new(FaultStore::new(
            Arc::new(InMemory::new()),
            Arc::clone(&faults),
        ));
        let config = SegmentCacheConfig {
            page_bytes: 64 << 10,
            // Eight pages: little, so that tests notice pages that leave too early.
            page_memory_bytes: 512 << 10,
            block_memory_bytes: 128 << 10,
            ..SegmentCacheConfig::default()
        };
        let cache_metrics = SegmentCacheMetrics::default();
        let cache = SegmentCache::open(config, Arc::clone(&store), cache_metrics.clone()).await;
        let logs = Logs::new();
        let guard = FakeGuard::new();
        let watched: Arc<dyn LeaderGuard> = guard.clone();
        Self {
            reader: LogReader::new(Arc::clone(&logs), cache, watched, ReadMetrics::default()),
            logs,
            guard,
            cache_metrics,
            faults,
            store,
            budget: TailBudget::new(tail_bytes, TailMetrics::default()),
            random: SeededRandom::new(3),
        }
    }

    /// An empty partition.
    pub(crate) fn open(&self, partition: i32) -> TestLog {
        let log = self.follow(partition);
        self.logs.insert(Arc::clone(&log.log));
        log
    }

    /// An empty partition that is led elsewhere.
    pub(crate) fn follow(&self, partition: i32) -> TestLog {
        let start = TailStart {
            log_start: offset(0),
            next_offset: offset(0),
            leader_epoch: EPOCH,
        };
        let epochs = EpochHistory::new([(EPOCH, offset(0))]);
        let index = SegmentIndex::new(offset(0));
        let log = PartitionLog::open(tp(partition), start, index, epochs, &self.budget);
        TestLog {
            log,
            batches: Vec::new(),
            uploaded: 0,
            published: 0,
            manifest: ManifestContent::empty(tp(partition).topic_id),
        }
    }

    /// Appends a batch and makes it readable.
    pub(crate) fn append(&self, log: &mut TestLog, spec: &BatchSpec, spill: bool) {
        self.append_hidden(log, spec, spill);
        log.log.tail.advance_high_watermark(log.end());
    }

    /// Appends a batch.
    pub(crate) fn append_hidden(&self, log: &mut TestLog, spec: &BatchSpec, spill: bool) {
        let batch = self.batch(spec, log.end());
        let spill: Option<Arc<dyn SpilledBatch>> = if spill {
            Some(Arc::new(FakeWal(batch.clone())))
        } else {
            None
        };
        log.log.tail.append(batch.clone(), spill).expect("in order");
        log.batches.push(batch);
    }

    fn batch(&self, spec: &BatchSpec, base: Offset) -> StoredBatch {
        let mut builder = BatchBuilder::new(spec.codec);
        if spec.log_append_time {
            builder = builder.timestamp_type(TimestampType::LogAppendTime);
        }
        for timestamp in &spec.timestamps {
            let mut state = self.random.next_u64() | 1;
            let value: Vec<u8> = (0..spec.value_bytes)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 59) as u8
                })
                .collect();
            builder.push(*timestamp, None, Some(&value), NO_HEADERS);
        }
        let raw = builder.build().expect("a small batch");
        let header = BatchHeader::decode(&raw).expect("just built");
        StoredBatch::stamp(raw, &header, base, EPOCH).expect("fits")
    }

    /// Uploads what is not uploaded yet of these partitions, as one segment.
    pub(crate) async fn upload(&self, logs: &mut [&mut TestLog]) {
        let mut entries = Vec::new();
        for log in logs.iter_mut() {
            let tp = log.log.tp;
            let new = log.batches[log.uploaded..].iter().cloned();
            entries.extend(new.map(|batch| SegmentEntry { tp, batch }));
            log.uploaded = log.batches.len();
        }
        if entries.is_empty() {
            return;
        }
        let header = SegmentHeader {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(1),
            created_ms: 0,
        };
        let options = EncodeOptions {
            block_bytes_target: 8 << 10,
            ..EncodeOptions::default()
        };
        let encoded = encode(&header, entries, &options).expect("in order");
        let object_key = ObjectKey::segment(&SegmentName {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(1),
            id: self.random.uuid(),
        });
        let payload: PutPayload = encoded.chunks.iter().cloned().collect();
        let path = Path::from(object_key.as_str());
        self.store.put(&path, payload).await.expect("stored");
        let segment = Arc::new(SegmentRef {
            object_key,
            size_bytes: encoded.size_bytes,
        });
        for log in logs {
            if let Some(span) = encoded.footer.partition(log.log.tp) {
                log.log
                    .add_segment(Arc::clone(&segment), span)
                    .expect("contiguous");
            }
        }
    }
}

impl TestBroker {
    /// Publishes what is uploaded and not published yet, as one table file of small stripes. Returns its manifest.
    pub(crate) async fn publish(&self, log: &mut TestLog) -> Arc<Manifest> {
        let new = &log.batches[log.published..log.uploaded];
        log.published = log.uploaded;
        if let (Some(first), Some(last)) = (new.first(), new.last()) {
            let span = (first.base_offset(), last.next_offset());
            let entry = self.put_table(log.log.tp.partition, span, new).await;
            let published = PublishedPartition {
                next_offset: span.1,
                ..PublishedPartition::default()
            };
            log.manifest.tables.push(entry);
            log.manifest
                .partitions
                .insert(log.log.tp.partition, published);
        }
        log.manifest.version += 1;
        let manifest = Arc::new(Manifest::new(log.manifest.clone()).expect("well formed"));
        log.log.set_published(&manifest);
        manifest
    }

    /// Moves the first `count` table files of the manifest to a leaf, as far as there are so many. Returns the leaf's name.
    pub(crate) async fn move_to_leaf(&self, log: &mut TestLog, count: usize) -> Option<ObjectKey> {
        let count = count.min(log.manifest.tables.len());
        if count == 0 {
            return None;
        }
        let tables = log.manifest.tables.drain(..count).map(Arc::new);
        let leaf = Leaf::new(tp(0).topic_id, tables.collect()).expect("well formed");
        let object = leaf.encode().expect("encodes");
        let object_key = ObjectKey::leaf(&self.table_name());
        let entry = LeafEntry::new(object_key.clone(), &object, &leaf);
        let payload: PutPayload = object.chunks.into_iter().collect();
        let path = Path::from(object_key.as_str());
        self.store.put(&path, payload).await.expect("stored");
        log.manifest.leaves.push(entry);
        log.manifest.version += 1;
        let manifest = Arc::new(Manifest::new(log.manifest.clone()).expect("well formed"));
        log.log.set_published(&manifest);
        Some(object_key)
    }

    fn table_name(&self) -> TableName {
        TableName {
            topic_id: tp(0).topic_id,
            written: SegmentName {
                broker_id: BrokerId(1),
                broker_epoch: BrokerEpoch(1),
                id: self.random.uuid(),
            },
        }
    }

    async fn put_table(
        &self,
        partition: PartitionIndex,
        (base_offset, next_offset): (Offset, Offset),
        batches: &[StoredBatch],
    ) -> TableEntry {
        let options = TableOptions {
            stripe_bytes: 2_000,
            row_group_bytes: 10_000,
            ..TableOptions::default()
        };
        let mut writer = TableWriter::new(&options).expect("options");
        writer
            .begin_partition(partition, base_offset)
            .expect("the first");
        for batch in batches {
            writer
                .push_batch(batch, base_offset, &DecodeLimits::default())
                .expect("in order");
        }
        writer.end_partition(next_offset).expect("ends");
        let table = writer.finish().expect("finished");
        let object_key = ObjectKey::table(&self.table_name());
        let path = Path::from(object_key.as_str());
        let payload: PutPayload = table.chunks.into_iter().collect();
        self.store.put(&path, payload).await.expect("stored");
        let spans = table.spans.iter().map(|span| SpanEntry {
            partition: span.partition,
            base_offset: span.base_offset,
            next_offset: span.next_offset,
            records: span.records,
            raw_bytes: span.raw_bytes,
            min_timestamp: span.min_timestamp,
            max_timestamp: span.max_timestamp,
        });
        TableEntry {
            object_key,
            size_bytes: table.table.size_bytes,
            tail_length: table.table.tail_length,
            tail_crc: table.table.tail_crc,
            spans: spans.collect(),
        }
    }
}

impl TestLog {
    /// The log end.
    pub(crate) fn end(&self) -> Offset {
        self.batches
            .last()
            .map_or(offset(0), StoredBatch::next_offset)
    }

    /// Checks that what was read is a run of this log's batches, the first of which contains `from`.
    /// Returns their number.
    pub(crate) fn check(&self, from: Offset, read: &LogRead) -> usize {
        let joined: Bytes = read.records.concat().into();
        assert_eq!(joined.len(), read.size_bytes);
        let first = self
            .batches
            .partition_point(|batch| batch.next_offset() <= from);
        let mut rest = joined;
        let mut count = 0;
        while !rest.is_empty() {
            let expected = self.batches[first + count].to_bytes();
            assert!(rest.len() >= expected.len(), "a batch was cut");
            assert_eq!(
                rest.split_to(expected.len()),
                expected,
                "batch {}",
                first + count
            );
            count += 1;
        }
        let last = (first + count).checked_sub(1).filter(|_| count > 0);
        let next = last.map_or(from, |last| self.batches[last].next_offset());
        assert_eq!(read.next_offset, next);
        count
    }
}

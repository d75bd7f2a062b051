mod peers;

use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultPlan, FaultRule, FaultStore};
use alluvium_common::offset::Offset;
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_segment::object_key::SegmentName;
use alluvium_segment::record_batch::{BatchBuilder, BatchHeader, Codec, NO_HEADERS, StoredBatch};
use alluvium_segment::segment_object::{EncodeOptions, SegmentEntry, SegmentHeader, encode};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::*;

const PAGE: usize = 64 << 10;

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(partition))
}

fn config() -> SegmentCacheConfig {
    SegmentCacheConfig {
        page_bytes: PAGE,
        page_memory_bytes: 4 << 20,
        block_memory_bytes: 1 << 20,
        ..SegmentCacheConfig::default()
    }
}

/// A segment of `partitions` partitions with `batches` incompressible batches of 10 KiB each.
fn sealed(partitions: i32, batches: i64) -> EncodedSegment {
    let random = SeededRandom::new(7);
    let mut entries = Vec::new();
    for partition in 0..partitions {
        for base in 0..batches {
            let value: Vec<u8> = (0..10 << 7)
                .flat_map(|_| random.next_u64().to_le_bytes())
                .collect();
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(1000 + base, None, Some(&value), NO_HEADERS);
            let raw = builder.build().expect("a batch");
            let header = BatchHeader::decode(&raw).expect("just built");
            let batch = StoredBatch::stamp(raw, &header, offset(base), LeaderEpoch(0));
            entries.push(SegmentEntry {
                tp: tp(partition),
                batch: batch.expect("fits"),
            });
        }
    }
    let header = SegmentHeader {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(1),
        created_ms: 0,
    };
    let options = EncodeOptions {
        block_bytes_target: 30 << 10,
        ..EncodeOptions::default()
    };
    encode(&header, entries, &options).expect("in order")
}

struct Fixture {
    segment: Arc<SegmentRef>,
    encoded: EncodedSegment,
    faults: Arc<FaultPlan>,
    store: Arc<dyn ObjectStore>,
    memory: Arc<InMemory>,
    metrics: SegmentCacheMetrics,
}

impl Fixture {
    async fn new(encoded: EncodedSegment) -> Self {
        let object_key = ObjectKey::segment(&SegmentName {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(1),
            id: Uuid::from_u128(1),
        });
        let memory = Arc::new(InMemory::new());
        let payload: PutPayload = encoded.chunks.iter().cloned().collect();
        let path = Path::from(object_key.as_str());
        memory.put(&path, payload).await.expect("stored");
        let faults = FaultPlan::new(1);
        let store = FaultStore::new(Arc::clone(&memory) as _, Arc::clone(&faults));
        Self {
            segment: Arc::new(SegmentRef {
                object_key,
                size_bytes: encoded.size_bytes,
            }),
            encoded,
            faults,
            store: Arc::new(store),
            memory,
            metrics: SegmentCacheMetrics::default(),
        }
    }

    async fn open(&self, config: SegmentCacheConfig) -> SegmentCache {
        SegmentCache::open(config, Arc::clone(&self.store), self.metrics.clone()).await
    }

    fn blocks(&self, partition: i32) -> &[BlockEntry] {
        let span = self.encoded.footer.partition(tp(partition));
        &span.expect("in the segment").blocks
    }

    async fn read(&self, cache: &SegmentCache, partition: i32) {
        for entry in self.blocks(partition) {
            let block = cache.block(&self.segment, entry, ReadClass::Backfill).await;
            self.check(&block.expect("reads"), entry);
        }
    }

    fn check(&self, block: &Block, entry: &BlockEntry) {
        let (from, upto) = (entry.base_offset, entry.next_offset);
        let whole = block.slice(from, upto, usize::MAX, false).expect("all");
        assert_eq!(whole.next_offset, upto);
        assert_eq!(whole.bytes.len(), entry.raw_length as usize);
        let object: Vec<u8> = self.encoded.chunks.concat();
        let stored = &object[entry.position as usize..][..entry.stored_length as usize];
        assert_eq!(
            &whole.bytes[..],
            stored,
            "incompressible blocks are stored as they are"
        );
    }

    fn gets(&self) -> u64 {
        self.metrics.gets(ReadClass::Tail).get() + self.metrics.gets(ReadClass::Backfill).get()
    }
}

#[tokio::test]
async fn gets_follow_from_bytes_not_from_partitions_or_blocks() {
    for partitions in [1, 40] {
        let fixture = Fixture::new(sealed(partitions, i64::from(80 / partitions))).await;
        let cache = fixture.open(config()).await;
        for partition in 0..partitions {
            fixture.read(&cache, partition).await;
            fixture.read(&cache, partition).await;
        }
        let last = fixture.blocks(partitions - 1).last().expect("not empty");
        let end = last.position + u64::from(last.stored_length);
        assert_eq!(
            fixture.gets(),
            end.div_ceil(PAGE as u64),
            "{partitions} partitions"
        );
    }
}

#[tokio::test]
async fn readers_side_by_side_do_not_push_out_each_others_pages() {
    const PARTITIONS: i32 = 12;
    let fixture = Fixture::new(sealed(PARTITIONS, 20)).await;
    // Not all of the segment fits, and pages of the configured size would be too few.
    let cache = fixture.open(SegmentCacheConfig {
        page_bytes: 1 << 20,
        page_memory_bytes: 2 << 20,
        block_memory_bytes: 64 << 10,
        ..SegmentCacheConfig::default()
    });
    let cache = cache.await;
    for index in 0..fixture.blocks(0).len() {
        for partition in 0..PARTITIONS {
            let entry = &fixture.blocks(partition)[index];
            let block = cache
                .block(&fixture.segment, entry, ReadClass::Backfill)
                .await;
            fixture.check(&block.expect("reads"), entry);
        }
    }
    let pages = fixture.segment.size_bytes.div_ceil(PAGE as u64);
    let gets = fixture.gets();
    // Where one partition ends and the next begins, a page is wanted early by one and late by the other.
    let shared = PARTITIONS as u64;
    assert!(gets <= pages + shared, "{gets} GETs for {pages} pages");
}

#[tokio::test]
async fn many_readers_share_one_get_and_one_may_leave() {
    let fixture = Fixture::new(sealed(1, 3)).await;
    let cache = fixture.open(config()).await;
    let entry = fixture.blocks(0)[0];
    let read = || {
        let (cache, segment) = (cache.clone(), Arc::clone(&fixture.segment));
        async move { cache.block(&segment, &entry, ReadClass::Backfill).await }
    };
    // The first to ask gives up at once; what it began is still there for the others.
    drop(Box::pin(read()));
    {
        let first = read();
        tokio::pin!(first);
        assert!(futures::poll!(&mut first).is_pending());
    }
    let all = futures::future::join_all((0..64).map(|_| tokio::spawn(read()))).await;
    for block in all {
        fixture.check(&block.expect("no panic").expect("reads"), &entry);
    }
    assert_eq!(fixture.gets(), 1);
}

#[tokio::test]
async fn damage_on_the_way_is_read_again() {
    let fixture = Fixture::new(sealed(1, 3)).await;
    for fault in [Fault::FlipBit, Fault::CutBody(2000)] {
        let cache = fixture.open(config()).await;
        // Only blocks: a flipped bit elsewhere in the page would not matter.
        let fault = FaultRule::next(Operation::Get, 1, fault);
        fixture.faults.add(fault);
        fixture.read(&cache, 0).await;
    }
    assert_eq!(fixture.faults.injected(), 2);
}

#[tokio::test]
async fn damage_in_the_store_is_an_error_for_that_block_only() {
    let fixture = Fixture::new(sealed(1, 9)).await;
    let mut object = fixture.encoded.chunks.concat();
    let entry = fixture.blocks(0)[1];
    object[entry.position as usize + 100] ^= 1;
    let path = Path::from(fixture.segment.object_key.as_str());
    fixture
        .memory
        .put(&path, object.into())
        .await
        .expect("stored");
    let cache = fixture.open(config()).await;
    let blocks = fixture.blocks(0);
    for (index, entry) in blocks.iter().enumerate() {
        let read = cache.block(&fixture.segment, entry, ReadClass::Tail).await;
        match read {
            Ok(block) => fixture.check(&block, entry),
            Err(error) => {
                assert_eq!(index, 1, "{error}");
                assert!(
                    matches!(error, CacheError::Corrupt { position, .. } if position == entry.position)
                );
            }
        }
    }
    assert_eq!(
        fixture.metrics.damaged_blocks.get(),
        2,
        "read twice, then reported"
    );
}

#[tokio::test]
async fn missing_objects_and_failing_stores_are_told_apart() {
    use alluvium_common::error::ErrorKind;
    let fixture = Fixture::new(sealed(1, 1)).await;
    let cache = fixture.open(config()).await;
    let entry = fixture.blocks(0)[0];
    let refuse = Fault::Refuse {
        status: 503,
        code: "SlowDown",
    };
    fixture
        .faults
        .add(FaultRule::next(Operation::Get, 1, refuse));
    let read = cache.block(&fixture.segment, &entry, ReadClass::Tail).await;
    assert_eq!(read.expect_err("refused").kind(), ErrorKind::Retry);
    cache
        .block(&fixture.segment, &entry, ReadClass::Tail)
        .await
        .expect("errors are not kept");

    let path = Path::from(fixture.segment.object_key.as_str());
    fixture.memory.delete(&path).await.expect("deleted");
    let cache = fixture.open(config()).await;
    let read = cache.block(&fixture.segment, &entry, ReadClass::Tail).await;
    assert!(matches!(read, Err(CacheError::Missing { .. })));
}

#[tokio::test]
async fn a_sealed_segment_needs_no_get() {
    let fixture = Fixture::new(sealed(3, 9)).await;
    let cache = fixture.open(config()).await;
    cache.insert_segment(&fixture.segment.object_key, &fixture.encoded);
    for partition in 0..3 {
        fixture.read(&cache, partition).await;
    }
    assert_eq!(fixture.gets(), 0);
}

#[tokio::test]
async fn prefetched_pages_are_there_and_the_budget_bounds_them() {
    let fixture = Fixture::new(sealed(1, 60)).await;
    let cache = fixture.open(SegmentCacheConfig {
        backfill_gets_bytes: 3 * PAGE,
        ..config()
    });
    let cache = cache.await;
    let covered = cache.prefetch(
        &fixture.segment,
        0..fixture.segment.size_bytes,
        ReadClass::Backfill,
    );
    assert_eq!(covered, 3 * PAGE as u64, "what the budget allows at once");
    assert_eq!(fixture.metrics.prefetched_pages.get(), 3);
    fixture.read(&cache, 0).await;
    let end = fixture
        .blocks(0)
        .last()
        .map(|b| b.position + u64::from(b.stored_length));
    assert_eq!(
        fixture.gets(),
        end.expect("not empty").div_ceil(PAGE as u64)
    );
    assert_eq!(
        cache.prefetch(&fixture.segment, 0..1 << 40, ReadClass::Backfill),
        fixture.segment.size_bytes
    );
    assert_eq!(
        fixture.metrics.prefetched_pages.get(),
        3,
        "the rest was there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hanging_backfill_does_not_stop_tail_readers() {
    let fixture = Fixture::new(sealed(1, 60)).await;
    let cache = fixture.open(SegmentCacheConfig {
        backfill_gets_bytes: PAGE,
        ..config()
    });
    let cache = cache.await;
    fixture
        .faults
        .add(FaultRule::next(Operation::Get, 1, Fault::Hang));
    let blocks = fixture.blocks(0).to_vec();
    let far = cache.block(&fixture.segment, &blocks[0], ReadClass::Backfill);
    tokio::pin!(far);
    assert!(futures::poll!(&mut far).is_pending());
    tokio::task::yield_now().await;
    let last = blocks.last().expect("not empty");
    let near = cache.block(&fixture.segment, last, ReadClass::Tail).await;
    fixture.check(&near.expect("has a budget of its own"), last);
}

#[tokio::test]
async fn pages_survive_a_restart_on_disk_and_damage_there_is_repaired() {
    let fixture = Fixture::new(sealed(1, 40)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = || SegmentCacheConfig {
        disk: Some(DiskConfig {
            folder: folder.path().join("cache"),
            capacity_bytes: 256 << 20,
        }),
        ..config()
    };
    let cache = fixture.open(config()).await;
    assert!(cache.has_disk());
    fixture.read(&cache, 0).await;
    let gets = fixture.gets();
    cache.close().await;

    let cache = fixture.open(config()).await;
    fixture.read(&cache, 0).await;
    assert_eq!(fixture.gets(), gets, "all of it came from disk");
    assert!(fixture.metrics.disk_hits.get() > 0);
    cache.close().await;
    drop(cache);

    damage(&folder.path().join("cache"));
    let cache = fixture.open(config()).await;
    fixture.read(&cache, 0).await;
    assert!(fixture.gets() > gets, "damaged pages were fetched again");
}

/// Flips a byte in every 100 KiB of the first file that holds anything.
fn damage(folder: &std::path::Path) {
    for file in std::fs::read_dir(folder).expect("the cache's folder") {
        let path = file.expect("an entry").path();
        let mut bytes = std::fs::read(&path).expect("a file");
        if bytes[..1 << 20].iter().all(|byte| *byte == 0) {
            continue;
        }
        for at in (50_000..1 << 20).step_by(100_000) {
            bytes[at] ^= 0x55;
        }
        std::fs::write(&path, bytes).expect("written");
    }
}

#[tokio::test]
async fn a_disk_without_room_is_left_out() {
    let fixture = Fixture::new(sealed(1, 3)).await;
    let folder = tempfile::tempdir().expect("a folder");
    for capacity_bytes in [1 << 20, 1 << 60] {
        let cache = fixture.open(SegmentCacheConfig {
            disk: Some(DiskConfig {
                folder: folder.path().join("cache"),
                capacity_bytes,
            }),
            ..config()
        });
        let cache = cache.await;
        assert!(!cache.has_disk());
        fixture.read(&cache, 0).await;
    }
}

#[tokio::test]
async fn blocks_are_cut_at_batches() {
    let fixture = Fixture::new(sealed(1, 3)).await;
    let cache = fixture.open(config()).await;
    let entry = fixture.blocks(0)[0];
    let block = cache.block(&fixture.segment, &entry, ReadClass::Tail).await;
    let block = block.expect("reads");
    let size = entry.raw_length as usize / entry.batch_count as usize;
    let next = |from, upto, max, one| {
        let slice = block.slice(offset(from), offset(upto), max, one);
        slice.map(|slice| (slice.next_offset.get(), slice.bytes.len() / size))
    };
    assert_eq!(
        next(0, 3, usize::MAX, false),
        Some((2, 2)),
        "a block of two batches"
    );
    assert_eq!(next(1, 3, usize::MAX, false), Some((2, 1)));
    assert_eq!(
        next(0, 1, usize::MAX, false),
        Some((1, 1)),
        "nothing above the limit"
    );
    assert_eq!(next(0, 3, size, false), Some((1, 1)));
    assert_eq!(next(0, 3, size - 1, false), None);
    assert_eq!(next(0, 3, 0, true), Some((1, 1)), "at least one");
    assert_eq!(next(0, 0, 0, true), None, "but none above the limit");
    assert_eq!(next(2, 3, 100, true), None, "past the end");
    let since = |timestamp, from| {
        let found = block.first_at_or_after(timestamp, offset(from));
        found.map(|raw| BatchHeader::decode(&raw).expect("a batch").base_offset)
    };
    assert_eq!(since(1001, 0), Some(1));
    assert_eq!(since(0, 1), Some(1));
    assert_eq!(since(1002, 0), None);
}

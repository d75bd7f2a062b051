use alluvium_cache::segment_cache::CacheError;
use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_common::offset::Offset;
use alluvium_segment::record_batch::{Codec, DecodeLimits, Record, StoredBatch, split};
use proptest::prelude::*;

use crate::error::ReadError;
use crate::log_reader::{Isolation, LogRead, ReadRequest};
use crate::testing::{BatchSpec, EPOCH, TestBroker, TestLog, offset, tp};

fn request(from: Offset, max_bytes: usize) -> ReadRequest {
    ReadRequest {
        tp: tp(0),
        from,
        max_bytes,
        isolation: Isolation::ReadCommitted,
        min_one_batch: true,
    }
}

fn records_of(batches: impl Iterator<Item = StoredBatch>) -> Vec<Record> {
    let limits = DecodeLimits::default();
    let records =
        batches.flat_map(|batch| batch.records(&limits).expect("opens").collect::<Vec<_>>());
    records.map(|record| record.expect("well-formed")).collect()
}

/// What a consumer at `from` sees of a read.
fn seen(read: &LogRead, from: Offset) -> Vec<Record> {
    let joined = read.records.concat().into();
    let batches = split(&joined).map(|batch| {
        let (_, raw) = batch.expect("whole batches");
        let batch = StoredBatch::from_stored(raw).expect("a batch");
        assert_eq!(batch.leader_epoch(), EPOCH);
        batch
    });
    let mut records = records_of(batches);
    records.retain(|record| record.offset >= from);
    records
}

fn all(log: &TestLog) -> Vec<Record> {
    records_of(log.batches.iter().cloned())
}

/// A consumer from `from` to the end sees each record once, in order.
async fn consume(broker: &TestBroker, log: &TestLog, from: Offset, max_bytes: usize) {
    let mut expected = all(log);
    expected.retain(|record| record.offset >= from);
    let mut consumed = Vec::new();
    let mut at = from;
    while at < log.end() {
        let read = broker
            .reader
            .read(request(at, max_bytes))
            .await
            .expect("reads");
        assert!(read.next_offset > at, "at {at}");
        consumed.extend(seen(&read, at));
        at = read.next_offset;
    }
    assert_eq!(consumed, expected);
}

fn spec() -> impl Strategy<Value = BatchSpec> {
    let codec = prop_oneof![
        Just(Codec::None),
        Just(Codec::Lz4),
        Just(Codec::Gzip),
        Just(Codec::Zstd)
    ];
    (
        codec,
        prop::collection::vec(any::<i64>(), 1..30),
        any::<bool>(),
        0..900_usize,
    )
        .prop_map(
            |(codec, timestamps, log_append_time, value_bytes)| BatchSpec {
                codec,
                log_append_time,
                value_bytes,
                ..BatchSpec::of(timestamps)
            },
        )
}

#[derive(Debug, Clone)]
enum Op {
    Append(BatchSpec),
    Upload,
    Publish,
    MoveToLeaf(usize),
    Consume { at: u8, max_bytes: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => spec().prop_map(Op::Append),
        2 => Just(Op::Upload),
        2 => Just(Op::Publish),
        1 => (1..4_usize).prop_map(Op::MoveToLeaf),
        1 => (any::<u8>(), 1..20_000_usize).prop_map(|(at, max_bytes)| Op::Consume { at, max_bytes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// From any offset on, over all tiers, whatever is published meanwhile (I1, I8, I18).
    #[test]
    fn consumers_cross_all_tiers(
        tail_bytes in prop_oneof![Just(1), Just(usize::MAX)],
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let broker = TestBroker::new(tail_bytes).await;
            let mut log = broker.open(0);
            for op in ops {
                match op {
                    Op::Append(spec) => broker.append(&mut log, &spec, false),
                    Op::Upload => broker.upload(&mut [&mut log]).await,
                    Op::Publish => drop(broker.publish(&mut log).await),
                    Op::MoveToLeaf(count) => drop(broker.move_to_leaf(&mut log, count).await),
                    Op::Consume { at, max_bytes } => {
                        let from = log.end().get() * i64::from(at) / 255;
                        consume(&broker, &log, offset(from), max_bytes).await;
                    }
                }
            }
            consume(&broker, &log, offset(0), 3_000).await;
        });
    }
}

/// A log of three published files.
async fn published(broker: &TestBroker) -> TestLog {
    let mut log = broker.open(0);
    for file in 0..3 {
        for batch in 0..10 {
            let spec = BatchSpec::of((0..20).map(|n| 1_000 * file + 20 * batch + n));
            broker.append(&mut log, &spec, false);
        }
        broker.upload(&mut [&mut log]).await;
        broker.publish(&mut log).await;
    }
    log
}

#[tokio::test]
async fn what_is_published_needs_no_segment() {
    let broker = TestBroker::new(1).await;
    let log = published(&broker).await;
    assert_eq!(log.log.published_end(), log.end());
    assert!(log.log.index.read().is_empty());
    consume(&broker, &log, offset(137), 1_000).await;
    let tables = &broker.reader.metrics().tables;
    assert!(tables.reads.get() > 0 && tables.bytes.get() > 20 * 100 * 20);
}

#[tokio::test]
async fn a_stripe_is_rebuilt_once_for_readers_at_one_place() {
    let broker = TestBroker::new(1).await;
    let log = published(&broker).await;
    let read = || broker.reader.read(request(offset(100), 500));
    let first = read().await.expect("reads");
    let gets = broker.cache_metrics.misses.get();
    for _ in 0..10 {
        let again = read().await.expect("reads");
        assert_eq!(again.records, first.records);
    }
    assert_eq!(broker.cache_metrics.misses.get(), gets);
    assert!(broker.cache_metrics.block_hits.get() >= 10);
    drop(log);
}

/// I18
#[tokio::test]
async fn damage_is_repaired_by_a_second_read_or_told() {
    let broker = TestBroker::new(1).await;
    let log = published(&broker).await;
    let flips = |times| {
        let rule = FaultRule::next(Operation::Get, times, Fault::FlipBit);
        broker.faults.add(rule);
    };
    let read = || broker.reader.read(request(offset(0), 500));
    // The whole object and each second attempt: nothing is believed.
    flips(2);
    assert!(matches!(
        read().await,
        Err(ReadError::Segment(CacheError::Corrupt { .. }))
    ));
    flips(1);
    let repaired = read().await.expect("repaired");
    let seen = seen(&repaired, offset(0));
    assert_eq!(seen, all(&log)[..seen.len()]);
}

/// The same of a leaf, which is not read for what it does not list.
#[tokio::test]
async fn a_damaged_leaf_is_repaired_by_a_second_read_or_told() {
    let broker = TestBroker::new(1).await;
    let mut log = published(&broker).await;
    let leaf = broker.move_to_leaf(&mut log, 2).await.expect("put");
    let flips = |times| {
        broker.faults.add(FaultRule {
            name_contains: Some(leaf.to_string()),
            ..FaultRule::next(Operation::Get, times, Fault::FlipBit)
        });
    };
    flips(2);
    let of_last_file = broker.reader.read(request(offset(450), 500)).await;
    let of_last_file = seen(&of_last_file.expect("reads"), offset(450));
    let expected = all(&log).split_off(450);
    assert_eq!(of_last_file, expected[..of_last_file.len()]);
    let read = || broker.reader.read(request(offset(0), 500));
    assert!(
        matches!(
            read().await,
            Err(ReadError::Segment(CacheError::Corrupt { object_key, .. })) if object_key == leaf
        ),
        "twice it was not what the manifest names"
    );
    flips(1);
    let repaired = read().await.expect("repaired");
    let seen = seen(&repaired, offset(0));
    assert_eq!(seen, all(&log)[..seen.len()]);
    assert_eq!(broker.faults.injected(), 3);
}

/// Readers that come at the same time wait for one read.
#[tokio::test]
async fn a_leaf_is_read_once_for_many_readers() {
    let broker = TestBroker::new(1).await;
    let mut log = published(&broker).await;
    broker.move_to_leaf(&mut log, 3).await.expect("put");
    let manifest = log.log.published().expect("published");
    let find = |from| {
        let history = broker.reader.history();
        history.table_from(&manifest, tp(0).partition, offset(from))
    };
    let found = futures::future::try_join_all([0, 199, 200, 599].map(find)).await;
    let found = found.expect("read").into_iter().map(|found| {
        let offsets = found.expect("listed").span.offsets();
        (offsets.start.get(), offsets.end.get())
    });
    let found: Vec<_> = found.collect();
    assert_eq!(found, [(0, 200), (0, 200), (200, 400), (400, 600)]);
    assert_eq!(broker.cache_metrics.misses.get(), 1);
    assert!(find(600).await.expect("known").is_none());
}

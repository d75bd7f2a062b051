use std::sync::Arc;

use alluvium_cache::budget::ReadClass;
use alluvium_cache::tail::{CloseReason, ReadWaiter};
use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_segment::record_batch::Codec;
use proptest::prelude::*;

use super::*;
use crate::testing::{BatchSpec, TestBroker, TestLog, offset, tp};

fn request(from: Offset, max_bytes: usize, min_one_batch: bool) -> ReadRequest {
    ReadRequest {
        tp: tp(0),
        from,
        max_bytes,
        isolation: Isolation::ReadUncommitted,
        min_one_batch,
    }
}

/// One step in the life of a log.
#[derive(Debug, Clone)]
enum Op {
    Append(BatchSpec, bool),
    Upload,
    LogStart(u8),
    Read { at: u8, max_bytes: usize, one: bool },
}

fn batch_spec() -> impl Strategy<Value = BatchSpec> {
    let codec = prop_oneof![
        Just(Codec::None),
        Just(Codec::Gzip),
        Just(Codec::Snappy),
        Just(Codec::Lz4),
        Just(Codec::Zstd)
    ];
    (codec, 1..20_usize, 0..900_usize).prop_map(|(codec, records, value_bytes)| BatchSpec {
        codec,
        value_bytes,
        ..BatchSpec::of((0..records as i64).map(|index| 1000 + index))
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (batch_spec(), any::<bool>()).prop_map(|(spec, spill)| Op::Append(spec, spill)),
        1 => Just(Op::Upload),
        1 => any::<u8>().prop_map(Op::LogStart),
        4 => (any::<u8>(), 0..40_000_usize, any::<bool>())
            .prop_map(|(at, max_bytes, one)| Op::Read { at, max_bytes, one }),
    ]
}

/// An offset of the log, or just beyond, picked by a byte.
fn pick(log: &TestLog, at: u8) -> Offset {
    offset(log.end().get() * i64::from(at) / 250)
}

async fn run(tail_bytes: usize, ops: Vec<Op>) {
    let broker = TestBroker::new(tail_bytes).await;
    let mut log = broker.open(0);
    let mut log_start = offset(0);
    for op in ops {
        match op {
            Op::Append(spec, spill) => broker.append(&mut log, &spec, spill),
            Op::Upload => broker.upload(&mut [&mut log]).await,
            Op::LogStart(at) if at % 8 == 0 => {
                let to = pick(&log, at).min(log.end());
                log_start = log_start.max(to);
                assert_eq!(log.log.set_log_start(to), log_start);
            }
            Op::LogStart(_) => {}
            Op::Read { at, max_bytes, one } => {
                let from = pick(&log, at);
                let read = broker.reader.read(request(from, max_bytes, one)).await;
                check_read(&log, log_start, from, max_bytes, one, read);
            }
        }
    }
    read_all(&broker, &log, log_start).await;
}

fn check_read(
    log: &TestLog,
    log_start: Offset,
    from: Offset,
    max_bytes: usize,
    one: bool,
    read: Result<LogRead, ReadError>,
) {
    if from < log_start || from > log.end() {
        assert!(
            matches!(read, Err(ReadError::OffsetOutOfRange { offsets }) if offsets.log_start == log_start)
        );
        return;
    }
    let read = read.expect("reads");
    assert_eq!(read.offsets.high_watermark, log.end());
    let count = log.check(from, &read);
    let first = log
        .batches
        .partition_point(|batch| batch.next_offset() <= from);
    let first_size = log
        .batches
        .get(first)
        .map_or(usize::MAX, StoredBatch::size_bytes);
    let something = from < log.end() && (one || first_size <= max_bytes);
    assert_eq!(count > 0, something, "from {from} with {max_bytes} bytes");
    assert!(read.size_bytes <= max_bytes || (one && count == 1));
}

/// A consumer from the log start to the end.
async fn read_all(broker: &TestBroker, log: &TestLog, log_start: Offset) {
    let mut from = log_start;
    while from < log.end() {
        let read = broker
            .reader
            .read(request(from, 3000, true))
            .await
            .expect("reads");
        assert!(log.check(from, &read) > 0);
        from = read.next_offset;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the tiers hold (all in the tail; evicted and spilled at once; some of each), a read
    /// gives the log's own bytes.
    #[test]
    fn reads_agree_with_the_model(
        tail_bytes in prop_oneof![Just(1), Just(20_000), Just(usize::MAX)],
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(run(tail_bytes, ops));
    }
}

#[tokio::test]
async fn a_read_goes_on_from_segments_into_the_tail() {
    let broker = TestBroker::new(1).await;
    let mut log = broker.open(0);
    for _ in 0..20 {
        broker.append(&mut log, &BatchSpec::of(0..10), false);
    }
    broker.upload(&mut [&mut log]).await;
    for _ in 0..5 {
        broker.append(&mut log, &BatchSpec::of(0..10), false);
    }
    let read = broker
        .reader
        .read(request(offset(15), 1 << 20, true))
        .await
        .expect("reads");
    assert_eq!(log.check(offset(15), &read), 24);
    let metrics = broker.reader.metrics();
    assert!(metrics.segments.bytes.get() > 0 && metrics.tail.bytes.get() > 0);
}

/// I8: table files cut batches otherwise than producers do.
#[tokio::test]
async fn an_answer_does_not_go_back_when_what_it_reads_is_published_meanwhile() {
    let broker = TestBroker::new(1).await;
    let mut log = broker.open(0);
    for _ in 0..20 {
        broker.append(&mut log, &BatchSpec::of(0..3), false);
    }
    broker.upload(&mut [&mut log]).await;
    let first = broker.reader.read(request(offset(0), 1, true)).await;
    let first = first.expect("reads");
    assert_eq!(first.next_offset, offset(3), "one batch");
    broker.publish(&mut log).await;
    // That read goes on.
    let mut read = first.clone();
    let whole = request(offset(0), 1 << 20, true);
    let on = broker
        .reader
        .read_tables(&log.log, &whole, log.end(), &mut read);
    on.await.expect("reads");
    assert_eq!((read.next_offset, read.records), (offset(3), first.records));
    let next = broker.reader.read(request(offset(3), 1 << 20, true)).await;
    assert!(next.expect("reads").next_offset > offset(3));
}

#[tokio::test]
async fn large_bodies_are_passed_on_and_small_ones_joined() {
    let broker = TestBroker::new(usize::MAX).await;
    let mut log = broker.open(0);
    let large = BatchSpec {
        value_bytes: 3000,
        ..BatchSpec::of(0..5)
    };
    for spec in [
        &BatchSpec::of(0..1),
        &BatchSpec::of(0..1),
        &large,
        &BatchSpec::of(0..1),
        &large,
    ] {
        broker.append(&mut log, spec, false);
    }
    let read = broker
        .reader
        .read(request(offset(0), usize::MAX, true))
        .await
        .expect("reads");
    assert_eq!(log.check(offset(0), &read), 5);
    let lengths: Vec<_> = log.batches.iter().map(StoredBatch::size_bytes).collect();
    let expected = [
        lengths[0] + lengths[1] + PREFIX_BYTES,
        lengths[2] - PREFIX_BYTES,
        lengths[3] + PREFIX_BYTES,
        lengths[4] - PREFIX_BYTES,
    ];
    assert_eq!(
        read.records.iter().map(Bytes::len).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(read.records[1].as_ptr(), log.batches[2].body().as_ptr());
}

#[tokio::test]
async fn nothing_above_the_limit_is_seen() {
    let broker = TestBroker::new(usize::MAX).await;
    let mut log = broker.open(0);
    broker.append(&mut log, &BatchSpec::of(0..10), false);
    broker.append_hidden(&mut log, &BatchSpec::of(0..10), false);
    for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
        let all = ReadRequest {
            isolation,
            ..request(offset(0), usize::MAX, true)
        };
        let read = broker.reader.read(all).await.expect("reads");
        assert_eq!(
            (log.check(offset(0), &read), read.next_offset),
            (1, offset(10))
        );
        let above = ReadRequest {
            from: offset(15),
            ..all
        };
        let read = broker.reader.read(above).await.expect("not out of range");
        assert_eq!(read.size_bytes, 0);
        let beyond = ReadRequest {
            from: offset(21),
            ..all
        };
        let read = broker.reader.read(beyond).await;
        assert!(matches!(read, Err(ReadError::OffsetOutOfRange { .. })));
    }
}

#[tokio::test]
async fn unknown_and_closed_partitions_are_told_apart() {
    let broker = TestBroker::new(usize::MAX).await;
    let read = broker.reader.read(request(offset(0), 1, true)).await;
    assert!(matches!(read, Err(ReadError::UnknownPartition)));
    let log = broker.open(0);
    log.log.tail.close(CloseReason::NotLeader);
    let read = broker.reader.read(request(offset(0), 1, true)).await;
    assert!(matches!(
        read,
        Err(ReadError::Closed(CloseReason::NotLeader))
    ));
}

#[tokio::test]
async fn damage_ends_the_read_before_it_and_is_met_next() {
    let broker = TestBroker::new(1).await;
    let mut log = broker.open(0);
    for _ in 0..60 {
        broker.append(&mut log, &BatchSpec::of(0..50), false);
    }
    broker.upload(&mut [&mut log]).await;
    let read = broker.reader.read(request(offset(0), 1, true)).await;
    assert_eq!(log.check(offset(0), &read.expect("the first page")), 1);
    broker
        .faults
        .add(FaultRule::always(Operation::Get, Fault::CutBody(100)));
    let read = broker
        .reader
        .read(request(offset(0), 1 << 20, true))
        .await
        .expect("what is whole");
    assert!(log.check(offset(0), &read) > 0);
    assert!(read.next_offset < log.end());
    let read = broker
        .reader
        .read(request(read.next_offset, 1 << 20, true))
        .await;
    assert!(matches!(read, Err(ReadError::Segment(_))), "never skipped");
    broker.faults.heal();
    read_all(&broker, &log, offset(0)).await;
}

#[tokio::test(start_paused = true)]
async fn the_pages_of_one_read_come_at_the_same_time() {
    use std::time::Duration;
    let broker = TestBroker::new(1).await;
    let mut log = broker.open(0);
    let spec = BatchSpec {
        codec: Codec::Zstd,
        ..BatchSpec::of(0..200)
    };
    for _ in 0..15 {
        broker.append(&mut log, &spec, false);
    }
    broker.upload(&mut [&mut log]).await;
    let slow = Fault::Delay(Duration::from_millis(100));
    broker.faults.add(FaultRule::always(Operation::Get, slow));
    let start = tokio::time::Instant::now();
    let read = broker
        .reader
        .read(request(offset(0), usize::MAX, true))
        .await
        .expect("reads");
    assert_eq!(log.check(offset(0), &read), 15);
    let pages = log.log.index.read().stored_bytes().div_ceil(64 << 10);
    assert!(
        pages >= 3 && start.elapsed() < Duration::from_millis(200),
        "{pages} pages in {:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn sequential_readers_find_their_pages_fetched() {
    let broker = TestBroker::new(1).await;
    let mut log = broker.open(0);
    let spec = BatchSpec {
        codec: Codec::Zstd,
        ..BatchSpec::of(0..200)
    };
    for _ in 0..120 {
        broker.append(&mut log, &spec, false);
    }
    broker.upload(&mut [&mut log]).await;
    let mut from = offset(0);
    while from < log.end() {
        let read = broker
            .reader
            .read(request(from, 30_000, true))
            .await
            .expect("reads");
        from = read.next_offset;
    }
    let metrics = &broker.cache_metrics;
    let gets = metrics.gets(ReadClass::Tail).get() + metrics.gets(ReadClass::Backfill).get();
    let pages = log.log.index.read().stored_bytes().div_ceil(64 << 10);
    assert!(
        (pages..=pages + 1).contains(&gets),
        "{gets} GETs for {pages} pages"
    );
    assert!(metrics.prefetched_pages.get() >= pages - 2, "{metrics:?}");
}

/// Readers follow a writer whose batches move from the tail to segments under their eyes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_every_batch_once_while_tiers_change() {
    let broker = Arc::new(TestBroker::new(5_000).await);
    let mut log = broker.open(0);
    const END: i64 = 3000;
    let readers: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(follow(
                Arc::clone(&broker),
                Arc::clone(&log.log),
                offset(END),
            ))
        })
        .collect();
    for round in 0..END / 10 {
        broker.append(&mut log, &BatchSpec::of(0..10), round % 3 == 0);
        if round % 7 == 0 {
            broker.upload(&mut [&mut log]).await;
        }
        if round % 20 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for reader in readers {
        for (from, read) in reader.await.expect("no panic") {
            assert!(log.check(from, &read) > 0);
        }
    }
}

async fn follow(
    broker: Arc<TestBroker>,
    log: Arc<PartitionLog>,
    end: Offset,
) -> Vec<(Offset, LogRead)> {
    let mut reads = Vec::new();
    let mut from = offset(0);
    while from < end {
        let read = broker
            .reader
            .read(request(from, 4000, true))
            .await
            .expect("reads");
        if read.records.is_empty() {
            let waiter = ReadWaiter::new(1, 1);
            let _registration = log.tail.wait(&waiter, 0, read.offsets);
            waiter.ready().await;
            continue;
        }
        let next = read.next_offset;
        reads.push((from, read));
        from = next;
    }
    reads
}

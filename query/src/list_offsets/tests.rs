use alluvium_cache::tail::CloseReason;
use alluvium_segment::record_batch::{Codec, StoredBatch};
use proptest::prelude::*;

use super::*;
use crate::testing::{BatchSpec, EPOCH, TestBroker, TestLog, offset, tp};

fn finder(broker: &TestBroker) -> Arc<OffsetFinder> {
    OffsetFinder::new(Arc::clone(&broker.reader), DecodeLimits::default())
}

async fn find(broker: &TestBroker, spec: OffsetSpec) -> Option<(i64, Option<i64>, Option<i32>)> {
    let finder = finder(broker);
    let found = finder.find(tp(0), spec, Isolation::ReadUncommitted, Some(EPOCH));
    let found = found.await.expect("finds");
    found.map(|found| {
        let epoch = found.leader_epoch.map(|epoch| epoch.0);
        (found.offset.get(), found.timestamp, epoch)
    })
}

/// All records below `upto`: offset and timestamp.
fn records(log: &TestLog, log_start: Offset, upto: Offset) -> Vec<(i64, i64)> {
    let limits = DecodeLimits::default();
    let each = |batch: &StoredBatch| batch.records(&limits).expect("opens").collect::<Vec<_>>();
    let all = log
        .batches
        .iter()
        .flat_map(each)
        .map(|record| record.expect("well-formed"));
    let seen = all.filter(|record| record.offset >= log_start && record.offset < upto);
    seen.map(|record| (record.offset.get(), record.timestamp))
        .collect()
}

fn spec() -> impl Strategy<Value = BatchSpec> {
    let codec = prop_oneof![Just(Codec::None), Just(Codec::Lz4), Just(Codec::Gzip)];
    let timestamps = prop::collection::vec(0..100_i64, 1..6);
    (codec, timestamps, any::<bool>(), 0..3000_usize).prop_map(
        |(codec, timestamps, log_append_time, value_bytes)| BatchSpec {
            codec,
            log_append_time,
            value_bytes,
            ..BatchSpec::of(timestamps)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Exact to the record for every time, wherever the records are.
    #[test]
    fn times_are_exact(
        specs in prop::collection::vec((spec(), any::<bool>(), 0..4_u8), 1..25),
        tail_bytes in prop_oneof![Just(1), Just(usize::MAX)],
        log_start in 0..20_i64,
        hidden in spec(),
        leaves in prop::collection::vec(0..4_usize, 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let broker = TestBroker::new(tail_bytes).await;
            let mut log = broker.open(0);
            for (spec, spill, upload) in specs {
                broker.append(&mut log, &spec, spill);
                if upload <= 1 {
                    broker.upload(&mut [&mut log]).await;
                }
                if upload == 1 {
                    broker.publish(&mut log).await;
                }
            }
            for tables in leaves {
                broker.move_to_leaf(&mut log, tables).await;
            }
            let upto = log.end();
            broker.append_hidden(&mut log, &hidden, false);
            let log_start = log.log.set_log_start(offset(log_start));
            let records = records(&log, log_start, upto);
            let epoch = Some(EPOCH.0);
            for time in (0..102).step_by(3) {
                let expected = records.iter().find(|(_, timestamp)| *timestamp >= time);
                let expected = expected.map(|(offset, timestamp)| (*offset, Some(*timestamp), epoch));
                assert_eq!(find(&broker, OffsetSpec::Timestamp(time)).await, expected, "at {time}");
            }
            let largest = records.iter().map(|(_, timestamp)| *timestamp).max();
            let expected = records.iter().find(|(_, timestamp)| Some(*timestamp) == largest);
            let expected = expected.map(|(offset, timestamp)| (*offset, Some(*timestamp), epoch));
            assert_eq!(find(&broker, OffsetSpec::MaxTimestamp).await, expected);
        });
    }
}

#[tokio::test]
async fn names_stand_for_kafkas_offsets() {
    let broker = TestBroker::new(1).await;
    let mut log = broker.open(0);
    let epoch = Some(EPOCH.0);
    assert_eq!(
        find(&broker, OffsetSpec::Earliest).await,
        Some((0, None, epoch))
    );
    assert_eq!(
        find(&broker, OffsetSpec::Latest).await,
        Some((0, None, epoch))
    );
    assert_eq!(find(&broker, OffsetSpec::MaxTimestamp).await, None);
    assert_eq!(find(&broker, OffsetSpec::Timestamp(0)).await, None);
    assert_eq!(find(&broker, OffsetSpec::LatestTiered).await, None);
    for _ in 0..3 {
        broker.append(&mut log, &BatchSpec::of(0..10), false);
    }
    broker.upload(&mut [&mut log]).await;
    broker.append(&mut log, &BatchSpec::of(0..10), false);
    broker.append_hidden(&mut log, &BatchSpec::of(0..10), false);
    log.log.set_log_start(offset(7));
    assert_eq!(
        find(&broker, OffsetSpec::Earliest).await,
        Some((7, None, epoch))
    );
    assert_eq!(
        find(&broker, OffsetSpec::Latest).await,
        Some((40, None, epoch))
    );
    assert_eq!(
        find(&broker, OffsetSpec::EarliestLocal).await,
        Some((30, None, epoch))
    );
    assert_eq!(
        find(&broker, OffsetSpec::LatestTiered).await,
        Some((29, None, epoch))
    );
}

#[tokio::test]
async fn only_the_block_that_is_meant_is_read() {
    let broker = TestBroker::new(1).await;
    let mut log = broker.open(0);
    for segment in 0..10 {
        broker.append(
            &mut log,
            &BatchSpec::of(100 * segment..100 * segment + 10),
            false,
        );
        broker.upload(&mut [&mut log]).await;
    }
    assert_eq!(
        find(&broker, OffsetSpec::Timestamp(405)).await,
        Some((45, Some(405), Some(EPOCH.0)))
    );
    assert_eq!(broker.cache_metrics.misses.get(), 1);
}

#[tokio::test]
async fn a_bomb_is_an_error_not_memory() {
    let broker = TestBroker::new(usize::MAX).await;
    let mut log = broker.open(0);
    let bomb = BatchSpec {
        codec: Codec::Zstd,
        value_bytes: 100_000,
        ..BatchSpec::of([5])
    };
    broker.append(&mut log, &bomb, false);
    let limits = DecodeLimits {
        decompressed_bytes_max: 50_000,
    };
    let finder = OffsetFinder::new(Arc::clone(&broker.reader), limits);
    let found = finder.find(
        tp(0),
        OffsetSpec::Timestamp(5),
        Isolation::ReadCommitted,
        None,
    );
    assert!(matches!(found.await, Err(ReadError::Batch(_))));
}

#[tokio::test]
async fn epochs_and_closed_partitions_are_errors() {
    let broker = TestBroker::new(usize::MAX).await;
    let log = broker.open(0);
    let finder = finder(&broker);
    let find = async |partition, epoch| {
        finder
            .find(
                tp(partition),
                OffsetSpec::Latest,
                Isolation::ReadCommitted,
                epoch,
            )
            .await
    };
    assert!(matches!(
        find(1, None).await,
        Err(ReadError::UnknownPartition)
    ));
    let older = Some(LeaderEpoch(EPOCH.0 - 1));
    assert!(matches!(
        find(0, older).await,
        Err(ReadError::FencedLeaderEpoch { .. })
    ));
    log.log.tail.close(CloseReason::NotLeader);
    assert!(matches!(
        find(0, None).await,
        Err(ReadError::Closed(CloseReason::NotLeader))
    ));
}

#[test]
fn sentinels_are_kafkas() {
    let specs: Vec<_> = (-6..=0)
        .map(|number| OffsetSpec::try_from(number).expect("known"))
        .collect();
    use OffsetSpec::*;
    assert_eq!(
        specs,
        [
            EarliestPendingUpload,
            LatestTiered,
            EarliestLocal,
            MaxTimestamp,
            Earliest,
            Latest,
            Timestamp(0)
        ]
    );
    assert_eq!(OffsetSpec::try_from(-7), Err(UnknownSpec(-7)));
}

/// F3
#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_an_end_that_may_be_past() {
    let broker = TestBroker::new(usize::MAX).await;
    let mut log = broker.open(0);
    broker.append(&mut log, &BatchSpec::of([10, 20, 30]), false);
    let told = [
        (OffsetSpec::Earliest, true),
        (OffsetSpec::EarliestLocal, true),
        (OffsetSpec::Timestamp(20), true),
        (OffsetSpec::Timestamp(31), false),
        (OffsetSpec::Latest, false),
        (OffsetSpec::MaxTimestamp, false),
        (OffsetSpec::LatestTiered, false),
        (OffsetSpec::EarliestPendingUpload, false),
    ];
    let finder = finder(&broker);
    let answered = async || {
        let mut answered = Vec::new();
        for (spec, _) in told {
            let found = finder
                .find(tp(0), spec, Isolation::ReadUncommitted, None)
                .await;
            answered.push(match found {
                Ok(_) => (spec, true),
                Err(ReadError::EndUnknown) => (spec, false),
                Err(error) => panic!("{error}"),
            });
        }
        answered
    };
    assert!(answered().await.iter().all(|(_, answered)| *answered));
    broker.guard.prove_until(None);
    assert_eq!(answered().await, told);
}

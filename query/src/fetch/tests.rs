use std::collections::HashMap;

use alluvium_cache::budget::ReadClass;
use alluvium_cache::tail::CloseReason;
use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_common::rand::SeededRandom;
use tokio::time::Instant;

use super::*;
use crate::testing::{BatchSpec, EPOCH, TestBroker, TestLog, offset, tp};

pub(super) struct Names(HashMap<&'static str, TopicId>);

impl TopicResolver for Names {
    fn resolve(&self, topic: &TopicKey) -> Option<TopicId> {
        match topic {
            TopicKey::Name(name) => self.0.get(&**name).copied(),
            TopicKey::Id(id) => Some(*id),
        }
    }
}

pub(super) fn names() -> Names {
    Names(HashMap::from([("t", tp(0).topic_id)]))
}

pub(super) fn partition(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        topic: TopicKey::Name("t".into()),
        partition: PartitionIndex(partition),
        fetch_offset,
        current_leader_epoch: Some(EPOCH),
        last_fetched_epoch: None,
        max_bytes: 1 << 20,
    }
}

pub(super) fn request(partitions: Vec<FetchPartition>) -> FetchRequest {
    FetchRequest {
        max_wait: Duration::ZERO,
        min_bytes: 1,
        max_bytes: 50 << 20,
        isolation: Isolation::ReadUncommitted,
        rack: None,
        session: SessionRequest::NONE,
        partitions,
        forgotten: Vec::new(),
    }
}

pub(super) fn waiting(partitions: Vec<FetchPartition>, min_bytes: usize) -> FetchRequest {
    FetchRequest {
        max_wait: Duration::from_millis(500),
        min_bytes,
        ..request(partitions)
    }
}

pub(super) fn fetcher(broker: &TestBroker) -> Arc<Fetcher> {
    fetcher_with(broker, FetchConfig::default())
}

fn fetcher_with(broker: &TestBroker, config: FetchConfig) -> Arc<Fetcher> {
    let reader = Arc::clone(&broker.reader);
    Fetcher::new(reader, None, config, SeededRandom::new(1))
}

/// `count` partitions with `batches` batches each, in the tail.
pub(super) fn filled(broker: &TestBroker, count: i32, batches: usize) -> Vec<TestLog> {
    let mut logs: Vec<_> = (0..count).map(|index| broker.open(index)).collect();
    for log in &mut logs {
        for _ in 0..batches {
            broker.append(log, &BatchSpec::of(0..10), false);
        }
    }
    logs
}

fn reads(response: &FetchResponse) -> Vec<&PartitionRead> {
    let partitions = response.partitions.iter();
    partitions
        .map(|partition| partition.result.as_ref().expect("reads"))
        .collect()
}

/// Batches per partition.
fn counts(logs: &[TestLog], from: &[i64], response: &FetchResponse) -> Vec<usize> {
    let reads = reads(response);
    let each = logs.iter().zip(from).zip(reads);
    each.map(|((log, from), got)| log.check(offset(*from), &got.read))
        .collect()
}

#[tokio::test]
async fn limits_are_kafkas() {
    let broker = TestBroker::new(usize::MAX).await;
    let logs = filled(&broker, 3, 4);
    let size = logs[0].batches[0].size_bytes();
    let fetcher = fetcher(&broker);
    let fetch = async |max_bytes, partition_max_bytes, from: [i64; 3]| {
        let partitions = (0..3).map(|index| FetchPartition {
            max_bytes: partition_max_bytes,
            ..partition(index, from[index as usize])
        });
        let request = FetchRequest {
            max_bytes,
            ..request(partitions.collect())
        };
        let response = fetcher.fetch(request, &names()).await.expect("no session");
        counts(&logs, &from, &response)
    };
    let all = usize::MAX;
    assert_eq!(fetch(all, all, [0, 0, 0]).await, [4, 4, 4]);
    assert_eq!(fetch(all, 2 * size, [0, 0, 0]).await, [2, 2, 2]);
    assert_eq!(fetch(6 * size, all, [0, 0, 0]).await, [4, 2, 0]);
    assert_eq!(
        fetch(0, 0, [0, 0, 0]).await,
        [1, 0, 0],
        "one batch, whatever the limits"
    );
    assert_eq!(
        fetch(0, 0, [40, 0, 0]).await,
        [0, 1, 0],
        "of the first that has any"
    );
    assert_eq!(fetch(all, 1, [0, 0, 0]).await, [1, 0, 0]);
}

#[tokio::test]
async fn tiers_mix_within_the_limits() {
    let broker = TestBroker::new(1).await;
    let mut logs = filled(&broker, 20, 10);
    let mut old: Vec<_> = logs.iter_mut().collect();
    broker.upload(&mut old).await;
    for log in logs.iter_mut().step_by(2) {
        broker.append(log, &BatchSpec::of(0..10), true);
    }
    let fetcher = fetcher(&broker);
    let from = [0; 20];
    let partitions: Vec<_> = (0..20).map(|index| partition(index, 0)).collect();
    let response = fetcher
        .fetch(request(partitions.clone()), &names())
        .await
        .expect("no session");
    let expected: Vec<_> = logs.iter().map(|log| log.batches.len()).collect();
    assert_eq!(counts(&logs, &from, &response), expected);
    let max_bytes = 25 * logs[0].batches[0].size_bytes();
    let limited = FetchRequest {
        max_bytes,
        ..request(partitions)
    };
    let response = fetcher.fetch(limited, &names()).await.expect("no session");
    let bytes: usize = reads(&response).iter().map(|got| got.read.size_bytes).sum();
    assert!(
        bytes <= max_bytes && bytes > max_bytes / 2,
        "{bytes} of {max_bytes}"
    );
}

#[tokio::test]
async fn epochs_and_offsets_are_checked() {
    let broker = TestBroker::new(usize::MAX).await;
    let _logs = filled(&broker, 1, 4);
    let fetcher = fetcher(&broker);
    let fetch = async |change: &dyn Fn(&mut FetchPartition)| {
        let mut wanted = partition(0, 0);
        change(&mut wanted);
        let response = fetcher.fetch(request(vec![wanted]), &names()).await;
        let mut response = response.expect("no session");
        response.partitions.remove(0).result
    };
    let error = async |change: &dyn Fn(&mut FetchPartition)| match fetch(change).await {
        Err(FetchError::Read(error)) => error,
        other => panic!("{other:?}"),
    };
    use ReadError::*;
    use alluvium_common::epoch::LeaderEpoch;
    let current = EPOCH;
    assert!(
        matches!(error(&|p| p.fetch_offset = 41).await, OffsetOutOfRange { offsets } if offsets.log_end == offset(40))
    );
    assert!(matches!(
        error(&|p| p.fetch_offset = -7).await,
        OffsetOutOfRange { .. }
    ));
    let older = Some(LeaderEpoch(EPOCH.0 - 1));
    let younger = Some(LeaderEpoch(EPOCH.0 + 1));
    assert!(
        matches!(error(&|p| p.current_leader_epoch = older).await, FencedLeaderEpoch { current: c } if c == current)
    );
    assert!(
        matches!(error(&|p| p.current_leader_epoch = younger).await, UnknownLeaderEpoch { current: c } if c == current)
    );
    assert!(matches!(
        error(&|p| p.last_fetched_epoch = younger).await,
        OffsetOutOfRange { .. }
    ));
    let got = fetch(&|p| p.last_fetched_epoch = Some(EPOCH))
        .await
        .expect("agrees");
    assert!(got.diverging.is_none() && got.read.size_bytes > 0);
    let older_at_20 = |p: &mut FetchPartition| {
        p.last_fetched_epoch = older;
        p.fetch_offset = 20;
    };
    let got = fetch(&older_at_20).await.expect("diverges");
    let end = got.diverging.expect("diverges");
    assert_eq!((end.end_offset, got.read.size_bytes), (offset(0), 0));
}

#[tokio::test(start_paused = true)]
async fn unknown_topics_wait_with_the_others_but_errors_do_not() {
    let broker = TestBroker::new(usize::MAX).await;
    let logs = filled(&broker, 2, 0);
    let fetcher = fetcher(&broker);
    let unknown = || FetchPartition {
        topic: TopicKey::Name("nowhere".into()),
        ..partition(0, 0)
    };
    let took = async |partitions| {
        let start = Instant::now();
        let response = fetcher.fetch(waiting(partitions, 1), &names()).await;
        let response = response.expect("no session");
        let errors = response
            .partitions
            .iter()
            .filter(|p| p.result.is_err())
            .count();
        (start.elapsed().as_millis(), errors)
    };
    assert_eq!(took(vec![unknown(), partition(0, 0)]).await, (500, 1));
    assert_eq!(
        took(vec![unknown()]).await,
        (0, 1),
        "nothing else to wait for"
    );
    assert_eq!(took(vec![]).await, (0, 0));
    assert_eq!(took(vec![partition(0, 0), partition(9, 0)]).await, (0, 1));
    assert_eq!(
        took(vec![partition(0, 0), partition(1, 1)]).await,
        (0, 1),
        "out of range"
    );
    drop(logs);
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_its_bytes_and_no_longer() {
    let broker = TestBroker::new(usize::MAX).await;
    let mut logs = filled(&broker, 3, 1);
    let size = logs[0].batches[0].size_bytes();
    let fetcher = fetcher(&broker);
    let partitions = || (0..3).map(|index| partition(index, 10)).collect();
    let poll = fetcher
        .fetch(waiting(partitions(), 2 * size), &names())
        .await;
    assert_eq!(
        counts(&logs, &[10; 3], &poll.expect("no session")),
        [0, 0, 0],
        "time is over"
    );

    let start = Instant::now();
    let names = names();
    let poll = fetcher.fetch(waiting(partitions(), 3 * size), &names);
    tokio::pin!(poll);
    for (index, later) in [(2, 100), (0, 150)] {
        assert!(futures::poll!(&mut poll).is_pending());
        tokio::time::advance(Duration::from_millis(later)).await;
        broker.append(&mut logs[index], &BatchSpec::of(0..10), false);
    }
    assert!(futures::poll!(&mut poll).is_pending(), "two of three");
    assert_eq!(broker.reader.metrics().waiting.get(), 1);
    broker.append(&mut logs[2], &BatchSpec::of(0..10), false);
    let response = poll.await.expect("no session");
    assert_eq!(counts(&logs, &[10; 3], &response), [1, 0, 2]);
    assert_eq!(start.elapsed().as_millis(), 250);
    assert_eq!(broker.reader.metrics().waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_partition_does_not_count() {
    let broker = TestBroker::new(usize::MAX).await;
    let mut logs = filled(&broker, 1, 0);
    let fetcher = fetcher(&broker);
    let small = FetchPartition {
        max_bytes: 1,
        ..partition(0, 0)
    };
    let start = Instant::now();
    let names = names();
    let poll = fetcher.fetch(waiting(vec![small], 5000), &names);
    tokio::pin!(poll);
    assert!(futures::poll!(&mut poll).is_pending());
    for _ in 0..10 {
        broker.append(&mut logs[0], &BatchSpec::of(0..10), false);
    }
    let response = poll.await.expect("no session");
    assert_eq!(counts(&logs, &[0], &response), [1]);
    assert_eq!(
        start.elapsed().as_millis(),
        500,
        "re-checked, found too little, waited on"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stopping_broker_ends_all_waits() {
    let broker = TestBroker::new(usize::MAX).await;
    let _logs = filled(&broker, 1, 0);
    let fetcher = fetcher(&broker);
    let names = names();
    let start = Instant::now();
    let poll = fetcher.fetch(waiting(vec![partition(0, 0)], 1), &names);
    tokio::pin!(poll);
    assert!(futures::poll!(&mut poll).is_pending());
    fetcher.stop_waiting();
    assert!(poll.await.expect("no session").partitions[0].result.is_ok());
    let late = fetcher.fetch(waiting(vec![partition(0, 0)], 1), &names);
    assert!(late.await.is_ok());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_partition_ends_the_wait() {
    let broker = TestBroker::new(usize::MAX).await;
    let _logs = filled(&broker, 2, 0);
    let fetcher = fetcher(&broker);
    let names = names();
    let poll = fetcher.fetch(waiting(vec![partition(0, 0), partition(1, 0)], 1), &names);
    tokio::pin!(poll);
    assert!(futures::poll!(&mut poll).is_pending());
    broker.logs.remove(&tp(1), CloseReason::Deleted);
    let response = poll.await.expect("no session");
    assert!(response.partitions[0].result.is_ok());
    assert!(matches!(
        response.partitions[1].result,
        Err(FetchError::Read(ReadError::Closed(CloseReason::Deleted)))
    ));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_partitions_wake_for_one() {
    let broker = TestBroker::new(usize::MAX).await;
    let mut logs = filled(&broker, 10_000, 0);
    let fetcher = fetcher(&broker);
    let partitions: Vec<_> = (0..10_000).map(|index| partition(index, 0)).collect();
    let initial = SessionRequest {
        id: 0,
        epoch: 0,
        by_topic_ids: false,
    };
    let session = FetchRequest {
        session: initial,
        ..request(partitions)
    };
    let response = fetcher.fetch(session, &names()).await.expect("a session");
    assert_eq!(response.partitions.len(), 10_000);
    let next = FetchRequest {
        session: SessionRequest {
            id: response.session_id,
            epoch: 1,
            ..initial
        },
        ..waiting(Vec::new(), 1)
    };
    let names = names();
    let poll = fetcher.fetch(next, &names);
    tokio::pin!(poll);
    assert!(futures::poll!(&mut poll).is_pending());
    broker.append(&mut logs[7777], &BatchSpec::of(0..10), false);
    let response = poll.await.expect("in order");
    assert_eq!(response.partitions.len(), 1, "only the news");
    assert_eq!(response.partitions[0].partition, PartitionIndex(7777));
    assert_eq!(
        broker.reader.metrics().tail.reads.get(),
        1,
        "only that one was read"
    );
}

#[tokio::test]
async fn slow_clients_make_responses_smaller_but_nobody_waits() {
    let broker = TestBroker::new(usize::MAX).await;
    let mut log = broker.open(0);
    for _ in 0..300 {
        broker.append(&mut log, &BatchSpec::of(0..10), false);
    }
    let config = FetchConfig {
        tail_response_bytes: 400 << 10,
        ..FetchConfig::default()
    };
    let fetcher = fetcher_with(&broker, config);
    let mut unwritten = Vec::new();
    let mut sizes = Vec::new();
    for _ in 0..6 {
        let response = fetcher
            .fetch(request(vec![partition(0, 0)]), &names())
            .await;
        let response = response.expect("no session");
        sizes.push(reads(&response)[0].read.size_bytes >> 10);
        unwritten.push(response);
    }
    assert!(
        sizes.is_sorted_by(|a, b| a >= b) && sizes[0] > 150 && sizes[5] > 50,
        "{sizes:?}"
    );
    assert!(broker.reader.metrics().shortened.get() > 0);
    unwritten.clear();
    let response = fetcher
        .fetch(request(vec![partition(0, 0)]), &names())
        .await;
    assert_eq!(
        reads(&response.expect("no session"))[0].read.size_bytes >> 10,
        sizes[0]
    );
}

/// What the request allows and its partitions do not is not kept from others while it is read.
#[tokio::test(start_paused = true)]
async fn readers_at_one_time_get_what_their_partitions_may_give() {
    let broker = TestBroker::new(1).await;
    let mut log = filled(&broker, 1, 200).remove(0);
    broker.upload(&mut [&mut log]).await;
    broker.faults.add(FaultRule::always(
        Operation::Get,
        Fault::Delay(Duration::from_millis(10)),
    ));
    let max_bytes = 150 << 10;
    let config = FetchConfig {
        backfill_response_bytes: 20 << 20,
        ..FetchConfig::default()
    };
    let fetcher = fetcher_with(&broker, config);
    let limited = FetchPartition {
        max_bytes,
        ..partition(0, 0)
    };
    let names = names();
    let fetches = (0..8).map(|_| fetcher.fetch(request(vec![limited.clone()]), &names));
    for response in futures::future::join_all(fetches).await {
        let response = response.expect("no session");
        let bytes = reads(&response)[0].read.size_bytes;
        assert!(bytes > max_bytes - (5 << 10), "{bytes} of {max_bytes}");
    }
}

#[tokio::test]
async fn a_damaged_segment_fails_its_partition_only() {
    let broker = TestBroker::new(1).await;
    let mut logs = filled(&broker, 2, 5);
    broker.upload(&mut [&mut logs[0]]).await;
    broker.append(&mut logs[0], &BatchSpec::of(0..10), false);
    broker
        .faults
        .add(FaultRule::always(Operation::Get, Fault::FlipBit));
    let fetcher = fetcher(&broker);
    let response = fetcher
        .fetch(request(vec![partition(0, 0), partition(1, 0)]), &names())
        .await;
    let response = response.expect("no session");
    assert!(matches!(
        response.partitions[0].result,
        Err(FetchError::Read(ReadError::Segment(_)))
    ));
    let got = response.partitions[1].result.as_ref().expect("reads");
    assert_eq!(logs[1].check(offset(0), &got.read), 5);
    assert!(
        broker.cache_metrics.gets(ReadClass::Tail).get() >= 2,
        "read twice before it is reported"
    );
}

//! F3: fetches while this broker cannot prove that it leads.

use alluvium_cache::log::PartitionLog;
use tokio::time::Instant;

use super::tests::{fetcher, filled, names, partition, request, waiting};
use super::*;
use crate::testing::{EPOCH, TestBroker, offset};

const LEASE: Duration = Duration::from_millis(200);

/// Bytes of each partition, or that its end is unknown.
async fn fetch(broker: &TestBroker, request: FetchRequest) -> Vec<Result<usize, &'static str>> {
    let fetched = fetcher(broker).fetch(request, &names()).await;
    let partitions = fetched.expect("no session").partitions.into_iter();
    let told = |partition: PartitionResponse| match partition.result {
        Ok(got) => Ok(got.read.size_bytes),
        Err(FetchError::Read(ReadError::EndUnknown)) => Err("end unknown"),
        Err(FetchError::Read(ReadError::OffsetOutOfRange { .. })) => Err("out of range"),
        Err(error) => panic!("{error}"),
    };
    partitions.map(told).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_served_and_nothing_is_said_of_the_end() {
    let broker = TestBroker::new(usize::MAX).await;
    let logs = filled(&broker, 1, 1);
    let size = logs[0].batches[0].size_bytes();
    let at = |from| request(vec![partition(0, from)]);
    assert_eq!(fetch(&broker, at(10)).await, [Ok(0)]);
    assert_eq!(fetch(&broker, at(11)).await, [Err("out of range")]);
    broker.guard.prove_until(Some(Instant::now()));
    assert_eq!(fetch(&broker, at(0)).await, [Ok(size)]);
    assert_eq!(fetch(&broker, at(10)).await, [Err("end unknown")]);
    // Who has read further with a new leader must not be told that there is nothing.
    assert_eq!(fetch(&broker, at(11)).await, [Err("end unknown")]);
    let fetcher_says = |epoch, from| FetchRequest {
        partitions: vec![FetchPartition {
            last_fetched_epoch: Some(LeaderEpoch(epoch)),
            ..partition(0, from)
        }],
        ..request(Vec::new())
    };
    // Nor that it has diverged.
    for (epoch, from) in [(EPOCH.0, 11), (EPOCH.0 + 1, 5)] {
        let told = fetch(&broker, fetcher_says(epoch, from)).await;
        assert_eq!(told, [Err("end unknown")]);
    }
    broker.guard.prove_until(None);
    assert_eq!(fetch(&broker, at(10)).await, [Err("end unknown")]);
    // Below the log start is nothing again, whoever leads.
    logs[0].log.set_log_start(offset(5));
    assert_eq!(fetch(&broker, at(0)).await, [Err("out of range")]);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_with_the_proof() {
    let broker = TestBroker::new(usize::MAX).await;
    let logs = filled(&broker, 2, 1);
    let size = logs[1].batches[0].size_bytes();
    let began = Instant::now();
    broker.guard.prove_until(Some(began + LEASE));
    let both = waiting(vec![partition(0, 10), partition(1, 0)], 2 * size);
    let told = fetch(&broker, both).await;
    assert_eq!(told, [Err("end unknown"), Ok(size)]);
    assert_eq!(began.elapsed(), LEASE);
    // Nobody is refused, but there is nothing to wait for any more.
    let one = waiting(vec![partition(1, 0)], 2 * size);
    broker.guard.prove_until(Some(Instant::now() + LEASE));
    assert_eq!(fetch(&broker, one).await, [Ok(size)]);
    assert_eq!(began.elapsed(), 2 * LEASE);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_outlives_proofs_that_are_renewed() {
    let broker = TestBroker::new(usize::MAX).await;
    let _logs = filled(&broker, 1, 1);
    let began = Instant::now();
    broker.guard.prove_until(Some(began + LEASE));
    let renewed = async {
        tokio::time::sleep(LEASE / 2).await;
        broker.guard.prove_until(Some(began + 10 * LEASE));
    };
    let waiting = waiting(vec![partition(0, 10)], 1);
    let (told, ()) = tokio::join!(fetch(&broker, waiting), renewed);
    assert_eq!(told, [Ok(0)]);
    assert_eq!(began.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_given_away_has_no_end_that_could_be_told() {
    let broker = TestBroker::new(usize::MAX).await;
    let logs = filled(&broker, 2, 1);
    let size = logs[0].batches[0].size_bytes();
    let log: &PartitionLog = &logs[0].log;
    let ends = || request(vec![partition(0, 10), partition(1, 10)]);
    log.set_leaving(true);
    assert_eq!(fetch(&broker, ends()).await, [Err("end unknown"), Ok(0)]);
    let start = request(vec![partition(0, 0)]);
    assert_eq!(fetch(&broker, start).await, [Ok(size)]);
    log.set_leaving(false);
    assert_eq!(fetch(&broker, ends()).await, [Ok(0), Ok(0)]);
}

//! Two or three brokers: one leads, another one serves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use alluvium_cache::budget::ReadClass;
use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_query::fetch::{FetchError, PartitionRead};
use alluvium_segment::record_batch::{DecodeLimits, StoredBatch, split};
use bytes::Bytes;

use super::*;
use crate::rpc::testing::{TestBroker, World, tp, until};

const MEMORY: usize = 16 << 20;

fn values(read: &PartitionRead) -> Vec<String> {
    let joined: Bytes = read.read.records.concat().into();
    let mut values = Vec::new();
    for batch in split(&joined) {
        let (_, raw) = batch.expect("whole");
        let batch = StoredBatch::from_stored(raw).expect("a batch");
        for record in batch.records(&DecodeLimits::default()).expect("opens") {
            let value = record.expect("a record").value.expect("a value");
            values.push(String::from_utf8(value.to_vec()).expect("text"));
        }
    }
    values
}

fn is_not_here(result: &Result<PartitionRead, FetchError>) -> bool {
    matches!(
        result,
        Err(FetchError::Read(
            ReadError::UnknownPartition | ReadError::Closed(CloseReason::NotLeader)
        ))
    )
}

/// Everything from `from` on, by as many fetches as it takes.
async fn all(broker: &TestBroker, rack: &str, from: i64, upto: i64) -> Vec<String> {
    let mut all = Vec::new();
    let mut next = from;
    while next < upto {
        let got = broker.fetch(rack, tp(0), next, Duration::ZERO).await;
        let got = got.expect("served");
        assert!(got.read.next_offset.get() > next, "stands still at {next}");
        next = got.read.next_offset.get();
        all.extend(values(&got));
    }
    all
}

fn numbered(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|number| format!("value {number}")).collect()
}

async fn append(broker: &TestBroker, range: std::ops::Range<i64>) {
    for number in range {
        let offset = broker.append(tp(0), &format!("value {number}")).await;
        assert_eq!(offset, number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_seen_at_once_on_a_follower() {
    for durability in ["object", "local"] {
        let world = World::new();
        let leader = world.broker(1, "a", MEMORY).await;
        let other = world.broker(2, "b", MEMORY).await;
        world.create_topic(1, 1, durability).await;
        leader.leads(tp(0)).await;
        append(&leader, 0..3).await;
        until("the other broker knows the leader", || {
            other.followers.leading(tp(0)).is_some()
        })
        .await;
        assert_eq!(all(&other, "b", 0, 3).await, numbered(0..3));
        for number in 3..30 {
            append(&leader, number..number + 1).await;
            let got = other.fetch("b", tp(0), number, Duration::ZERO).await;
            let got = got.expect("served");
            assert_eq!(values(&got), numbered(number..number + 1), "{durability}");
        }
        assert_eq!(all(&other, "b", 5, 30).await, numbered(5..30));
        assert_eq!(other.followers.len(), 1);
        // Whoever says nothing of its rack, or another one, must go to the leader.
        assert!(is_not_here(
            &other.fetch("a", tp(0), 0, Duration::ZERO).await
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_on_a_follower_wakes_with_the_leaders_acknowledgement() {
    let world = World::new();
    let leader = world.broker(1, "a", MEMORY).await;
    let other = world.broker(2, "b", MEMORY).await;
    world.create_topic(1, 1, "local").await;
    leader.leads(tp(0)).await;
    until("known", || other.followers.leading(tp(0)).is_some()).await;
    let waiting = other.fetch("b", tp(0), 0, Duration::from_secs(15));
    let appending = async {
        until("it is followed", || other.followers.len() == 1).await;
        append(&leader, 0..1).await;
    };
    let began = Instant::now();
    let (got, ()) = tokio::join!(waiting, appending);
    assert_eq!(values(&got.expect("served")), numbered(0..1));
    assert!(began.elapsed() < Duration::from_secs(10), "it was woken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_another_rack_are_sent_to_a_broker_there() {
    let world = World::new();
    let leader = world.broker(1, "a", MEMORY).await;
    let _other = world.broker(2, "b", MEMORY).await;
    world.create_topic(1, 1, "local").await;
    leader.leads(tp(0)).await;
    append(&leader, 0..1).await;
    until("the leader knows the other", || {
        leader.view.picture().brokers.all().count() == 2
    })
    .await;
    let sent = leader.fetch("b", tp(0), 0, Duration::ZERO).await;
    assert_eq!(sent.expect("answered").preferred, Some(BrokerId(2)));
    // Who is back at once could not read there.
    let back = leader.fetch("b", tp(0), 0, Duration::ZERO).await;
    assert_eq!(values(&back.expect("served")), numbered(0..1));
    for rack in ["a", "nobody is here"] {
        let served = leader.fetch(rack, tp(0), 0, Duration::ZERO).await;
        assert_eq!(served.expect("served").preferred, None);
    }
}

/// Nothing of it fits into the follower's memory, and no segment holds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_a_followers_memory_is_read_from_the_leader() {
    let world = World::new();
    let leader = world.broker(1, "a", MEMORY).await;
    let other = world.broker(2, "b", 1).await;
    world.create_topic(1, 1, "local").await;
    leader.leads(tp(0)).await;
    let refused = Fault::Refuse {
        status: 503,
        code: "SlowDown",
    };
    world
        .faults
        .add(FaultRule::always(Operation::Put, refused.clone()));
    world.faults.add(FaultRule::always(Operation::Get, refused));
    append(&leader, 0..20).await;
    until("known", || other.followers.leading(tp(0)).is_some()).await;
    assert_eq!(all(&other, "b", 0, 20).await, numbered(0..20));
    // Memory is given back when the next batch comes.
    append(&leader, 20..21).await;
    assert_eq!(all(&other, "b", 20, 21).await, numbered(20..21));
    let one_batch = 200;
    assert!(other.tail_budget.resident_bytes() < one_batch);
    assert_eq!(all(&other, "b", 0, 21).await, numbered(0..21));
    world.faults.heal();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_come_from_the_object_store_and_not_from_the_leader() {
    let world = World::new();
    let leader = world.broker(1, "a", MEMORY).await;
    let other = world.broker(2, "b", MEMORY).await;
    world.create_topic(1, 1, "object").await;
    leader.leads(tp(0)).await;
    append(&leader, 0..5).await;
    until("known", || other.followers.leading(tp(0)).is_some()).await;
    assert_eq!(all(&other, "b", 0, 5).await, numbered(0..5));
    let gets = |class| other.cache_metrics.gets(class).get();
    assert_eq!(
        gets(ReadClass::Tail) + gets(ReadClass::Backfill),
        5,
        "one for each segment"
    );
    assert_eq!(other.tail_budget.resident_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_leave_a_leader_that_leads_no_more() {
    let world = World::new();
    let leader = world.broker(1, "a", MEMORY).await;
    let other = world.broker(2, "b", MEMORY).await;
    let third = world.broker(3, "c", MEMORY).await;
    world.create_topic(1, 1, "local").await;
    leader.leads(tp(0)).await;
    append(&leader, 0..2).await;
    until("known", || other.followers.leading(tp(0)).is_some()).await;
    assert_eq!(all(&other, "b", 0, 2).await, numbered(0..2));
    let waiting = other.fetch("b", tp(0), 2, Duration::from_secs(15));
    let moving = async {
        world.move_to(tp(0), 3).await;
        third.leads(tp(0)).await;
    };
    let (told, ()) = tokio::join!(waiting, moving);
    assert!(
        is_not_here(&told),
        "its waiting readers look for the leader"
    );
    append(&third, 2..4).await;
    until("the other follows the third", || {
        let leading = other.followers.leading(tp(0));
        leading.is_some_and(|leading| leading.broker_id == BrokerId(3))
    })
    .await;
    assert_eq!(all(&other, "b", 0, 4).await, numbered(0..4));
    // The former leader serves its own rack now.
    until("the former leader knows", || {
        leader.followers.leading(tp(0)).is_some()
    })
    .await;
    assert_eq!(all(&leader, "a", 0, 4).await, numbered(0..4));
}

/// I12, F3: a leader that cannot prove its session says nothing of the end, and its followers neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_that_is_sure_committed_data_is_served_and_the_end_is_not_told() {
    let world = World::new();
    let leader = world.broker(1, "a", MEMORY).await;
    let other = world.broker(2, "b", MEMORY).await;
    world.create_topic(1, 1, "local").await;
    leader.leads(tp(0)).await;
    append(&leader, 0..2).await;
    until("known", || other.followers.leading(tp(0)).is_some()).await;
    assert_eq!(all(&other, "b", 0, 2).await, numbered(0..2));
    leader.is_alive.store(false, Ordering::Relaxed);
    assert!(is_not_here(
        &other.fetch("b", tp(0), 2, Duration::ZERO).await
    ));
    leader.is_alive.store(true, Ordering::Relaxed);
    assert!(all(&other, "b", 0, 2).await == numbered(0..2));
    // Cut off from the leader altogether.
    leader.stopping.cancel();
    assert_eq!(all(&other, "b", 0, 2).await, numbered(0..2));
    assert!(is_not_here(
        &other.fetch("b", tp(0), 2, Duration::ZERO).await
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_beyond_the_leaders_end_are_out_of_range() {
    let world = World::new();
    let leader = world.broker(1, "a", MEMORY).await;
    let other = world.broker(2, "b", MEMORY).await;
    world.create_topic(1, 1, "local").await;
    leader.leads(tp(0)).await;
    append(&leader, 0..2).await;
    until("known", || other.followers.leading(tp(0)).is_some()).await;
    let beyond = other.fetch("b", tp(0), 3, Duration::ZERO).await;
    assert!(matches!(
        beyond,
        Err(FetchError::Read(ReadError::OffsetOutOfRange { offsets })) if offsets.log_end.get() == 2
    ));
    let empty = other
        .fetch("b", tp(0), 2, Duration::ZERO)
        .await
        .expect("the end");
    assert_eq!(
        (
            empty.read.size_bytes,
            empty.read.offsets.high_watermark.get()
        ),
        (0, 2)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_one_rack_fetch_each_segment_once() {
    let world = World::new();
    let leader = world.broker(1, "a", MEMORY).await;
    let readers = [
        world.broker(2, "b", MEMORY).await,
        world.broker(3, "b", MEMORY).await,
        world.broker(4, "b", MEMORY).await,
    ];
    world.create_topic(1, 1, "object").await;
    leader.leads(tp(0)).await;
    append(&leader, 0..6).await;
    for reader in &readers {
        until("all are known", || {
            let picture = reader.view.picture();
            picture.brokers.all().count() == 4 && reader.followers.leading(tp(0)).is_some()
        })
        .await;
    }
    for reader in &readers {
        assert_eq!(all(reader, "b", 0, 6).await, numbered(0..6));
    }
    let gets = |broker: &TestBroker| {
        let metrics = &broker.cache_metrics;
        metrics.gets(ReadClass::Tail).get() + metrics.gets(ReadClass::Backfill).get()
    };
    assert_eq!(
        readers.iter().map(gets).sum::<u64>(),
        6,
        "one for each segment"
    );
    let from_others = readers.iter().map(|one| one.cache_metrics.peer_pages.get());
    assert_eq!(from_others.sum::<u64>(), 12);
    // Two of them gone without a word: the third reads for itself.
    append(&leader, 6..12).await;
    readers[1].stopping.cancel();
    readers[2].stopping.cancel();
    assert_eq!(all(&readers[0], "b", 6, 12).await, numbered(6..12));
}

//! Batches that cannot be opened. Their content is the producer's, and was not looked at when it came.

use alluvium_common::offset::Offset;

use super::batches::{BatchSpec, Lie};
use super::compactors::{SMALL, eager};
use super::world::{World, tp};
use super::*;
use crate::publish::bounds::Bounds;

const LIES: [Lie; 4] = [
    Lie::NotCompressed,
    Lie::OffsetsBeyond,
    Lie::TooFewCounted,
    Lie::Checksum,
];

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

async fn ends(world: &World, topic: TopicId) -> Vec<i64> {
    let mut ends = Vec::new();
    for partition in 0..3 {
        ends.push(world.published_end(tp(topic, partition)).await);
    }
    ends
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_cannot_be_opened_keeps_its_partition_only() {
    for (lie, goes_on) in LIES.into_iter().flat_map(|lie| [(lie, false), (lie, true)]) {
        let mut world = World::new(1).await;
        let broker = world.broker(1).await;
        let session = world.session(10).await;
        let topic = world.topic("t", 3, broker).await;
        let other = world.topic("other", 1, broker).await;
        for tp in [tp(topic, 0), tp(topic, 1), tp(topic, 2), tp(other, 0)] {
            world.commit(tp, 10).await;
        }
        world.produce(tp(topic, 1), BatchSpec::plain(&*world.random, 5));
        let lying = BatchSpec::plain(&*world.random, 20).lying(lie);
        world.produce(tp(topic, 1), lying);
        if goes_on {
            world.produce(tp(topic, 1), BatchSpec::plain(&*world.random, 5));
        }
        world.commit(tp(topic, 2), 10).await;
        let mut publisher = world.publisher(&session, eager());
        let first = world.round(&mut publisher).await;
        assert_eq!((first.published, first.failed), (1, 1), "{lie:?}");
        assert_eq!(
            publisher.blocked.values().cloned().collect::<Vec<_>>(),
            [offset(15)..offset(35)],
            "{lie:?}: the batch is named, and no other"
        );
        world.settle(&mut [&mut publisher]).await;
        world.check_topic(topic).await;
        assert_eq!(ends(&world, topic).await, [10, 10, 20]);
        assert_eq!(world.published_end(tp(other, 0)).await, 10);
        assert_eq!(publisher.with.metrics.blocked_partitions.get(), 1);

        // What comes later of the others goes on.
        for partition in 0..3 {
            world.commit(tp(topic, partition), 10).await;
        }
        world.settle(&mut [&mut publisher]).await;
        assert_eq!(ends(&world, topic).await, [20, 10, 30]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_goes_on_when_the_batch_that_blocked_it_is_deleted() {
    let mut world = World::new(2).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 2, broker).await;
    let lying = BatchSpec::plain(&*world.random, 5).lying(Lie::NotCompressed);
    world.commit(tp(topic, 1), 10).await;
    world.produce(tp(topic, 0), lying);
    world.commit(tp(topic, 0), 10).await;
    world.commit(tp(topic, 0), 10).await;
    let mut publisher = world.publisher(&session, eager());
    assert_eq!(world.round(&mut publisher).await.failed, 1);
    world.settle(&mut [&mut publisher]).await;
    assert_eq!(world.published_end(tp(topic, 0)).await, 0);
    // Not far enough.
    world.set_log_start(tp(topic, 0), offset(4)).await;
    world.settle(&mut [&mut publisher]).await;
    assert_eq!(world.published_end(tp(topic, 0)).await, 0);
    world.set_log_start(tp(topic, 0), offset(5)).await;
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
    assert_eq!(publisher.with.metrics.blocked_partitions.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_blocked_is_no_longer_counted_when_its_topic_is_gone() {
    let mut world = World::new(3).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 1, broker).await;
    let lying = BatchSpec::plain(&*world.random, 5).lying(Lie::NotCompressed);
    world.produce(tp(topic, 0), lying);
    world.seal(broker).await;
    let mut publisher = world.publisher(&session, eager());
    assert_eq!(world.round(&mut publisher).await.failed, 1);
    assert_eq!(publisher.with.metrics.blocked_partitions.get(), 1);
    world.delete_topic(topic).await;
    world.settle(&mut [&mut publisher]).await;
    assert_eq!(publisher.with.metrics.blocked_partitions.get(), 0);
}

/// It may go on for weeks. Others must not wait for that.
#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_blocked_batch_does_not_keep_others() {
    let mut world = World::new(4).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 1, broker).await;
    let other = world.topic("other", 1, broker).await;
    let lying = BatchSpec::plain(&*world.random, 5).lying(Lie::NotCompressed);
    world.commit(tp(topic, 0), 5).await;
    world.produce(tp(topic, 0), lying);
    world.seal(broker).await;
    let bounds = Bounds {
        backlog_blocks: 10,
        ..SMALL
    };
    let mut publisher = world.bounded(&session, eager(), bounds);
    assert_eq!(world.round(&mut publisher).await.failed, 1);
    for _ in 0..30 {
        world.commit(tp(topic, 0), 5).await;
    }
    world.commit(tp(other, 0), 5).await;
    world.settle(&mut [&mut publisher]).await;
    assert_eq!(world.published_end(tp(topic, 0)).await, 5);
    assert_eq!(world.published_end(tp(other, 0)).await, 5);
    // Nothing of it is forgotten for good.
    world.set_log_start(tp(topic, 0), offset(10)).await;
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
}

//! The backlog is bounded, and what did not fit is taken in later.

use super::batches::BatchSpec;
use super::compactors::{SMALL, eager};
use super::world::{World, tp};
use super::*;
use crate::publish::bounds::Bounds;

const FEW: Bounds = Bounds {
    backlog_blocks: 12,
    ..SMALL
};

fn blocks(publisher: &Publisher) -> usize {
    let topics = publisher.backlog.topics();
    let pending = topics
        .iter()
        .flat_map(|topic_id| publisher.backlog.of(*topic_id));
    let spans = pending.flat_map(|(_, spans)| spans);
    spans.map(|pending| pending.span.blocks.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_waits_for_what_was_published() {
    let mut world = World::new(1).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 2, broker).await;
    for _ in 0..40 {
        for partition in [0, 1] {
            world.produce(tp(topic, partition), BatchSpec::any(&*world.random));
        }
        world.seal(broker).await;
    }
    // There is little of it, and it is published because no more is taken in before.
    let mut options = eager();
    options.limits.bytes_min = u64::MAX;
    let mut publisher = world.bounded(&session, options, FEW);
    let mut end = 0;
    for _ in 0..3 {
        let round = world.round(&mut publisher).await;
        assert_eq!((round.published, round.more), (1, true));
        assert!(publisher.backlog.is_full());
        assert!(blocks(&publisher) < FEW.backlog_blocks + 10);
        let published = world.published_end(tp(topic, 0)).await;
        assert!(published > end);
        end = published;
    }
    world.settle(&mut [&mut publisher]).await;
    world.check_topic(topic).await;
    assert!(!publisher.backlog.is_full());
    // With the next commits it is full again, and then nothing is left.
    let mut publisher = world.bounded(&session, eager(), FEW);
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
    assert_eq!(blocks(&publisher), 0);
}

/// What comes first of a partition may be in the log that is read last.
#[tokio::test(start_paused = true)]
async fn a_backlog_full_of_what_cannot_be_published_yet_goes_on() {
    let mut world = World::new(2).await;
    let (later, earlier) = (world.broker(1).await, world.broker(2).await);
    let session = world.session(10).await;
    let topic = world.topic("t", 1, earlier).await;
    let tp = tp(topic, 0);
    for to in [later, earlier, later] {
        for _ in 0..20 {
            world.commit(tp, 5).await;
        }
        world.hand_over(tp, to).await;
    }
    for _ in 0..20 {
        world.commit(tp, 5).await;
    }
    let mut publisher = world.bounded(&session, eager(), FEW);
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
    assert!(!publisher.backlog.is_full());
    for _ in 0..20 {
        world.commit(tp, 5).await;
    }
    assert!(
        world.round(&mut publisher).await.more,
        "the bound is as it was"
    );
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_not_done_while_not_everything_fits() {
    use alluvium_metadata::compaction::PublicationWriter;
    use alluvium_metadata::store::MetadataStoreExt;
    let mut world = World::new(3).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 1, broker).await;
    for _ in 0..40 {
        world.commit(tp(topic, 0), 5).await;
    }
    let writer = PublicationWriter::new(world.memory.clone(), world.keys.clone());
    let clock: SharedClock = world.clock.clone();
    writer
        .request(&session, topic, &clock)
        .await
        .expect("asked");
    let mut publisher = world.bounded(&session, eager(), FEW);
    let request = world.keys.publish_request(topic);
    for _ in 0..100 {
        assert_eq!(world.round(&mut publisher).await.failed, 0);
        let standing = world.memory.get(request.clone()).await;
        if standing.expect("read").is_none() {
            world.check_all().await;
            return;
        }
    }
    panic!("the request is never done");
}

#[tokio::test(start_paused = true)]
async fn folds_that_begin_before_what_is_known_bring_nothing_twice() {
    let mut world = World::new(4).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 1, broker).await;
    let mut publisher = world.publisher(&session, eager());
    let mut options = eager();
    options.limits.bytes_min = u64::MAX;
    let mut patient = world.publisher(&session, options);
    for round in 0..10 {
        for _ in 0..4 {
            world.commit(tp(topic, 0), 3).await;
        }
        assert_eq!(world.round(&mut patient).await, Round::default());
        world.fold(broker).await;
        if round % 3 == 1 {
            world.settle(&mut [&mut publisher]).await;
            world.check_all().await;
        }
    }
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
    assert_eq!(world.round(&mut patient).await, Round::default());
    assert_eq!(blocks(&patient), 0, "others have published it");
}

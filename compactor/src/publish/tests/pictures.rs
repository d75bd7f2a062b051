//! Pictures that are older than what is read, topics that go, manifests that cannot be read.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::batches::BatchSpec;
use super::compactors::eager;
use super::world::{World, tp};
use super::*;

const LONG: Duration = Duration::from_secs(100 * 24 * 3600);

#[tokio::test(start_paused = true)]
async fn topics_that_the_picture_does_not_show_yet_are_published_later() {
    let mut world = World::new(1).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("old", 1, broker).await;
    world.commit(tp(topic, 0), 3).await;
    let mut publisher = world.publisher(&session, eager());
    world.settle(&mut [&mut publisher]).await;

    world.view_faults.away_for(LONG);
    let new = world.topic("new", 1, broker).await;
    let added = world.add_partition(topic, broker).await;
    for tp in [tp(new, 0), added, tp(topic, 0)] {
        world.commit(tp, 3).await;
    }
    publisher.round().await;
    publisher.round().await;
    world.view_faults.back();
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_moved_unseen_is_published_later() {
    let mut world = World::new(2).await;
    let (a, b) = (world.broker(1).await, world.broker(2).await);
    let session = world.session(10).await;
    let topic = world.topic("t", 1, a).await;
    world.commit(tp(topic, 0), 3).await;
    let mut publisher = world.publisher(&session, eager());
    world.settle(&mut [&mut publisher]).await;
    world.view_faults.away_for(LONG);
    world.commit(tp(topic, 0), 3).await;
    world.hand_over(tp(topic, 0), b).await;
    world.commit(tp(topic, 0), 3).await;
    publisher.round().await;
    publisher.round().await;
    world.view_faults.back();
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn topics_that_are_deleted_do_not_keep_others() {
    let mut world = World::new(3).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let (gone, stays) = (
        world.topic("gone", 2, broker).await,
        world.topic("stays", 2, broker).await,
    );
    let mut publisher = world.publisher(&session, eager());
    for round in 0..2 {
        for topic in [gone, stays] {
            for partition in [0, 1] {
                world.produce(tp(topic, partition), BatchSpec::any(&*world.random));
            }
        }
        world.seal(broker).await;
        if round == 0 {
            world.settle(&mut [&mut publisher]).await;
        }
    }
    world.delete_topic(gone).await;
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
    assert!(world.manifest(gone).await.is_none());
    assert_eq!(publisher.backlog.topics(), []);

    // One that knows nothing meets its segments in the logs.
    session.close().await.expect("closed");
    let other = world.session(11).await;
    let mut publisher = world.publisher(&other, eager());
    let again = world.topic("gone", 1, broker).await;
    world.commit(tp(again, 0), 3).await;
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
    assert_eq!(publisher.backlog.topics(), []);
}

/// The topic goes while its files are written. What was made to count in spite of it is removed like all that is left.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_while_it_is_published_leaves_nothing() {
    for published_before in [false, true] {
        let mut world = World::new(4).await;
        let broker = world.broker(1).await;
        let session = world.session(10).await;
        let (gone, stays) = (
            world.topic("gone", 1, broker).await,
            world.topic("stays", 1, broker).await,
        );
        let mut publisher = world.publisher(&session, eager());
        if published_before {
            world.commit(tp(gone, 0), 3).await;
            world.settle(&mut [&mut publisher]).await;
        }
        world.commit(tp(gone, 0), 3).await;
        world.commit(tp(stays, 0), 3).await;
        world.catch_up().await;
        // It goes behind the picture that the round goes by.
        world.view_faults.away_for(LONG);
        world.delete_topic(gone).await;
        publisher.round().await;
        world.view_faults.back();
        world.remove_orphans(gone).await;
        world.settle(&mut [&mut publisher]).await;
        world.check_all().await;
        assert!(world.manifest(gone).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_cannot_be_read_keeps_its_topic_only() {
    let mut world = World::new(5).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let (bad, good) = (
        world.topic("bad", 1, broker).await,
        world.topic("good", 1, broker).await,
    );
    for topic in [bad, good] {
        world.commit(tp(topic, 0), 3).await;
    }
    let mut publisher = world.publisher(&session, eager());
    world.settle(&mut [&mut publisher]).await;
    session.close().await.expect("closed");
    let stands = publisher.writer.read(bad).await.expect("read");
    let path = Path::from(stands.expect("published").record.object_key.as_str());
    let whole = world.bucket.get(&path).await.expect("there").bytes().await;
    let whole = whole.expect("read");
    world.bucket.delete(&path).await.expect("deleted");

    let other = world.session(11).await;
    let mut publisher = world.publisher(&other, eager());
    for topic in [bad, good] {
        world.commit(tp(topic, 0), 3).await;
    }
    for _ in 0..3 {
        assert!(world.round(&mut publisher).await.failed > 0);
    }
    assert_eq!(world.published_end(tp(good, 0)).await, 6);
    let put = world
        .bucket
        .put_opts(&path, whole.into(), Default::default());
    put.await.expect("put");
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
}

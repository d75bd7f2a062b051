//! The bucket and the metadata store fail: what is published stays right, and it goes on afterwards.

use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_metadata::store::fault::{Fault as StoreFault, FaultRates};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::batches::BatchSpec;
use super::compactors::eager;
use super::world::{World, tp};
use super::*;

const REFUSED: Fault = Fault::Refuse {
    status: 403,
    code: "AccessDenied",
};

/// Two topics with some batches. The files of the first one are put in parts.
async fn world_with_work(seed: u64) -> (World, usize, [TopicId; 2]) {
    let mut world = World::new(seed).await;
    let broker = world.broker(1).await;
    let topics = [
        world.topic("large", 2, broker).await,
        world.topic("small", 1, broker).await,
    ];
    more_work(&mut world, broker, topics).await;
    (world, broker, topics)
}

async fn more_work(world: &mut World, broker: usize, [large, small]: [TopicId; 2]) {
    for _ in 0..4 {
        for partition in [0, 1] {
            world.produce(tp(large, partition), BatchSpec::plain(&*world.random, 30));
        }
        world.produce(tp(small, 0), BatchSpec::plain(&*world.random, 3));
        world.seal(broker).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_not_put_is_published_later() {
    let faults = [REFUSED, Fault::LoseReply, Fault::Hang];
    let kinds = [
        (Operation::Put, "tables/"),
        (Operation::Put, "manifests/"),
        (Operation::Upload, "tables/"),
    ];
    for (fault, (operation, name)) in faults
        .iter()
        .flat_map(|fault| kinds.map(|kind| (fault, kind)))
    {
        let (mut world, broker, topics) = world_with_work(1).await;
        let session = world.session(10).await;
        let mut publisher = world.publisher(&session, eager());
        for _ in 0..2 {
            world.bucket_faults.add(FaultRule {
                name_contains: Some(name.to_owned()),
                ..FaultRule::next(operation, 1, fault.clone())
            });
            let round = world.round(&mut publisher).await;
            assert_eq!(round.failed, 1, "{fault:?} {operation:?} {name}");
            world.bucket_faults.heal();
            world.check_topic(topics[0]).await;
            world.settle(&mut [&mut publisher]).await;
            world.check_all().await;
            more_work(&mut world, broker, topics).await;
        }
    }
}

/// Each call of an upload in parts fails once, beginning, parts and end.
#[tokio::test(start_paused = true)]
async fn an_upload_that_fails_anywhere_is_begun_anew() {
    for seed in 0..8 {
        let (world, _, _) = world_with_work(seed).await;
        let session = world.session(10).await;
        let mut publisher = world.publisher(&session, eager());
        for fault in [REFUSED, Fault::LoseReply, Fault::Hang] {
            world.bucket_faults.add(FaultRule {
                per_mille: 250,
                ..FaultRule::next(Operation::Upload, 2, fault)
            });
        }
        world.round(&mut publisher).await;
        world.bucket_faults.heal();
        world.settle(&mut [&mut publisher]).await;
        world.check_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_on_its_way_is_read_again() {
    let (mut world, broker, topics) = world_with_work(2).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, eager());
    for fault in [Fault::FlipBit, Fault::CutBody(10), REFUSED] {
        let read_again = fault != REFUSED;
        world.bucket_faults.add(FaultRule {
            name_contains: Some("segments/".to_owned()),
            ..FaultRule::next(Operation::Get, 1, fault)
        });
        let round = world.round(&mut publisher).await;
        assert_eq!(round.failed == 0, read_again);
        world.settle(&mut [&mut publisher]).await;
        world.check_all().await;
        more_work(&mut world, broker, topics).await;
    }
    for per_mille in [100, 500] {
        world.bucket_faults.add(FaultRule {
            per_mille,
            ..FaultRule::always(Operation::Get, Fault::FlipBit)
        });
        for _ in 0..5 {
            world.round(&mut publisher).await;
            world.check_topic(topics[0]).await;
        }
        world.bucket_faults.heal();
        world.settle(&mut [&mut publisher]).await;
        world.check_all().await;
        more_work(&mut world, broker, topics).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_damaged_stops_its_topic_there_and_is_named() {
    let mut world = World::new(3).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let (bad, good) = (
        world.topic("bad", 2, broker).await,
        world.topic("good", 1, broker).await,
    );
    let mut publisher = world.publisher(&session, eager());
    world.commit(tp(bad, 0), 20).await;
    world.settle(&mut [&mut publisher]).await;
    let damaged = world.commit(tp(bad, 0), 20).await;
    world.commit(tp(bad, 1), 20).await;
    world.commit(tp(good, 0), 20).await;
    let path = Path::from(damaged.object_key.as_str());
    let whole = world.bucket.get(&path).await.expect("there").bytes().await;
    let whole = whole.expect("read");
    let mut bytes = whole.to_vec();
    bytes[100] ^= 4;
    world.bucket.put(&path, bytes.into()).await.expect("put");
    for _ in 0..3 {
        assert_eq!(world.round(&mut publisher).await.failed, 1);
    }
    assert_eq!(world.published_end(tp(bad, 0)).await, 20);
    assert_eq!(world.published_end(tp(good, 0)).await, 20);
    let picture = world.view.picture();
    let (topic_id, work, request) = publisher.due(&picture).remove(0);
    let error = publisher.publish(&picture, topic_id, work, request).await;
    let error = error.expect_err("damaged").to_string();
    assert!(error.contains(damaged.object_key.as_str()), "{error}");
    world.bucket.put(&path, whole.into()).await.expect("put");
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn replies_of_the_metadata_store_get_lost() {
    for seed in 0..5 {
        let (mut world, broker, topics) = world_with_work(seed).await;
        let session = world.session(10).await;
        let mut publisher = world.publisher(&session, eager());
        world.store_faults.set_rates(FaultRates {
            refused: 100,
            reply_lost: 150,
            request_lost: 100,
            ..FaultRates::default()
        });
        for _ in 0..3 {
            world.round(&mut publisher).await;
            world.check_topic(topics[0]).await;
            more_work(&mut world, broker, topics).await;
        }
        world.store_faults.set_rates(FaultRates::default());
        world.settle(&mut [&mut publisher]).await;
        world.check_all().await;
    }
}

/// The manifest counts, and nobody learns of it for longer than anybody tries.
#[tokio::test(start_paused = true)]
async fn a_manifest_that_counts_unknown_to_its_maker_is_gone_on_from() {
    let (mut world, broker, topics) = world_with_work(4).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, eager());
    world.settle(&mut [&mut publisher]).await;
    more_work(&mut world, broker, topics).await;
    world.store_faults.next([StoreFault::ReplyLost; 1]);
    world.store_faults.next([StoreFault::Refused; 150]);
    let round = world.round(&mut publisher).await;
    assert!(round.failed > 0);
    world.store_faults.clear();
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
}

/// Whoever comes next begins with what counts, wherever the one before was stopped.
#[tokio::test(start_paused = true)]
async fn a_publisher_that_dies_anywhere_has_changed_nothing_or_all() {
    for seed in 0..8 {
        let (mut world, broker, topics) = world_with_work(seed).await;
        let random = SeededRandom::new(seed);
        for life in 0..4 {
            // Now and then of the same session, as if only the task had died.
            let session = world.session(10 + life).await;
            for _ in 0..1 + random.below(2) {
                let mut publisher = world.publisher(&session, eager());
                world.catch_up().await;
                world.bucket_faults.add(FaultRule {
                    operation: None,
                    name_contains: None,
                    per_mille: 10 + random.below(200) as u32,
                    times: Some(1),
                    fault: Fault::Hang,
                });
                let before = world.bucket_faults.injected();
                // Drops the round as soon as it hangs.
                let hangs = futures::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    match world.bucket_faults.injected() > before {
                        true => std::task::Poll::Ready(()),
                        false => std::task::Poll::Pending,
                    }
                });
                tokio::select! {
                    biased;
                    _ = publisher.round() => {}
                    () = hangs => {}
                }
                world.bucket_faults.heal();
                for topic in topics {
                    world.check_topic(topic).await;
                }
            }
            session.close().await.expect("closed");
            more_work(&mut world, broker, topics).await;
        }
        let session = world.session(20).await;
        let mut publisher = world.publisher(&session, eager());
        world.settle(&mut [&mut publisher]).await;
        world.check_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_that_publish_one_topic_the_later_one_fails() {
    for seed in 0..5 {
        let (mut world, broker, topics) = world_with_work(seed).await;
        // One session, as if both held the claims.
        let session = world.session(10).await;
        let mut options = eager();
        options.limits.bytes_max = 3_000;
        let mut one = world.publisher(&session, options.clone());
        let mut two = world.publisher(&session, options);
        let (mut published, mut failed) = (0, 0);
        for _ in 0..6 {
            world.catch_up().await;
            let (first, second) = tokio::join!(one.round(), two.round());
            published += first.published + second.published;
            failed += first.failed + second.failed;
            for topic in topics {
                world.check_topic(topic).await;
            }
        }
        assert!(
            published > 0 && failed > 0,
            "seed {seed}: {published} {failed}"
        );
        more_work(&mut world, broker, topics).await;
        world.settle(&mut [&mut one, &mut two]).await;
        world.check_all().await;
    }
}

/// It knows an older manifest than the one that counts. Going on from there would take back what others have published.
#[tokio::test(start_paused = true)]
async fn a_publisher_that_is_behind_takes_nothing_back() {
    let (mut world, broker, topics) = world_with_work(5).await;
    let session = world.session(10).await;
    let mut little = eager();
    little.limits.bytes_max = 1;
    let mut ahead = world.publisher(&session, eager());
    let mut behind = world.publisher(&session, little);
    world.settle(&mut [&mut ahead, &mut behind]).await;
    more_work(&mut world, broker, topics).await;
    world
        .view_faults
        .away_for(Duration::from_secs(100 * 24 * 3600));
    assert_eq!(ahead.round().await.published, 2);
    let end = world.published_end(tp(topics[0], 0)).await;
    let round = behind.round().await;
    assert_eq!((round.published, round.failed), (0, 2));
    assert_eq!(world.published_end(tp(topics[0], 0)).await, end);
    world.view_faults.back();
    world.settle(&mut [&mut ahead, &mut behind]).await;
    world.check_all().await;
}

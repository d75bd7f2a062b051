//! What rounds publish, and when.

use alluvium_common::clock::Clock;
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_common::rand::Random;
use alluvium_common::topic::PartitionIndex;
use alluvium_metadata::compaction::PublicationWriter;
use alluvium_metadata::store::MetadataStoreExt;

use super::batches::BatchSpec;
use super::compactors::eager;
use super::world::{World, tp};
use super::*;

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

#[tokio::test(start_paused = true)]
async fn everything_committed_is_published_once_and_in_order() {
    let mut world = World::new(1).await;
    let broker = world.broker(1).await;
    let (one, two) = (
        world.topic("one", 3, broker).await,
        world.topic("two", 2, broker).await,
    );
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, eager());
    for _ in 0..4 {
        for _ in 0..6 {
            for _ in 0..10 {
                let topic = if world.random.below(2) == 0 {
                    (one, 3)
                } else {
                    (two, 2)
                };
                let tp = tp(topic.0, world.random.below(topic.1) as i32);
                world.produce(tp, BatchSpec::any(&*world.random));
            }
            world.seal(broker).await;
        }
        world.settle(&mut [&mut publisher]).await;
        world.check_all().await;
    }
    let tables = world.manifest(one).await.expect("published");
    assert_eq!(tables.version(), 4);
    assert_eq!(tables.tables().len(), 4);
}

/// The order of a partition is that of its tail's entries, not that of sessions.
#[tokio::test(start_paused = true)]
async fn a_partition_that_moved_there_and_back_is_published_in_its_order() {
    let mut world = World::new(2).await;
    let (a, b) = (world.broker(1).await, world.broker(2).await);
    let topic = world.topic("moved", 2, a).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, eager());
    for round in 0..3 {
        for to in [b, a, b, a] {
            for partition in [0, 1] {
                world.produce(tp(topic, partition), BatchSpec::any(&*world.random));
            }
            world.seal_all().await;
            world.produce(tp(topic, 0), BatchSpec::any(&*world.random));
            world.hand_over(tp(topic, 0), to).await;
        }
        if round > 0 {
            world.fold(a).await;
            world.fold(b).await;
        }
        world.settle(&mut [&mut publisher]).await;
        world.check_all().await;
    }
    // A session ends, and what it had not committed is gone.
    world.produce(tp(topic, 1), BatchSpec::any(&*world.random));
    world.kill(a, b).await;
    for partition in [0, 1] {
        world.commit(tp(topic, partition), 5).await;
    }
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;

    // A publisher that knows nothing yet finds the same.
    let other = world.session(11).await;
    drop(publisher);
    session.close().await.expect("closed");
    let mut publisher = world.publisher(&other, eager());
    assert_eq!(world.round(&mut publisher).await, Round::default());
    world.commit(tp(topic, 0), 5).await;
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_before_it_is_published_need_not_be() {
    let mut world = World::new(3).await;
    let broker = world.broker(1).await;
    let topic = world.topic("t", 2, broker).await;
    for _ in 0..3 {
        world.commit(tp(topic, 0), 10).await;
        world.commit(tp(topic, 1), 10).await;
    }
    // Within the second segment of one partition, and all of the other.
    world.set_log_start(tp(topic, 0), offset(13)).await;
    world.set_log_start(tp(topic, 1), offset(30)).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, eager());
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
    let manifest = world.manifest(topic).await.expect("published");
    let spans: Vec<_> = manifest.spans_from(PartitionIndex(0), offset(0)).collect();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].offsets(), offset(13)..offset(30));
    assert_eq!(spans[0].span.records, 17);
    for partition in [0, 1] {
        world.commit(tp(topic, partition), 10).await;
    }
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
    assert_eq!(world.published_end(tp(topic, 1)).await, 40);
}

#[tokio::test(start_paused = true)]
async fn a_topic_waits_until_it_has_enough_or_waited_long_or_somebody_asks() {
    let mut world = World::new(4).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 1, broker).await;
    let mut options = eager();
    options.limits.bytes_min = 3_000;
    options.limits.age_max = Duration::from_secs(60);
    let mut publisher = world.publisher(&session, options);
    let tp = tp(topic, 0);
    world.commit(tp, 3).await;
    assert_eq!(world.round(&mut publisher).await, Round::default());
    assert_eq!(world.published_end(tp).await, 0, "little and young");

    world.commit(tp, 50).await;
    assert_eq!(world.round(&mut publisher).await.published, 1);
    assert_eq!(world.published_end(tp).await, 53, "much");

    world.commit(tp, 1).await;
    world.clock.advance_ms(59_999);
    assert_eq!(world.round(&mut publisher).await.published, 0);
    world.clock.advance_ms(1);
    assert_eq!(world.round(&mut publisher).await.published, 1);
    assert_eq!(world.published_end(tp).await, 54, "little and old");

    world.commit(tp, 1).await;
    let writer = PublicationWriter::new(world.memory.clone(), world.keys.clone());
    let clock: alluvium_common::clock::SharedClock = world.clock.clone();
    let asked = async || {
        writer
            .request(&session, topic, &clock)
            .await
            .expect("asked")
    };
    let request = world.keys.publish_request(topic);
    let standing = async || {
        world
            .memory
            .get(request.clone())
            .await
            .expect("read")
            .is_some()
    };
    asked().await;
    assert_eq!(world.round(&mut publisher).await.published, 1);
    assert_eq!(world.published_end(tp).await, 55, "asked for");
    assert!(!standing().await);
    // Where there is nothing to publish, the request is done too.
    asked().await;
    assert_eq!(world.round(&mut publisher).await, Round::default());
    assert!(!standing().await);
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_done_when_all_is_published_and_not_before() {
    let mut world = World::new(5).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 2, broker).await;
    for _ in 0..4 {
        world.commit(tp(topic, 0), 10).await;
        world.commit(tp(topic, 1), 10).await;
    }
    let mut options = eager();
    options.limits.bytes_min = u64::MAX;
    options.limits.bytes_max = 1;
    let mut publisher = world.publisher(&session, options);
    let writer = PublicationWriter::new(world.memory.clone(), world.keys.clone());
    let clock: alluvium_common::clock::SharedClock = world.clock.clone();
    writer
        .request(&session, topic, &clock)
        .await
        .expect("asked");
    let mut end = 0;
    for round in 1..=4 {
        let request = world.memory.get(world.keys.publish_request(topic)).await;
        assert!(request.expect("read").is_some(), "round {round}");
        let done = world.round(&mut publisher).await;
        assert_eq!((done.published, done.more), (1, round < 4));
        let published = world.published_end(tp(topic, 0)).await;
        assert!(published > end, "it never goes back");
        end = published;
        world.check_topic(topic).await;
    }
    let request = world.memory.get(world.keys.publish_request(topic)).await;
    assert!(request.expect("read").is_none());
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn large_topics_get_several_files_that_follow_each_other() {
    let mut world = World::new(6).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 3, broker).await;
    for _ in 0..20 {
        for partition in 0..3 {
            world.produce(tp(topic, partition), BatchSpec::any(&*world.random));
            world.produce(tp(topic, partition), BatchSpec::plain(&*world.random, 20));
        }
        world.seal(broker).await;
    }
    let mut options = eager();
    options.table_bytes = 20_000;
    let mut publisher = world.publisher(&session, options);
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
    let manifest = world.manifest(topic).await.expect("published");
    assert_eq!(manifest.version(), 1);
    assert!(manifest.tables().len() > 4, "{}", manifest.tables().len());
    for partition in 0..3 {
        let mut end = offset(0);
        for found in manifest.spans_from(PartitionIndex(partition), offset(0)) {
            assert_eq!(found.span.base_offset, end);
            end = found.span.next_offset;
        }
        assert_eq!(end, manifest.published_end(PartitionIndex(partition)));
    }
}

#[tokio::test(start_paused = true)]
async fn header_keys_that_are_no_text_are_kept() {
    let mut world = World::new(7).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 1, broker).await;
    world.commit(tp(topic, 0), 10).await;
    let odd = BatchSpec::plain(&*world.random, 5).with_raw_header();
    world.produce(tp(topic, 0), odd);
    world.seal(broker).await;
    let mut publisher = world.publisher(&session, eager());
    let first = world.round(&mut publisher).await;
    assert_eq!((first.published, first.failed, first.more), (0, 0, true));
    world.settle(&mut [&mut publisher]).await;
    world.check_all().await;
}

#[tokio::test(start_paused = true)]
async fn producers_are_known_as_if_from_all_footers() {
    let mut world = World::new(8).await;
    let (a, b) = (world.broker(1).await, world.broker(2).await);
    let session = world.session(10).await;
    let topic = world.topic("t", 2, a).await;
    let mut publisher = world.publisher(&session, eager());
    let mut next = BTreeMap::new();
    for round in 0..30 {
        for _ in 0..world.random.below(8) {
            let tp = tp(topic, world.random.below(2) as i32);
            let id = ProducerId(world.random.below(4) as i64);
            let mut batch = BatchSpec::any(&*world.random);
            batch.is_control = false;
            let (epoch, sequence) = next.entry((tp, id)).or_insert((0, 0));
            if world.random.below(10) == 0 {
                (*epoch, *sequence) = (*epoch + 1, 0);
            }
            let base = Sequence::new(*sequence).expect("small");
            batch.producer = Some((id, ProducerEpoch(*epoch), base));
            *sequence += batch.offsets() as i32;
            world.produce(tp, batch);
        }
        world.clock.advance_ms(10);
        world.seal_all().await;
        if round % 7 == 3 {
            let to = if world.leaders[&tp(topic, 0)].0 == a {
                b
            } else {
                a
            };
            world.hand_over(tp(topic, 0), to).await;
        }
        if round % 5 == 4 {
            world.settle(&mut [&mut publisher]).await;
            world.check_all().await;
            world.check_producers().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn producers_that_are_silent_for_long_are_forgotten() {
    let mut world = World::new(9).await;
    let broker = world.broker(1).await;
    let session = world.session(10).await;
    let topic = world.topic("t", 1, broker).await;
    let mut options = eager();
    options.producers_expire_ms = 1_000;
    let mut publisher = world.publisher(&session, options);
    for id in [1, 2] {
        let mut batch = BatchSpec::plain(&*world.random, 2);
        batch.producer = Some((ProducerId(id), ProducerEpoch(0), Sequence::ZERO));
        world.produce(tp(topic, 0), batch);
        world.seal(broker).await;
        world.clock.advance_ms(600);
        world.settle(&mut [&mut publisher]).await;
    }
    let manifest = world.manifest(topic).await.expect("published");
    let producers = &manifest.content().partitions[&PartitionIndex(0)].producers;
    let ids: Vec<_> = producers
        .iter()
        .map(|known| known.summary.producer_id.0)
        .collect();
    assert_eq!(ids, [2], "at {}", world.clock.now_ms());
}

/// What is kept for ever gets small; only when too much waits speed counts instead.
#[tokio::test(start_paused = true)]
async fn files_are_compressed_well_unless_the_compactor_is_behind() {
    let mut sizes = Vec::new();
    for bytes_min in [u64::MAX, 1] {
        let mut world = World::new(9).await;
        let broker = world.broker(1).await;
        let topic = world.topic("words", 1, broker).await;
        let mut batch = BatchSpec::plain(&*world.random, 1);
        let words = (0..20_000).map(|_| format!("word-{} ", world.random.below(500)));
        batch.records[0].value = Some(words.collect::<String>().into());
        world.produce(tp(topic, 0), batch);
        world.seal(broker).await;
        let session = world.session(10).await;
        let mut options = eager();
        options.limits.bytes_min = bytes_min;
        options.limits.age_max = Duration::ZERO;
        options.table.zstd_level = 19;
        let mut publisher = world.publisher(&session, options);
        world.settle(&mut [&mut publisher]).await;
        world.check_all().await;
        let manifest = world.manifest(topic).await.expect("published");
        sizes.extend(manifest.tables().iter().map(|table| table.size_bytes));
    }
    let [well, fast] = sizes[..] else {
        panic!("one file each: {sizes:?}");
    };
    assert!(well * 10 < fast * 9, "{well} bytes, and {fast} when behind");
}

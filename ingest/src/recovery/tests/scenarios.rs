//! One crash at a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_common::offset::Offset;
use alluvium_metadata::topic_config::Durability;
use futures::FutureExt;

use crate::pipeline::testing::*;
use crate::recovery::{PartitionImage, ReplaySummary};
use crate::validate::TopicRules;

/// The session that looks: none of those that wrote.
const OWN: (BrokerId, BrokerEpoch) = (BROKER, BrokerEpoch(i64::MAX));

fn manual_sync() -> RigOptions {
    RigOptions {
        auto_sync: false,
        ..RigOptions::default()
    }
}

fn object() -> TopicRules {
    TopicRules {
        durability: Durability::Object,
        ..TopicRules::default()
    }
}

fn pairs(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    let pair = |(offset, tag): &(i64, &str)| (*offset, (*tag).to_owned());
    expected.iter().map(pair).collect()
}

async fn recover(world: &std::sync::Arc<World>) -> (Rig, ReplaySummary) {
    Rig::recover(world, RigOptions::default(), &TopicRules::default()).await
}

#[tokio::test(start_paused = true)]
async fn committed_and_logged_batches_come_back_with_their_producers() {
    let world = World::new(51);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, TopicRules::default());
    for (sequence, tag) in [(0, "a"), (1, "b"), (2, "c")] {
        let records = idempotent(5, 0, sequence, tag, 1);
        rig.append(0, &records)
            .expect("taken")
            .await
            .expect("synced");
        if tag == "b" {
            assert!(rig.pipeline.flush().await);
        }
    }
    rig.crash(0).await;

    let (rig, summary) = recover(&world).await;
    assert_eq!((summary.taken, summary.committed), (1, 0));
    let expected = pairs(&[(0, "a"), (1, "b"), (2, "c")]);
    assert_eq!(
        tags(&rig.read(0).await),
        expected,
        "visible before it is uploaded"
    );
    for (sequence, tag) in [(0, "a"), (1, "b"), (2, "c"), (3, "d")] {
        let told = rig
            .append(0, &idempotent(5, 0, sequence, tag, 1))
            .expect("taken")
            .await;
        assert_eq!(
            told.expect("durable").base_offset.get(),
            i64::from(sequence)
        );
    }
    assert!(rig.append(0, &idempotent(5, 0, 5, "gap", 1)).is_err());
    assert!(rig.pipeline.flush().await);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.disk.frames().len(), 0, "the log may forget all of it");
    rig.crash(0).await;

    let (rig, summary) = recover(&world).await;
    assert_eq!(summary, ReplaySummary::default());
    let expected = pairs(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]);
    assert_eq!(tags(&rig.read(0).await), expected);
    let late = rig
        .append(0, &idempotent(5, 0, 3, "d", 1))
        .expect("taken")
        .await;
    assert_eq!(
        late.expect("durable").base_offset.get(),
        3,
        "remembered from footers alone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_reply_was_lost_is_not_replayed() {
    let world = World::new(52);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, TopicRules::default());
    rig.append(0, &batch("a", 3))
        .expect("taken")
        .await
        .expect("synced");
    world.metadata.lose_per_mille.store(1000, Ordering::SeqCst);
    assert!(rig.pipeline.flush().now_or_never().is_none());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.metadata.log.lock().len(), 1);
    rig.crash(0).await;
    world.metadata.lose_per_mille.store(0, Ordering::SeqCst);

    let (rig, summary) = recover(&world).await;
    assert_eq!((summary.taken, summary.committed), (0, 1));
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a")]));
}

#[tokio::test(start_paused = true)]
async fn what_followed_a_lost_object_batch_is_dropped_and_never_comes_back() {
    let world = World::new(53);
    let rig = Rig::start(&world, manual_sync());
    let partition = rig.create(0, object());
    rig.create(1, TopicRules::default());
    let no_puts = || FaultRule::always(Operation::Put, Fault::Hang);
    world.plan.add(no_puts());
    let lost = rig.append(0, &batch("lost", 2)).expect("taken");
    partition.set_rules(TopicRules::default());
    let behind = rig.append(0, &batch("behind", 1)).expect("taken");
    let logged = rig.append(1, &batch("logged", 1)).expect("taken");
    rig.wal.sync();
    logged.await.expect("synced");
    assert!(behind.now_or_never().is_none() && lost.now_or_never().is_none());
    rig.crash(0).await;
    world.plan.heal();

    // Offsets 0 and 1 are given to others by a commit; the frame at 2 would fit again. The log still
    // has it, because the broker dies before it knows of the commit.
    let (rig, summary) = Rig::recover(&world, manual_sync(), &object()).await;
    assert_eq!((summary.taken, summary.unacknowledged), (1, 1));
    world.metadata.lose_per_mille.store(1000, Ordering::SeqCst);
    let new = rig.append(0, &batch("new", 2)).expect("taken");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(new.now_or_never().is_none());
    assert_eq!(world.disk.frames().len(), 2);
    rig.crash(0).await;
    world.metadata.lose_per_mille.store(0, Ordering::SeqCst);

    let (rig, summary) = recover(&world).await;
    assert_eq!(
        (summary.taken, summary.committed, summary.unacknowledged),
        (0, 1, 1)
    );
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "new")]));
    assert_eq!(tags(&rig.read(1).await), pairs(&[(0, "logged")]));
}

#[tokio::test(start_paused = true)]
async fn a_broker_starts_and_serves_while_the_bucket_refuses_puts() {
    let world = World::new(54);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, TopicRules::default());
    rig.append(0, &batch("a", 1))
        .expect("taken")
        .await
        .expect("synced");
    rig.crash(0).await;
    let refused = Fault::Refuse {
        status: 503,
        code: "SlowDown",
    };
    world.plan.add(FaultRule::always(Operation::Put, refused));

    for tag in ["b", "c", "d"] {
        let (rig, _) = recover(&world).await;
        rig.append(0, &batch(tag, 1))
            .expect("taken")
            .await
            .expect("synced");
        tokio::time::sleep(Duration::from_secs(30)).await;
        rig.crash(0).await;
    }
    world.plan.heal();
    let (rig, summary) = recover(&world).await;
    assert_eq!(summary.taken, 4);
    assert!(rig.pipeline.flush().await);
    assert_eq!(
        tags(&rig.read(0).await),
        pairs(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")])
    );
}

#[tokio::test(start_paused = true)]
async fn damaged_and_exchanged_footers_are_refused() {
    use alluvium_common::error::ErrorKind;
    use object_store::{ObjectStoreExt, path::Path};
    let world = World::new(55);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, TopicRules::default());
    for tag in ["a", "b"] {
        rig.append(0, &batch(tag, 1))
            .expect("taken")
            .await
            .expect("synced");
        assert!(rig.pipeline.flush().await);
    }
    rig.crash(0).await;
    let keys: Vec<_> = {
        let log = world.metadata.log.lock();
        log.values()
            .map(|record| record.object_key.clone())
            .collect()
    };
    let path = |index: usize| Path::from(keys[index].as_str());
    let good = world
        .bucket
        .get(&path(0))
        .await
        .expect("there")
        .bytes()
        .await
        .expect("reads");
    let other = world
        .bucket
        .get(&path(1))
        .await
        .expect("there")
        .bytes()
        .await
        .expect("reads");
    let load = || async {
        let records = world.records.lock().clone().into_iter();
        let images = records.map(|(tp, record)| PartitionImage::new(tp, record, None));
        let images = images.collect();
        let loaded = super::super::load(&*world.metadata, &world.store(), OWN, images).await;
        loaded.map(|images| images[0].committed_end().get())
    };
    // F2: what may still grow is not read.
    let early = load().await.expect_err("its session stands");
    assert_eq!(early.kind(), ErrorKind::Retry);
    *world.metadata.current.lock() = OWN.1;
    assert_eq!(load().await.expect("good"), 2);
    let mut damaged = good.to_vec();
    let at = damaged.len() - 30;
    damaged[at] ^= 4;
    for wrong in [damaged.into(), other] {
        let wrong: bytes::Bytes = wrong;
        world.bucket.put(&path(0), wrong.into()).await.expect("put");
        assert_eq!(
            load().await.expect_err("refused").kind(),
            ErrorKind::BadData
        );
    }
    world.bucket.delete(&path(0)).await.expect("deleted");
    assert_eq!(
        load().await.expect_err("refused").kind(),
        ErrorKind::BadData
    );
}

#[tokio::test(start_paused = true)]
async fn records_deleted_before_their_upload_stay_deleted() {
    let world = World::new(56);
    let rig = Rig::start(&world, RigOptions::default());
    let partition = rig.create(0, TopicRules::default());
    rig.append(0, &batch("a", 4))
        .expect("taken")
        .await
        .expect("synced");
    assert!(rig.pipeline.flush().await);
    for tag in ["b", "c"] {
        rig.append(0, &batch(tag, 4))
            .expect("taken")
            .await
            .expect("synced");
    }
    let log_start = Offset::new(6).expect("offset");
    partition.log().set_log_start(log_start);
    world
        .records
        .lock()
        .get_mut(&tp(0))
        .expect("known")
        .log_start = log_start;
    rig.crash(0).await;

    let (rig, summary) = recover(&world).await;
    assert_eq!(summary.taken, 2);
    assert_eq!(
        tags(&rig.read(0).await),
        pairs(&[(4, "b"), (8, "c")]),
        "from within b on"
    );
    let offsets = rig.logs.get(&tp(0)).expect("open").tail.offsets();
    assert_eq!((offsets.log_start, offsets.log_end.get()), (log_start, 12));
    assert!(rig.pipeline.flush().await);
    assert_eq!(tags(&rig.read(0).await), pairs(&[(4, "b"), (8, "c")]));
    rig.crash(0).await;
    let (rig, _) = recover(&world).await;
    assert_eq!(tags(&rig.read(0).await), pairs(&[(4, "b"), (8, "c")]));
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_segments_are_all_deleted_goes_on_where_it_was() {
    let world = World::new(57);
    let rig = Rig::start(&world, RigOptions::default());
    let partition = rig.create(0, TopicRules::default());
    rig.append(0, &batch("a", 4))
        .expect("taken")
        .await
        .expect("synced");
    assert!(rig.pipeline.flush().await);
    let delete_to = |log: &alluvium_cache::log::PartitionLog, at: i64| {
        let log_start = Offset::new(at).expect("offset");
        assert_eq!(log.set_log_start(log_start), log_start);
        let mut records = world.records.lock();
        records.get_mut(&tp(0)).expect("known").log_start = log_start;
    };
    delete_to(partition.log(), 4);
    rig.crash(0).await;

    // No commit log is named any more: only the log start tells where the partition goes on.
    let (rig, _) = recover(&world).await;
    assert_eq!(world.records.lock()[&tp(0)].tail.len(), 1);
    for (tag, base) in [("b", 4), ("c", 8), ("d", 12)] {
        let told = rig
            .append(0, &batch(tag, 4))
            .expect("taken")
            .await
            .expect("synced");
        assert_eq!(told.base_offset.get(), base);
    }
    delete_to(&rig.logs.get(&tp(0)).expect("open"), 9);
    rig.crash(0).await;

    let (rig, summary) = recover(&world).await;
    assert_eq!((summary.taken, summary.committed), (2, 1));
    assert_eq!(tags(&rig.read(0).await), pairs(&[(8, "c"), (12, "d")]));
    delete_to(&rig.logs.get(&tp(0)).expect("open"), 16);
    rig.crash(0).await;
    let (rig, summary) = recover(&world).await;
    assert_eq!((summary.taken, summary.committed), (0, 3));
    let told = rig
        .append(0, &batch("e", 1))
        .expect("taken")
        .await
        .expect("synced");
    assert_eq!(told.base_offset.get(), 16);
    rig.crash(0).await;
    let (rig, _) = recover(&world).await;
    assert_eq!(tags(&rig.read(0).await), pairs(&[(16, "e")]));
}

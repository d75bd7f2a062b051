//! When a batch is durable, visible and acknowledged.

use super::*;

#[tokio::test(start_paused = true)]
async fn local_is_acknowledged_by_the_sync_and_uploaded_later() {
    let world = World::new(1);
    let rig = Rig::start(&world, manual_sync());
    rig.create(0, local());
    let mut first = rig.append(0, &batch("a", 2)).expect("taken");
    let mut second = rig.append(0, &batch("b", 1)).expect("taken");
    settle().await;
    assert_eq!((told(&mut first), high_watermark(&rig, 0)), (None, 0));

    rig.wal.sync();
    assert_eq!(told(&mut first), Some(Ok(0)));
    assert_eq!(told(&mut second), Some(Ok(2)));
    assert_eq!(high_watermark(&rig, 0), 3);
    assert_eq!(world.object_count().await, 0, "no PUT was needed");

    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!((commits(&world), world.object_count().await), (1, 1));
    assert_eq!(
        world.disk.frames().len(),
        0,
        "the log's files are given back"
    );
    assert_eq!(rig.pipeline.stats().budget_used_bytes, 0);
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a"), (2, "b")]));
}

#[tokio::test(start_paused = true)]
async fn local_is_uploaded_when_it_has_been_local_for_as_long_as_it_may() {
    let world = World::new(6);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, local());
    rig.create(1, local_for(Some(Duration::from_secs(2)), None));
    rig.append(0, &batch("a", 1)).expect("taken");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(commits(&world), 0, "no limit of its own");
    rig.append(1, &batch("b", 1)).expect("taken");
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    rig.append(1, &batch("c", 1)).expect("taken");
    settle().await;
    assert_eq!(commits(&world), 0, "it may wait for two seconds");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(commits(&world), 1, "with all that waits");
    assert_eq!(rig.pipeline.stats().wal_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn local_is_uploaded_when_more_of_a_partition_is_local_than_may_be() {
    let world = World::new(7);
    let rig = Rig::start(&world, RigOptions::default());
    let size = batch("a", 1).len() as u64;
    for partition in 0..2 {
        rig.create(partition, local_for(None, Some(2 * size)));
        for tag in ["a", "b"] {
            rig.append(partition, &batch(tag, 1)).expect("taken");
        }
    }
    settle().await;
    assert_eq!(commits(&world), 0, "neither has more than it may");
    rig.append(1, &batch("c", 1)).expect("taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(commits(&world), 1);
    rig.append(1, &batch("d", 1)).expect("taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(commits(&world), 1, "what is uploaded does not count");
}

#[tokio::test(start_paused = true)]
async fn object_is_acknowledged_by_the_commit() {
    let world = World::new(2);
    let rig = Rig::start(&world, manual_sync());
    rig.create(0, object());
    let mut ticket = rig.append(0, &batch("a", 3)).expect("taken");
    assert_eq!(rig.wal.queued(), 0, "not in the log at all");
    assert_eq!((told(&mut ticket), high_watermark(&rig, 0)), (None, 0));
    let started = tokio::time::Instant::now();
    assert_eq!(ticket.await.map(|told| told.base_offset), Ok(offset(0)));
    assert!(
        started.elapsed() < Duration::from_millis(50),
        "sealed at once"
    );
    assert_eq!((high_watermark(&rig, 0), commits(&world)), (3, 1));
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a")]));
}

#[tokio::test(start_paused = true)]
async fn a_synced_batch_behind_an_uncommitted_one_waits() {
    let world = World::new(3);
    let rig = Rig::start(&world, manual_sync());
    let partition = rig.create(0, object());
    world.plan.add(always_put(Fault::Hang));
    let mut first = rig.append(0, &batch("object", 1)).expect("taken");
    partition.set_rules(local());
    let mut second = rig.append(0, &batch("local", 1)).expect("taken");
    rig.wal.sync();
    settle().await;
    assert_eq!((told(&mut first), told(&mut second)), (None, None));
    assert_eq!(high_watermark(&rig, 0), 0);

    partition.set_rules(object());
    let third = rig.append(0, &batch("object again", 1)).expect("taken");
    world.plan.heal();
    assert_eq!(third.await.map(|told| told.base_offset), Ok(offset(2)));
    assert_eq!(told(&mut first), Some(Ok(0)));
    assert_eq!(told(&mut second), Some(Ok(1)));
    let expected = pairs(&[(0, "object"), (1, "local"), (2, "object again")]);
    assert_eq!(tags(&rig.read(0).await), expected);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_waits_for_its_original() {
    let world = World::new(4);
    let rig = Rig::start(&world, manual_sync());
    rig.create(0, local());
    let records = idempotent(9, 0, 0, "a", 2);
    let mut original = rig.append(0, &records).expect("taken");
    let mut next = rig.append(0, &idempotent(9, 0, 2, "b", 1)).expect("taken");
    let mut duplicate = rig.append(0, &records).expect("taken");
    settle().await;
    for ticket in [&mut original, &mut next, &mut duplicate] {
        assert_eq!(told(ticket), None);
    }
    rig.wal.sync();
    assert_eq!(told(&mut original), Some(Ok(0)));
    assert_eq!(told(&mut duplicate), Some(Ok(0)));
    assert_eq!(told(&mut next), Some(Ok(2)));
    let mut late = rig.append(0, &records).expect("taken");
    assert_eq!(
        told(&mut late),
        Some(Ok(0)),
        "what is durable is answered at once"
    );
    assert_eq!(rig.metrics.duplicates.get(), 2);
    let gap = rig.append(0, &idempotent(9, 0, 5, "gap", 1));
    assert!(matches!(gap, Err(AppendError::Sequence(_))));
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a"), (2, "b")]));
}

#[tokio::test(start_paused = true)]
async fn acks_0_is_answered_at_once_and_stored_all_the_same() {
    let world = World::new(5);
    let rig = Rig::start(&world, manual_sync());
    rig.create(0, local());
    let permit = rig.pipeline.budget().acquire(100).await;
    let no_acks = options(crate::ack::Acks::None, permit);
    let ticket = rig.pipeline.append(&tp(0), &batch("a", 1), no_acks);
    assert_eq!(told(&mut ticket.expect("taken")), Some(Ok(0)));
    assert_eq!(
        high_watermark(&rig, 0),
        0,
        "but nothing is visible before it is durable"
    );
    rig.wal.sync();
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a")]));
}

#[tokio::test(start_paused = true)]
async fn flush_commits_what_was_appended_before() {
    let world = World::new(6);
    let rig = Rig::start(&world, RigOptions::default());
    assert!(rig.pipeline.flush().await, "nothing to do");
    for partition in 0..3 {
        rig.create(partition, local());
        rig.append(partition, &batch("a", 1))
            .expect("taken")
            .await
            .expect("durable");
    }
    assert_eq!(commits(&world), 0);
    assert!(rig.pipeline.flush().await);
    assert_eq!(
        commits(&world),
        1,
        "one object and one commit for all partitions"
    );
    assert_eq!(world.object_count().await, 1);
}

#[tokio::test(start_paused = true)]
async fn log_append_time_is_told() {
    let world = World::new(7);
    let rig = Rig::start(&world, RigOptions::default());
    let rules = TopicRules {
        timestamp_type: alluvium_segment::record_batch::TimestampType::LogAppendTime,
        ..local()
    };
    rig.create(0, rules);
    for _ in 0..2 {
        world.clock.advance_ms(5);
        let told = rig
            .append(0, &idempotent(1, 0, 0, "a", 1))
            .expect("taken")
            .await;
        let time = told.expect("durable").log_append_time;
        assert_eq!(
            time,
            Some(NOW_MS + 5),
            "a duplicate has its original's time"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_takes_nothing_and_its_producers_learn() {
    let world = World::new(8);
    let rig = Rig::start(&world, manual_sync());
    rig.create(0, local());
    rig.create(1, local());
    let mut waiting = rig.append(0, &batch("a", 1)).expect("taken");
    let mut other = rig.append(1, &batch("b", 1)).expect("taken");
    rig.pipeline.close_partition(&tp(0), CloseReason::Deleted);
    assert_eq!(
        told(&mut waiting),
        Some(Err(AppendError::Deleted(Outcome::Unknown)))
    );
    let refused = rig.append(0, &batch("c", 1)).expect_err("closed");
    assert_eq!(refused, AppendError::NotLeader(Outcome::NotDone));
    rig.wal.sync();
    assert_eq!(told(&mut other), Some(Ok(0)));
    assert!(
        rig.pipeline.flush().await,
        "segments with its batches are no obstacle"
    );
    assert_eq!(tags(&rig.read(1).await), pairs(&[(0, "b")]));
}

use alluvium_common::object_store::fault::Fault;

use super::faults::always_put;

/// A hand-over: what was taken is seen through, nothing more is taken, and the end of the commit log is known.
#[tokio::test(start_paused = true)]
async fn a_drained_partition_is_committed_whole_and_takes_nothing_more() {
    let world = World::new(9);
    let rig = Rig::start(&world, manual_sync());
    let drained = rig.create(0, local());
    let other = rig.create(1, local());
    assert!(!drained.has_appended());
    let mut waiting = rig.append(0, &batch("a", 1)).expect("taken");
    // Never synced by its log, so the commit acknowledges it.
    let last = rig.pipeline.drain(&[tp(0)]).await.expect("session stands");
    assert_eq!(told(&mut waiting), Some(Ok(0)));
    assert_eq!((last, commits(&world)), (Some(0), 1));
    assert!(drained.has_appended() && !other.has_appended());
    let refused = rig.append(0, &batch("b", 1)).expect_err("draining");
    assert_eq!(refused, AppendError::NotLeader(Outcome::NotDone));
    let _others = rig.append(1, &batch("c", 1)).expect("others go on");
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a")]), "still read");
    let leaving = |partition| rig.logs.get(&tp(partition)).expect("open").is_leaving();
    assert!(leaving(0) && !leaving(1), "readers are not told its end");

    rig.pipeline.resume(&[tp(0)]);
    assert!(!leaving(0));
    let _again = rig.append(0, &batch("d", 1)).expect("taken again");
    assert!(rig.pipeline.flush().await);
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a"), (1, "d")]));

    let _never = rig.append(0, &batch("e", 1)).expect("taken");
    rig.session.lost.send_replace(true);
    assert_eq!(rig.pipeline.drain(&[tp(0)]).await, Err(SessionLost));
}

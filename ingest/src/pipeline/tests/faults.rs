//! What fails, and what producers are told then.

use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use std::sync::atomic::Ordering;

use super::*;
use crate::seams::WalState;

pub(super) fn always_put(fault: Fault) -> FaultRule {
    FaultRule::always(Operation::Put, fault)
}

const SLOW_DOWN: Fault = Fault::Refuse {
    status: 503,
    code: "SlowDown",
};

#[tokio::test(start_paused = true)]
async fn a_put_with_a_lost_reply_is_repeated_under_a_new_name() {
    let world = World::new(11);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, object());
    world
        .plan
        .add(FaultRule::next(Operation::Put, 2, Fault::LoseReply));
    world
        .plan
        .add(FaultRule::next(Operation::Put, 1, SLOW_DOWN));
    let ticket = rig.append(0, &batch("a", 1)).expect("taken");
    assert_eq!(ticket.await.map(|told| told.base_offset), Ok(offset(0)));
    assert_eq!(world.object_count().await, 3, "two of them are orphans");
    assert_eq!(commits(&world), 1);
    assert_eq!(rig.metrics.put_errors.get(), 3);
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a")]));
}

#[tokio::test(start_paused = true)]
async fn a_put_that_hangs_is_given_up() {
    let world = World::new(12);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, object());
    world
        .plan
        .add(FaultRule::next(Operation::Put, 1, Fault::Hang));
    let started = tokio::time::Instant::now();
    let ticket = rig.append(0, &batch("a", 1)).expect("taken");
    ticket.await.expect("durable");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn uploads_overtake_each_other_but_commits_do_not() {
    let world = World::new(13);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, object());
    let slow = Fault::Delay(Duration::from_secs(3));
    world.plan.add(FaultRule::next(Operation::Put, 1, slow));
    let mut first = rig.append(0, &batch("slow", 1)).expect("taken");
    settle().await;
    let mut second = rig.append(0, &batch("fast", 1)).expect("taken");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.object_count().await >= 1, "the second is there");
    assert_eq!((told(&mut first), told(&mut second)), (None, None));
    assert_eq!(high_watermark(&rig, 0), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(told(&mut first), Some(Ok(0)));
    assert_eq!(told(&mut second), Some(Ok(1)));
    assert_eq!(
        world.metadata.attempts.load(Ordering::SeqCst),
        1,
        "one transaction"
    );
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "slow"), (1, "fast")]));
}

#[tokio::test(start_paused = true)]
async fn it_is_told_when_uploads_lag_behind() {
    let world = World::new(16);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, object());
    let mut lag = rig.pipeline.uploads_lag();
    let quick = rig.append(0, &batch("quick", 1)).expect("taken");
    quick.await.expect("durable");
    assert!(!*lag.borrow());

    world.plan.add(always_put(SLOW_DOWN));
    let refused = rig.append(0, &batch("refused", 1)).expect("taken");
    lag.wait_for(|lags| *lags).await.expect("it goes on");
    world.plan.heal();
    refused.await.expect("durable");
    lag.wait_for(|lags| !lags).await.expect("it goes on");

    // None fails, but as many as may are under way, and one more waits.
    world
        .plan
        .add(always_put(Fault::Delay(Duration::from_secs(3))));
    let mut tickets = Vec::new();
    for _ in 0..5 {
        tickets.push(rig.append(0, &batch("slow", 1)).expect("taken"));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(*lag.borrow_and_update());
    world.plan.heal();
    for ticket in tickets {
        ticket.await.expect("durable");
    }
    lag.wait_for(|lags| !lags).await.expect("it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_commit_with_a_lost_reply_is_repeated() {
    let world = World::new(14);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, object());
    world.metadata.lose_per_mille.store(1000, Ordering::SeqCst);
    let mut ticket = rig.append(0, &batch("a", 1)).expect("taken");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (told(&mut ticket), commits(&world)),
        (None, 1),
        "there, but not known"
    );
    world.metadata.lose_per_mille.store(0, Ordering::SeqCst);
    assert_eq!(ticket.await.map(|told| told.base_offset), Ok(offset(0)));
    assert_eq!(commits(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_broker_stops_and_tells_that_it_does_not_know() {
    let world = World::new(15);
    let rig = Rig::start(&world, manual_sync());
    rig.create(0, object());
    rig.create(1, local());
    let mut logged = rig.append(1, &batch("logged", 1)).expect("taken");
    rig.wal.sync();
    assert_eq!(told(&mut logged), Some(Ok(0)));
    *world.metadata.current.lock() = BrokerEpochOf::next(&rig);
    let mut waiting = rig.append(0, &batch("a", 1)).expect("taken");
    let mut unsynced = rig.append(1, &batch("b", 1)).expect("taken");
    rig.pipeline.stopped().await;
    settle().await;
    for ticket in [&mut waiting, &mut unsynced] {
        assert_eq!(
            told(ticket),
            Some(Err(AppendError::NotLeader(Outcome::Unknown)))
        );
    }
    for partition in 0..2 {
        let refused = rig.append(partition, &batch("c", 1)).expect_err("stopped");
        assert_eq!(refused, AppendError::NotLeader(Outcome::NotDone));
    }
    assert!(!rig.pipeline.flush().await);
    assert_eq!(commits(&world), 0);
    let frames = world.disk.frames().len();
    assert_eq!(
        frames, 1,
        "acknowledged and not committed: the log keeps it for the next start"
    );
}

struct BrokerEpochOf;

impl BrokerEpochOf {
    fn next(rig: &Rig) -> alluvium_common::epoch::BrokerEpoch {
        alluvium_common::epoch::BrokerEpoch(rig.session.epoch.0 + 1)
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_provable_session_nothing_is_acknowledged() {
    let world = World::new(16);
    let rig = Rig::start(&world, manual_sync());
    rig.create(0, local());
    let mut ticket = rig.append(0, &batch("a", 1)).expect("taken");
    rig.session.alive.store(false, Ordering::SeqCst);
    rig.wal.sync();
    assert_eq!(
        told(&mut ticket),
        Some(Err(AppendError::NotLeader(Outcome::Unknown)))
    );
    assert_eq!(high_watermark(&rig, 0), 0);
    let refused = rig.append(0, &batch("b", 1)).expect_err("not leader");
    assert_eq!(refused, AppendError::NotLeader(Outcome::NotDone));

    // The lease was kept alive after all: nothing was lost meanwhile, and it becomes visible without
    // anybody's doing.
    rig.session.alive.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(high_watermark(&rig, 0), 1);
    let mut after = rig.append(0, &batch("c", 1)).expect("taken");
    rig.wal.sync();
    assert_eq!(told(&mut after), Some(Ok(1)));
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a"), (1, "c")]));
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_stops_an_idle_broker_too() {
    let world = World::new(17);
    let rig = Rig::start(&world, manual_sync());
    rig.create(0, local());
    let mut ticket = rig.append(0, &batch("a", 1)).expect("taken");
    rig.session.lost.send_replace(true);
    rig.pipeline.stopped().await;
    settle().await;
    assert_eq!(
        told(&mut ticket),
        Some(Err(AppendError::NotLeader(Outcome::Unknown)))
    );
    assert!(rig.pipeline.stats().stopped);
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_log_did_not_sync_is_acknowledged_by_its_commit() {
    let world = World::new(18);
    let rig = Rig::start(&world, manual_sync());
    let partition = rig.create(0, local());
    let mut ticket = rig.append(0, &batch("a", 1)).expect("taken");
    rig.wal.fail();
    assert_eq!(
        told(&mut ticket),
        None,
        "a failed sync acknowledges nothing"
    );
    assert_eq!(high_watermark(&rig, 0), 0);
    let refused = rig
        .append(0, &batch("b", 1))
        .expect_err("the log has failed");
    assert_eq!(refused.outcome(), Outcome::NotDone);
    partition.set_rules(object());
    let after = rig.append(0, &batch("c", 1)).expect("object goes on");
    assert_eq!(after.await.map(|told| told.base_offset), Ok(offset(1)));
    assert_eq!(told(&mut ticket), Some(Ok(0)));
    assert_eq!(rig.metrics.wal_failed.get(), 1);
    assert_eq!(tags(&rig.read(0).await), pairs(&[(0, "a"), (1, "c")]));
}

#[tokio::test(start_paused = true)]
async fn a_failed_log_hurries_the_commit() {
    let world = World::new(19);
    let rig = Rig::start(&world, manual_sync());
    rig.create(0, local());
    let ticket = rig.append(0, &batch("a", 1)).expect("taken");
    let started = tokio::time::Instant::now();
    rig.wal.fail();
    ticket.await.expect("committed");
    assert!(started.elapsed() < Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_local_and_nothing_else() {
    let world = World::new(20);
    let rig = Rig::start(&world, RigOptions::default());
    rig.create(0, local());
    rig.create(1, object());
    *rig.wal.state.lock() = WalState::Full;
    let refused = rig.append(0, &batch("a", 1)).expect_err("full");
    assert!(matches!(
        refused,
        AppendError::Storage {
            outcome: Outcome::NotDone,
            ..
        }
    ));
    rig.append(1, &batch("b", 1))
        .expect("taken")
        .await
        .expect("durable");
    *rig.wal.state.lock() = WalState::Accepting;
    let told = rig.append(0, &batch("c", 1)).expect("taken").await;
    assert_eq!(
        told.map(|told| told.base_offset),
        Ok(offset(0)),
        "nothing was left behind"
    );
}

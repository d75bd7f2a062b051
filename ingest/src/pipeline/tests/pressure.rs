//! Memory and disk stay bounded when the bucket is away, and all goes on when it is back.

use std::sync::atomic::Ordering;

use alluvium_common::object_store::fault::Fault;
use bytes::Bytes;

use super::faults::always_put;
use super::*;

const MIB: usize = 1 << 20;

fn small() -> RigOptions {
    RigOptions {
        budget_bytes: 8 * MIB,
        tail_bytes: 2 * MIB,
        ..RigOptions::default()
    }
}

fn large_batch(tag: &str) -> Bytes {
    batch(&format!("{tag}{}", "x".repeat(64 * 1024)), 4)
}

/// Appends as a server does: the permit first.
async fn produce(rig: &Rig, partition: i32, records: &Bytes) -> AppendTicket {
    let permit = rig.pipeline.budget().acquire(records.len()).await;
    let options = options(crate::ack::Acks::All, permit);
    let taken = rig.pipeline.append(&tp(partition), records, options);
    taken.expect("taken")
}

#[tokio::test(start_paused = true)]
async fn local_spills_to_the_log_and_goes_on_without_the_bucket() {
    let world = World::new(31);
    let rig = Rig::start(&world, small());
    rig.create(0, local());
    world.plan.add(always_put(Fault::Refuse {
        status: 503,
        code: "SlowDown",
    }));
    // Five times the memory budget.
    for index in 0..160 {
        let ticket = produce(&rig, 0, &large_batch(&index.to_string())).await;
        ticket.await.expect("synced");
        let used = rig.pipeline.stats().budget_used_bytes;
        assert!(used <= 8 * MIB, "{used}");
    }
    assert!(rig.metrics.spilled_batches.get() > 100);
    assert!(world.disk.bytes() > 40 * MIB);
    assert_eq!(commits(&world), 0);
    assert_eq!(rig.read(0).await.len(), 160, "readable from the log");

    world.plan.heal();
    let healed = tokio::time::Instant::now();
    assert!(rig.pipeline.flush().await);
    assert!(healed.elapsed() < Duration::from_secs(5));
    assert_eq!(world.disk.frames().len(), 0);
    assert_eq!(rig.pipeline.stats().budget_used_bytes, 0);
    assert_eq!(rig.read(0).await.len(), 160);
}

#[tokio::test(start_paused = true)]
async fn object_is_pushed_back_and_goes_on_after_the_outage() {
    let world = World::new(32);
    let rig = Arc::new(Rig::start(&world, small()));
    rig.create(0, object());
    world.plan.add(always_put(Fault::Hang));
    let producer = {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move {
            let mut tickets = Vec::new();
            for index in 0..64 {
                tickets.push(produce(&rig, 0, &large_batch(&index.to_string())).await);
            }
            for (ticket, index) in tickets.into_iter().zip(0..) {
                let told = ticket.await.expect("durable");
                assert_eq!(told.base_offset, offset(index * 4));
            }
        })
    };
    tokio::time::sleep(Duration::from_secs(120)).await;
    let used = rig.pipeline.stats().budget_used_bytes;
    assert!(used > 6 * MIB && used <= 8 * MIB, "{used}");
    assert!(!producer.is_finished());
    assert_eq!(high_watermark(&rig, 0), 0);

    world.plan.heal();
    // A PUT that hangs has 4 s and a bit; the pause after it at most 2.
    tokio::time::timeout(Duration::from_secs(8), producer)
        .await
        .expect("goes on soon")
        .expect("as told");
    assert_eq!(rig.read(0).await.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_full_log_shuts_the_gate_until_uploads_make_room() {
    let world = World::new(33);
    let rig = Rig::start(&world, small());
    rig.create(0, local());
    rig.wal
        .pressed_bytes
        .store(2 * MIB as u64, Ordering::SeqCst);
    world.plan.add(always_put(Fault::LoseReply));
    let mut taken = 0;
    let produced = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            produce(&rig, 0, &large_batch("a"))
                .await
                .await
                .expect("synced");
            taken += 1;
        }
    });
    produced.await.expect_err("the gate is shut at last");
    assert!(world.disk.bytes() < 3 * MIB);
    assert!(rig.pipeline.budget().try_acquire(1).is_none());

    world.plan.heal();
    let healed = tokio::time::Instant::now();
    produce(&rig, 0, &large_batch("b"))
        .await
        .await
        .expect("synced");
    assert!(healed.elapsed() < Duration::from_secs(5));
    assert_eq!(rig.read(0).await.len(), taken + 1);
}

#[tokio::test(start_paused = true)]
async fn a_small_budget_seals_before_it_is_full() {
    let world = World::new(34);
    let rig = Rig::start(&world, small());
    rig.create(0, object());
    let started = tokio::time::Instant::now();
    for _ in 0..10 {
        let mut tickets = Vec::new();
        for _ in 0..28 {
            tickets.push(produce(&rig, 0, &large_batch("a")).await);
        }
        for ticket in tickets {
            ticket.await.expect("durable");
        }
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn idle_costs_nothing() {
    let world = World::new(35);
    let rig = Rig::start(&world, RigOptions::default());
    for partition in 0..100 {
        rig.create(partition, local());
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((world.object_count().await, commits(&world)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn steady_object_load_keeps_to_the_put_budget() {
    let world = World::new(36);
    let mut rig_options = RigOptions::default();
    rig_options.config.puts_saved_max = 8.0;
    let rig = Rig::start(&world, rig_options);
    rig.create(0, object());
    for _ in 0..600 {
        rig.append(0, &batch("a", 1)).expect("taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Six seconds at four a second, and the eight that were saved.
    let puts = world.object_count().await;
    assert!((24..=34).contains(&puts), "{puts} PUTs");
}

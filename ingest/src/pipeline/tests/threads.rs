//! Real threads and real time: producers, log, uploads and readers at once, so that hand-overs between
//! tail and segments happen while somebody reads.

use super::*;

const PARTITIONS: i32 = 2;
const PRODUCERS_PER_PARTITION: i64 = 3;
const BATCHES: i32 = 150;

fn hurried() -> RigOptions {
    let mut options = RigOptions {
        // A few batches only: nearly every read ends in the log or in a segment.
        tail_bytes: 2048,
        ..RigOptions::default()
    };
    options.config.seal.bytes_max = 4096;
    options.config.seal.age_max = Duration::from_millis(5);
    options
}

async fn produce(rig: Arc<Rig>, partition: i32, producer: i64) {
    let mut last = -1;
    for sequence in 0..BATCHES {
        let records = idempotent(producer, 0, sequence, &format!("p{producer}"), 1);
        let ticket = rig.append(partition, &records).expect("taken");
        let base = ticket.await.expect("durable").base_offset.get();
        assert!(base > last, "offsets of a producer ascend");
        last = base;
    }
}

/// Follows a partition to its end; every read continues where the last one ended.
async fn consume(rig: Arc<Rig>, partition: i32) {
    let log = rig.logs.get(&tp(partition)).expect("open");
    let end = PRODUCERS_PER_PARTITION * i64::from(BATCHES);
    let mut at = Offset::ZERO;
    while at.get() < end {
        for batch in read_from(&rig.world, &log, at).await {
            at = batch.next_offset();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_miss_what_moves_from_tail_to_segments() {
    let world = World::new(71);
    let rig = Arc::new(Rig::start(&world, hurried()));
    let mut tasks = tokio::task::JoinSet::new();
    for partition in 0..PARTITIONS {
        rig.create(partition, local());
        tasks.spawn(consume(Arc::clone(&rig), partition));
        for producer in 0..PRODUCERS_PER_PARTITION {
            let producer = i64::from(partition) * 100 + producer;
            tasks.spawn(produce(Arc::clone(&rig), partition, producer));
        }
    }
    // Meanwhile the class changes, back and forth.
    for round in 0..20 {
        let rules = if round % 2 == 0 { object() } else { local() };
        rig.pipeline.set_rules(&tp(0), rules);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.pipeline.set_rules(&tp(0), local());
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task panics");
    }
    assert!(rig.pipeline.flush().await);
    assert!(commits(&world) > 5);
    assert_eq!(rig.pipeline.stats().budget_used_bytes, 0);
}

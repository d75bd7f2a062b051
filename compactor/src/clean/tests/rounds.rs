//! Cleaning as a part of publishing.

use alluvium_segment::record_batch::Record;
use bytes::Bytes;

use super::world::*;
use crate::publish::{Publisher, Round};

async fn duplicates(configs: &[(&str, &str)]) -> World {
    let mut world = World::new(1, 1, configs).await.with(1_000, 1);
    for file in 0..2 {
        let records = (0..10).map(|number| Record {
            offset: offset(file * 10 + number),
            timestamp: START_MS,
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::from_static(b"value")),
            headers: Vec::new(),
        });
        let parts = [(0, (records.collect(), file * 10 + 10))];
        world.publish(parts.into()).await;
    }
    world.shown().await;
    world
}

fn publisher(world: &World) -> Publisher {
    Publisher::new(world.seams.clone(), world.options.clone()).expect("options")
}

#[tokio::test]
async fn a_round_does_a_step_and_asks_for_more() {
    let mut world = duplicates(&[("cleanup.policy", "compact")]).await;
    let mut publisher = publisher(&world);
    let more = Round {
        more: true,
        ..Round::default()
    };
    assert_eq!(publisher.round().await, more);
    world.reload().await;
    assert_eq!(world.stored(0).await.len(), 10, "one file of two");
    assert_eq!(publisher.round().await, more);
    assert_eq!(publisher.round().await, Round::default());
    world.reload().await;
    assert_eq!(world.stored(0).await.len(), 1);
    assert_eq!(world.clean_state(0).next_offset, offset(20));
    assert_eq!(world.seams.metrics.clean.passes.get(), 1);
    assert!(
        !world.seams.graves.is_empty(),
        "what was replaced is buried"
    );
}

#[tokio::test]
async fn a_topic_that_fails_is_left_alone_for_a_while() {
    use alluvium_common::object_store::Operation;
    use alluvium_common::object_store::fault::{Fault, FaultRule};
    let world = duplicates(&[("cleanup.policy", "compact")]).await;
    let mut publisher = publisher(&world);
    let rule = FaultRule {
        name_contains: Some("tables/".to_owned()),
        ..FaultRule::always(Operation::Get, Fault::FlipBit)
    };
    world.faults.add(rule);
    let failed = Round {
        failed: 1,
        ..Round::default()
    };
    assert_eq!(publisher.round().await, failed);
    assert_eq!(publisher.round().await, Round::default());
    assert_eq!(world.seams.metrics.clean.errors.get(), 1);
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(301)).await;
    tokio::time::resume();
    assert_eq!(publisher.round().await, failed);
}

#[tokio::test]
async fn other_topics_are_not_touched() {
    let mut world = duplicates(&[]).await;
    let before = world.said();
    assert_eq!(publisher(&world).round().await, Round::default());
    world.reload().await;
    assert_eq!(world.said(), before);
}

/// What the next cleaning writes again is written fast.
#[tokio::test]
async fn cleaned_files_are_compressed_as_by_a_compactor_that_is_behind() {
    let mut sizes = Vec::new();
    for level in [1, 19] {
        let mut world = World::new(2, 1, &[("cleanup.policy", "compact")]).await;
        world.options.table.zstd_level = 10;
        world.options.zstd_level_behind = level;
        let mut world = world.with(1_000, 1);
        let words = |from: i64| (from..from + 5_000).map(|n| format!("word-{} ", n * n % 997));
        let records = (0..10).map(|number| Record {
            offset: offset(number),
            timestamp: START_MS,
            key: Some(Bytes::from((number / 2).to_string())),
            value: Some(words(number).collect::<String>().into()),
            headers: Vec::new(),
        });
        world.publish([(0, (records.collect(), 10))].into()).await;
        world.shown().await;
        let mut publisher = publisher(&world);
        while publisher.round().await.more {}
        world.reload().await;
        assert_eq!(world.stored(0).await.len(), 5);
        let tables = world.manifest().tables().iter();
        sizes.push(tables.map(|table| table.size_bytes).sum::<u64>());
    }
    assert!(sizes[1] * 10 < sizes[0] * 9, "{sizes:?}");
}

//! What ends in the middle has changed nothing, or all of a step.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::object_store::Operation;
use alluvium_common::object_store::fault::{Fault, FaultRule};
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::Record;
use bytes::Bytes;
use futures::poll;

use super::model::Model;
use super::world::*;
use crate::fold::ReadError;
use crate::publish::PublishError;

const COMPACT: &[(&str, &str)] = &[("cleanup.policy", "compact")];

async fn some_topic(run_bytes: u64) -> (World, Model) {
    let mut world = World::new(1, 1, COMPACT).await.with(1_000, run_bytes);
    let mut model = Model::default();
    for file in 0..3 {
        let records = (0..20).map(|number| Record {
            offset: offset(file * 20 + number),
            timestamp: START_MS,
            key: Some(Bytes::from(format!("{}", number * 7 % 10))),
            value: (number % 3 > 0).then(|| Bytes::from(format!("{file} {number}"))),
            headers: Vec::new(),
        });
        let records: Vec<_> = records.collect();
        model.publish(&records);
        world.publish([(0, (records, file * 20 + 20))].into()).await;
    }
    (world, model)
}

/// Given up after ever more of the way.
#[tokio::test]
async fn a_cleaning_that_is_given_up_anywhere_has_changed_nothing_or_a_whole_step() {
    for run_bytes in [1, u64::MAX] {
        let (mut world, mut model) = some_topic(run_bytes).await;
        // How far a step comes by a number of polls, depends on the machine.
        let mut polls = 0;
        loop {
            let before = (world.said(), world.clean_state(0).next_offset);
            let time = at(START_MS);
            let is_done = {
                let mut step = Box::pin(world.step(time));
                let mut done = None;
                for _ in 0..polls {
                    if let std::task::Poll::Ready(stepped) = poll!(&mut step) {
                        done = Some(stepped.expect("no fault"));
                        break;
                    }
                    // Only gives the threads of the compactor time: nothing that is checked waits for it.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                done
            };
            polls += 1;
            world.reload().await;
            model.check(&world, 0, time, 86_400_000).await;
            match is_done {
                Some(false) => break,
                None if world.said() == before.0 => {
                    assert_eq!(world.clean_state(0).next_offset, before.1);
                }
                Some(true) | None => {}
            }
        }
        assert_eq!(world.clean_state(0).next_offset, offset(60));
        assert_eq!(world.stored(0).await.len(), 10);
    }
}

#[tokio::test]
async fn a_bucket_that_fails_changes_nothing() {
    let (mut world, mut model) = some_topic(u64::MAX).await;
    let before = world.said();
    let refuse = Fault::Refuse {
        status: 403,
        code: "AccessDenied",
    };
    let put = |name: &str| FaultRule {
        name_contains: Some(name.to_owned()),
        ..FaultRule::always(Operation::Put, refuse.clone())
    };
    for rule in [
        put("tables/"),
        put("manifests/"),
        FaultRule::always(Operation::Get, refuse.clone()),
        FaultRule::always(Operation::Get, Fault::FlipBit),
    ] {
        let name = format!("{rule:?}");
        world.faults.add(rule);
        world.step(at(START_MS)).await.expect_err(&name);
        world.faults.heal();
        world.reload().await;
        assert_eq!(world.said(), before, "{name}");
        model.check(&world, 0, at(START_MS), 86_400_000).await;
    }
    world.clean(at(START_MS)).await;
    model.check(&world, 0, at(START_MS), 86_400_000).await;
    assert_eq!(model.there().len(), 10);
}

/// I18
#[tokio::test]
async fn damaged_keys_are_told_by_name() {
    let (mut world, _) = some_topic(u64::MAX).await;
    let name = world.manifest().tables()[1].object_key.clone();
    world.faults.add(FaultRule {
        name_contains: Some(name.as_str().to_owned()),
        ..FaultRule::always(Operation::Get, Fault::FlipBit)
    });
    let error = world.step(at(START_MS)).await.expect_err("damaged");
    assert!(
        matches!(&error, PublishError::Read(ReadError::Damaged { key, .. }) if *key == name),
        "{error}"
    );
}

/// Of two compactors that clean one topic the later one fails.
#[tokio::test]
async fn who_is_overtaken_changes_nothing() {
    let (mut world, _) = some_topic(u64::MAX).await;
    let old = Arc::clone(world.manifest());
    world.clean(at(START_MS)).await;
    let (after, new) = (world.said(), Arc::clone(world.manifest()));
    world.manifests.insert(TOPIC, old);
    let late = world.step(at(START_MS)).await;
    assert!(matches!(late, Err(PublishError::Superseded)));
    world.reload().await;
    assert_eq!(world.said(), after);
    assert_eq!(world.manifest().version(), new.version());
    assert_eq!(
        world.manifest().published_end(PartitionIndex(0)),
        offset(60)
    );
}

/// I21: files in leaves would not be written anew. Only a topic that was not compacted for a while can have some.
#[tokio::test]
async fn a_topic_with_leaves_is_not_cleaned() {
    let (mut world, model) = some_topic(1).await;
    assert!(world.step(at(START_MS)).await.expect("begun"));
    world.move_to_leaf(1).await;
    let late = world.step(at(START_MS)).await;
    assert!(matches!(late, Err(PublishError::Superseded)));
    assert!(world.next(at(START_MS)).is_none());
    let clean = world.clean_state(0);
    assert_eq!(clean.next_offset, offset(0));
    drop(model);
}

//! Unclean elections.

use std::collections::BTreeMap;

use super::*;
use crate::controller::testing::folder;
use crate::controller::unclean::{UncleanElection, UncleanError, elect_unclean};
use crate::leadership::PartitionWriter;
use crate::model::WalHolder;
use crate::store::fault::Fault;

async fn elect(
    node: &Node,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, UncleanElection>, UncleanError> {
    let writer = PartitionWriter::new(Arc::clone(&node.store), keys());
    let picture = node.view.picture();
    elect_unclean(&writer, &keys(), &node.session, &picture, partitions).await
}

/// Broker 2 has partitions 0 and 1 in its log, broker 1 serves partition 2.
async fn logged(world: &World, one: &Node, two: &Node) {
    world.served(1, &[two, two, one]).await;
    for index in 0..2 {
        let record = PartitionRecord {
            wal: Some(WalHolder(folder(2))),
            ..opened(2, two.session.broker_epoch())
        };
        let written = world.put(tp(1, index), &record).await;
        one.view.reached(written).await;
    }
}

async fn end(world: &World, two: &Node, seen_by: &Node) {
    two.session.close().await.unwrap();
    let after = world.memory.put("x", "y").await.unwrap();
    seen_by.view.reached(after).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_led_again_and_nothing_else_is_touched() {
    for fault in [Fault::None, Fault::ReplyLost, Fault::RequestLost] {
        let world = World::new();
        let (one, two) = (world.node(1).await, world.node(2).await);
        logged(&world, &one, &two).await;
        let all = [tp(1, 0), tp(1, 2), tp(1, 0), tp(9, 0)];
        let early = elect(&one, &all).await.unwrap();
        assert_eq!(early[&tp(1, 0)], UncleanElection::NotNeeded);
        end(&world, &two, &one).await;
        one.faults.next([fault]);
        let results = elect(&one, &all).await.unwrap();
        assert!(
            matches!(results[&tp(1, 0)], UncleanElection::Done(_)),
            "{results:?}"
        );
        assert_eq!(results[&tp(1, 2)], UncleanElection::NotNeeded);
        assert_eq!(results[&tp(9, 0)], UncleanElection::Unknown);
        assert_eq!(world.record(tp(1, 0)).await.wal, None);
        assert_eq!(world.record(tp(1, 1)).await.wal, Some(WalHolder(folder(2))));
        // The controller does the rest.
        let controller = one.controller_with(ControllerOptions {
            start_grace: Duration::ZERO,
            ..ControllerOptions::default()
        });
        world.until_led_by(1, &[1, 2, 1]).await;
        drop(controller);
    }
}

/// F2: its broker came back, and with it the records.
#[tokio::test(start_paused = true)]
async fn a_log_that_came_back_is_not_given_up() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    logged(&world, &one, &two).await;
    end(&world, &two, &one).await;
    let picture = one.view.picture();
    let _back = world.node(2).await;
    let writer = PartitionWriter::new(Arc::clone(&one.store), keys());
    let results = elect_unclean(&writer, &keys(), &one.session, &picture, &[tp(1, 0)]).await;
    assert_eq!(results.unwrap()[&tp(1, 0)], UncleanElection::Changed);
    assert_eq!(world.record(tp(1, 0)).await.wal, Some(WalHolder(folder(2))));
}

/// The broker is back and its disk is not.
#[tokio::test(start_paused = true)]
async fn a_broker_with_an_empty_folder_may_lead_again() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    logged(&world, &one, &two).await;
    end(&world, &two, &one).await;
    let mut emptied = broker(2);
    emptied.instance_id = uuid::Uuid::from_u128(77);
    let back = world.node_of(&emptied).await;
    let results = elect(&back, &[tp(1, 0)]).await.unwrap();
    assert!(
        matches!(results[&tp(1, 0)], UncleanElection::Done(_)),
        "{results:?}"
    );
    let record = world.record(tp(1, 0)).await;
    assert_eq!((record.leader.0, record.wal), (2, None));
}

/// F1
#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_elects_nobody() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    logged(&world, &one, &two).await;
    end(&world, &two, &one).await;
    let _new = world.node(1).await;
    let refused = elect(&one, &[tp(1, 0)]).await;
    assert!(matches!(refused, Err(UncleanError::Fenced)), "{refused:?}");
    assert!(!one.session.is_alive());
    assert_eq!(world.record(tp(1, 0)).await.wal, Some(WalHolder(folder(2))));
}

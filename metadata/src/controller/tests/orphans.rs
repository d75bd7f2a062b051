//! Partitions without a topic.

use super::*;

#[tokio::test(start_paused = true)]
async fn partitions_without_a_topic_are_removed_after_a_while() {
    let world = World::new();
    let one = world.node(1).await;
    let controller = one.controller();
    elected(&[&controller]).await;
    world.served(1, &[&one]).await;
    for number in 10..20 {
        world
            .put(
                tp(number, 0),
                &PartitionRecord::new(one.session.broker_id()),
            )
            .await;
        world
            .put(
                tp(number, 1),
                &PartitionRecord::new(one.session.broker_id()),
            )
            .await;
    }
    shows(&controller, |status| status.orphan_topics == 10).await;
    let grace = ControllerOptions::default().orphan_grace;
    tokio::time::sleep(grace - Duration::from_secs(2)).await;
    // One of them was only slow to be created.
    world.create_topic(10, 2).await;
    assert_eq!(world.leaders(11).await, [1, 1]);
    shows(&controller, |status| status.orphan_topics == 0).await;
    let (_, left) = world.memory.list(keys().partitions()).await.unwrap();
    assert_eq!(left.len(), 3);
    assert_eq!(
        (world.leaders(10).await.len(), world.leaders(1).await.len()),
        (2, 1)
    );
}

/// F6: the picture is old, the topic exists.
#[tokio::test(start_paused = true)]
async fn what_exists_in_the_store_is_not_removed_because_the_picture_is_old() {
    let world = World::new();
    let one = world.node(1).await;
    world
        .put(tp(7, 0), &PartitionRecord::new(one.session.broker_id()))
        .await;
    let options = ControllerOptions {
        orphan_grace: Duration::from_millis(50),
        // Faster than the picture, which is loaded anew 100 ms after its watch broke.
        round_pause: Duration::from_millis(1),
        tick: Duration::from_millis(10),
        ..ControllerOptions::default()
    };
    let controller = one.controller_with(options);
    shows(&controller, |status| status.orphan_topics == 1).await;
    one.faults.away_for(Duration::from_millis(1));
    world.create_topic(7, 1).await;
    shows(&controller, |status| status.orphan_topics == 0).await;
    assert_eq!(world.leaders(7).await, [1]);
}

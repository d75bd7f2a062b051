//! What the elected controller writes, and what keeps it from writing.

use super::*;
use crate::controller::apply::{Applier, ApplyError};
use crate::controller::election::Election;
use crate::controller::plan::{Circumstances, Plan, PlanOptions, PlanRules, plan};
use crate::controller::testing::id;
use crate::leadership::PartitionWriter;
use crate::store::Compare;
use crate::store::fault::FaultRates;
use crate::view::Picture;

fn planned(picture: &Picture) -> Plan<TopicPartition> {
    let rules = PlanRules {
        unclean: &|topic| unclean_as_configured(topic, &Default::default()),
        weight: &|_| 1,
    };
    let now = Circumstances {
        usable_for: Duration::from_secs(60),
        rebalancing: false,
        expected: &|_| false,
    };
    plan(picture, &PlanOptions::default(), &rules, &now).partitions
}

async fn apply(
    node: &Node,
    guard: Compare,
    picture: &Picture,
) -> Result<crate::controller::apply::Applied, ApplyError> {
    let writer = PartitionWriter::new(Arc::clone(&node.store), keys());
    let applier = Applier {
        writer: &writer,
        keys: &keys(),
        guard,
    };
    applier.apply(picture, &planned(picture)).await
}

/// The guard of this node's election.
async fn guard(node: &Node) -> Compare {
    let election = Election::new(Arc::clone(&node.store), keys(), Arc::clone(&node.session));
    let epoch = election.campaign().await.unwrap().unwrap();
    election.guard(epoch)
}

async fn newest(world: &World, node: &Node) -> Arc<Picture> {
    node.view
        .reached(world.memory.put("x", "y").await.unwrap())
        .await;
    node.view.picture()
}

/// F5: it has not noticed that another was elected, and its plan is as good as that of the other. Still it is not the
/// one to write it.
#[tokio::test(start_paused = true)]
async fn a_deposed_controller_writes_nothing() {
    let world = World::new();
    let (one, two, gone) = (
        world.node(1).await,
        world.node(2).await,
        world.node(3).await,
    );
    world.served(1, &[&one, &gone, &two]).await;
    let old = guard(&one).await;
    gone.session.close().await.unwrap();
    let picture = newest(&world, &one).await;
    world.memory.delete(keys().controller()).await.unwrap();
    let new = guard(&two).await;
    let refused = apply(&one, old, &picture).await;
    assert!(matches!(refused, Err(ApplyError::Deposed)), "{refused:?}");
    assert_eq!(world.leaders(1).await, [1, 3, 2]);
    let applied = apply(&two, new, &picture).await.unwrap();
    assert_eq!((applied.assigned, applied.moved), (1, 0));
    assert_eq!(world.leaders(1).await, [1, 1, 2]);
}

/// F5 for moves, and F2: a broker that came back before its partitions were taken away keeps them, while those of
/// another that is gone are assigned all the same.
#[tokio::test(start_paused = true)]
async fn a_broker_that_came_back_keeps_its_partitions() {
    let world = World::new();
    let one = world.node(1).await;
    let (back, gone) = (world.node(2).await, world.node(3).await);
    world.served(1, &[&one, &back, &gone]).await;
    let guard = guard(&one).await;
    back.session.close().await.unwrap();
    gone.session.close().await.unwrap();
    let picture = newest(&world, &one).await;
    let _again = world.node(2).await;
    let applied = apply(&one, guard, &picture).await.unwrap();
    assert_eq!(applied.assigned, 1);
    assert_eq!(world.leaders(1).await, [1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_wrote_meanwhile_is_left_alone() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    world.put(tp(1, 0), &PartitionRecord::new(id(2))).await;
    world.put(tp(1, 1), &PartitionRecord::new(id(2))).await;
    world.create_topic(1, 2).await;
    let drain = crate::model::DrainRecord { since_ms: 0 };
    let drained = world.memory.put(keys().drain(id(2)), value::encode(&drain));
    drained.await.unwrap();
    let guard = guard(&one).await;
    let picture = newest(&world, &one).await;
    // It opens one of the two after the controller looked.
    world
        .put(tp(1, 1), &opened(2, two.session.broker_epoch()))
        .await;
    let applied = apply(&one, guard.clone(), &picture).await.unwrap();
    assert_eq!(applied.assigned, 1);
    assert_eq!(world.leaders(1).await, [1, 2]);
    // The next look finds that it is to be handed over.
    let picture = newest(&world, &one).await;
    let applied = apply(&one, guard, &picture).await.unwrap();
    assert_eq!((applied.assigned, applied.moved), (0, 1));
    let record = world.record(tp(1, 1)).await;
    assert_eq!((record.leader, record.moving_to), (id(2), Some(id(1))));
}

/// F2: a broker that is silent is not dead until its session is over.
#[tokio::test(start_paused = true)]
async fn partitions_are_assigned_once_the_session_is_gone() {
    let world = World::new();
    let (one, two, three) = (
        world.node(1).await,
        world.node(2).await,
        world.node(3).await,
    );
    let controller = one.controller();
    elected(&[&controller]).await;
    world.served(1, &[&three, &three, &one, &two]).await;
    three.faults.away_for(TTL * 10);
    tokio::time::sleep(TTL * 2 / 3).await;
    assert!(!three.session.is_alive());
    assert_eq!(world.leaders(1).await, [3, 3, 1, 2]);
    let session = keys().broker(id(3));
    until(async || {
        let stands = world.memory.get(session.clone()).await.unwrap();
        let assigned = world.leaders(1).await != [3, 3, 1, 2];
        assert!(stands.is_none() || !assigned);
        assigned
    })
    .await;
    world.until_led_by(1, &[1, 2, 1, 2]).await;
    until(async || controller.status().borrow().assignments_total == 2).await;
    let record = world.record(tp(1, 0)).await;
    assert_eq!((record.open_by(), record.tail.len()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn partitions_find_leaders_though_the_store_fails_often() {
    let world = World::new();
    let (one, two, three) = (
        world.node(1).await,
        world.node(2).await,
        world.node(3).await,
    );
    let leaders: Vec<_> = (0..300).map(|_| &three).collect();
    world.served(1, &leaders).await;
    one.faults.set_rates(FaultRates {
        refused: 200,
        reply_lost: 200,
        request_lost: 200,
        delayed: 200,
        delay_max: Duration::from_millis(50),
    });
    let controllers = [one.controller(), two.controller()];
    elected(&[&controllers[0], &controllers[1]]).await;
    three.session.close().await.unwrap();
    until(async || !world.leaders(1).await.contains(&3)).await;
    let on_one = world.leaders(1).await.iter().filter(|n| **n == 1).count();
    assert_eq!(on_one, 150);
}

/// The whole cluster starts again: whoever is first leaves to the others what is theirs.
#[tokio::test(start_paused = true)]
async fn the_first_broker_that_starts_waits_for_the_others() {
    let world = World::new();
    let nodes = [
        world.node(1).await,
        world.node(2).await,
        world.node(3).await,
    ];
    world.served(1, &[&nodes[0], &nodes[1], &nodes[2]]).await;
    for node in &nodes {
        node.session.close().await.unwrap();
    }
    let one = world.node(1).await;
    let controller = one.controller();
    elected(&[&controller]).await;
    shows(&controller, |status| status.waiting_otherwise == 2).await;
    let _two = world.node(2).await;
    shows(&controller, |status| status.waiting_otherwise == 1).await;
    // The third does not come.
    let options = ControllerOptions::default();
    tokio::time::sleep(options.start_grace - Duration::from_secs(1)).await;
    assert_eq!(world.leaders(1).await, [1, 2, 3]);
    world.until_led_by(1, &[1, 2, 1]).await;
}

/// Both kinds of drain empty a broker; loads are made even when a broker joins, a while after.
#[tokio::test(start_paused = true)]
async fn brokers_are_emptied_and_new_ones_get_their_share() {
    let world = World::new();
    let one = world.node(1).await;
    let controller = one.controller();
    elected(&[&controller]).await;
    world.served(1, &[&one, &one, &one, &one]).await;
    let two = world.node(2).await;
    let joined = tokio::time::Instant::now();
    let moving = async |to: i32| {
        let mut count = 0;
        for index in 0..4 {
            let moving_to = world.record(tp(1, index)).await.moving_to;
            count += usize::from(moving_to == Some(id(to)));
        }
        count
    };
    until(async || moving(2).await == 2).await;
    assert!(joined.elapsed() >= ControllerOptions::default().plan.rebalance_delay);
    until(async || controller.status().borrow().moves_in_flight == 2).await;
    // As the leader would answer.
    for index in 0..2 {
        world
            .put(tp(1, index), &opened(2, two.session.broker_epoch()))
            .await;
    }
    let drain = crate::model::DrainRecord { since_ms: 0 };
    let drained = world.memory.put(keys().drain(id(2)), value::encode(&drain));
    drained.await.unwrap();
    until(async || moving(1).await == 2).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_log_is_told_and_served_when_it_is_back() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let controller = one.controller();
    elected(&[&controller]).await;
    let holder = crate::model::WalHolder(crate::controller::testing::folder(2));
    let record = PartitionRecord {
        wal: Some(holder),
        ..opened(2, two.session.broker_epoch())
    };
    world.put(tp(1, 0), &record).await;
    world.create_topic(1, 1).await;
    two.session.close().await.unwrap();
    let waits = |status: &ControllerStatus| status.waiting_for_log == [(id(2), 1)].into();
    shows(&controller, waits).await;
    // Its folder, under another number.
    let mut moved_house = broker(5);
    moved_house.instance_id = crate::controller::testing::folder(2);
    let _five = world.node_of(&moved_house).await;
    world.until_led_by(1, &[5]).await;
    assert_eq!(world.record(tp(1, 0)).await.wal, Some(holder));
    shows(&controller, |status| status.waiting_for_log.is_empty()).await;
}

/// A topic that rather loses records than waits: the next leader must not look for the log either.
#[tokio::test(start_paused = true)]
async fn an_unclean_assignment_gives_up_the_log() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let controller = one.controller();
    elected(&[&controller]).await;
    let record = PartitionRecord {
        wal: Some(crate::model::WalHolder(crate::controller::testing::folder(
            2,
        ))),
        ..opened(2, two.session.broker_epoch())
    };
    world.put(tp(1, 0), &record).await;
    let mut unclean = topic(1, 1);
    let setting = "unclean.leader.election.enable".to_owned();
    unclean.configs.insert(setting, "true".to_owned());
    let key = keys().topic(&unclean.name);
    world
        .memory
        .put(key, value::encode(&unclean))
        .await
        .unwrap();
    two.session.close().await.unwrap();
    world.until_led_by(1, &[1]).await;
    assert_eq!(world.record(tp(1, 0)).await.wal, None);
}

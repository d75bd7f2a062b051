//! Who is elected, and when another is.

use super::*;
use crate::controller::election::Election;
use crate::leased_key::HoldError;
use crate::model::ControllerRecord;
use crate::store::fault::Fault;

fn election(node: &Node) -> Election {
    Election::new(Arc::clone(&node.store), keys(), Arc::clone(&node.session))
}

#[tokio::test(start_paused = true)]
async fn one_of_three_is_elected_and_another_when_it_resigns() {
    let world = World::new();
    let nodes = [
        world.node(1).await,
        world.node(2).await,
        world.node(3).await,
    ];
    let mut controllers: Vec<_> = nodes.iter().map(Node::controller).collect();
    let first = elected(&controllers.iter().collect::<Vec<_>>()).await;
    // Nobody else believes it, however long it lasts.
    tokio::time::sleep(TTL * 3).await;
    let believers = controllers.iter().filter(|one| one.is_controller());
    assert_eq!(believers.count(), 1);
    let epoch = controllers[first].status().borrow().elected;
    let stands = world
        .memory
        .get(keys().controller())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(epoch, Some(stands.create_revision));
    // At once, though its session goes on.
    controllers.remove(first).stop().await;
    assert!(nodes[first].session.is_alive());
    let stopped = tokio::time::Instant::now();
    elected(&controllers.iter().collect::<Vec<_>>()).await;
    assert!(stopped.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn another_is_elected_when_the_session_of_the_first_ends() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let first = one.controller();
    elected(&[&first]).await;
    let second = two.controller();
    one.faults.away_for(TTL * 10);
    // F3: the first gives up before there may be another.
    until(async || {
        let (old, new) = (first.is_controller(), second.is_controller());
        assert!(!old || !new);
        new
    })
    .await;
}

/// It goes on with the same election: nobody else was elected meanwhile.
#[tokio::test(start_paused = true)]
async fn a_short_outage_interrupts_a_term() {
    let world = World::new();
    let one = world.node(1).await;
    let controller = one.controller();
    elected(&[&controller]).await;
    let epoch = controller.status().borrow().elected;
    one.faults.away_for(TTL * 3 / 4);
    until(async || !controller.is_controller()).await;
    elected(&[&controller]).await;
    assert_eq!(controller.status().borrow().elected, epoch);
}

#[tokio::test(start_paused = true)]
async fn whose_key_is_deleted_is_elected_no_more_and_may_be_again() {
    let world = World::new();
    let one = world.node(1).await;
    let controller = one.controller();
    elected(&[&controller]).await;
    let before = controller.status().borrow().elected;
    world.memory.delete(keys().controller()).await.unwrap();
    let again = |status: &ControllerStatus| status.elected.is_some() && status.elected != before;
    shows(&controller, again).await;
}

/// F4: whichever reply or request is lost, the key is found to be the own, and once only.
#[tokio::test(start_paused = true)]
async fn lost_replies_are_looked_up() {
    for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Refused] {
        let world = World::new();
        let one = world.node(1).await;
        let election = election(&one);
        one.faults.next([fault, fault]);
        let epoch = election.campaign().await.unwrap().unwrap();
        assert_eq!(election.campaign().await.unwrap(), Some(epoch));
        one.faults.next([fault, fault]);
        election.resign(epoch).await.unwrap();
        assert_eq!(world.memory.get(keys().controller()).await.unwrap(), None);
    }
}

/// The reply is lost and the store goes away: the view then shows this broker as elected, which it finds out.
#[tokio::test(start_paused = true)]
async fn an_election_that_was_not_learned_of_is_found() {
    let world = World::new();
    let one = world.node(1).await;
    let record = ControllerRecord {
        broker_id: one.session.broker_id(),
    };
    let key = keys().controller();
    let put = crate::store::Op::put_leased(key, value::encode(&record), one.session.lease());
    let epoch = world
        .memory
        .txn(crate::store::Txn::new().then(put))
        .await
        .unwrap()
        .revision;
    one.view.reached(epoch).await;
    let controller = one.controller();
    elected(&[&controller]).await;
    assert_eq!(controller.status().borrow().elected, Some(epoch));
}

/// A broker that restarts need not wait until the lease of its own past ends.
#[tokio::test(start_paused = true)]
async fn a_key_of_the_own_past_is_replaced() {
    let world = World::new();
    let past = world.node(1).await;
    let epoch = election(&past).campaign().await.unwrap().unwrap();
    let (present, other) = (world.node(1).await, world.node(2).await);
    assert_eq!(election(&other).campaign().await.unwrap(), None);
    let next = election(&present).campaign().await.unwrap().unwrap();
    assert!(next > epoch);
    // The past takes no part any more.
    let late = election(&past).campaign().await;
    assert!(matches!(late, Err(HoldError::Fenced)), "{late:?}");
    assert!(!past.session.is_alive());
}

#[tokio::test(start_paused = true)]
async fn only_the_own_election_is_resigned() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let old = election(&one).campaign().await.unwrap().unwrap();
    world.memory.delete(keys().controller()).await.unwrap();
    let new = election(&two).campaign().await.unwrap();
    election(&one).resign(old).await.unwrap();
    assert_eq!(election(&two).campaign().await.unwrap(), new);
}

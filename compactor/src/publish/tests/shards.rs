//! Who publishes what, while publishers come and go.

use alluvium_metadata::compaction::{COMPACTION_SHARDS, Claims, shards_of};
use alluvium_metadata::store::fault::Fault;

use super::compactors::eager;
use super::world::{World, tp};
use super::*;

/// More attempts than anybody makes.
const FOR_LONG: usize = 200;

/// So many topics that each shard has some, with a batch each.
async fn many_topics(world: &mut World, broker: usize) -> Vec<TopicId> {
    let mut topics = Vec::new();
    let mut shards = std::collections::BTreeSet::new();
    while shards.len() < COMPACTION_SHARDS as usize {
        let topic = world.topic(&format!("t{}", topics.len()), 1, broker).await;
        shards.insert(CompactionShard::of(topic));
        world.commit(tp(topic, 0), 3).await;
        topics.push(topic);
    }
    topics
}

#[tokio::test(start_paused = true)]
async fn only_who_has_claimed_a_topic_publishes_it() {
    let mut world = World::new(1).await;
    let broker = world.broker(1).await;
    let topics = many_topics(&mut world, broker).await;
    let (one, two) = (world.session(10).await, world.session(11).await);
    let (mut first, mut second) = (
        world.publisher(&one, eager()),
        world.publisher(&two, eager()),
    );
    assert_eq!(world.round(&mut first).await.published, topics.len());
    for topic in &topics {
        world.commit(tp(*topic, 0), 3).await;
    }
    // The first has them all until it learns that there is another.
    assert_eq!(world.round(&mut second).await, Round::default());
    let firsts = world.round(&mut first).await.published;
    assert!(firsts > 0 && firsts < topics.len());
    let seconds = world.round(&mut second).await.published;
    assert_eq!(firsts + seconds, topics.len());
    world.check_all().await;
    let held = |publisher: &Publisher| -> Vec<_> {
        CompactionShard::all()
            .filter(|shard| publisher.shards.holds(*shard))
            .collect()
    };
    assert_eq!(
        held(&first).len() + held(&second).len(),
        COMPACTION_SHARDS as usize
    );

    // The session of one ends: the other has it all.
    for topic in &topics {
        world.commit(tp(*topic, 0), 3).await;
    }
    two.close().await.expect("closed");
    assert!(
        world.round(&mut second).await.failed > 0,
        "it publishes nothing any more"
    );
    world.settle(&mut [&mut first]).await;
    world.check_all().await;
    assert_eq!(held(&first).len(), COMPACTION_SHARDS as usize);
    for topic in &topics {
        world.commit(tp(*topic, 0), 3).await;
    }
    world.settle(&mut [&mut first]).await;
    world.check_all().await;
}

/// Whoever does not hold a shard and believes so all the same changes nothing.
#[tokio::test(start_paused = true)]
async fn a_publisher_whose_session_is_over_publishes_nothing() {
    let mut world = World::new(2).await;
    let broker = world.broker(1).await;
    let topic = world.topic("t", 1, broker).await;
    let session = world.session(10).await;
    let mut publisher = world.publisher(&session, eager());
    world.commit(tp(topic, 0), 3).await;
    world.settle(&mut [&mut publisher]).await;
    session.close().await.expect("closed");
    world.commit(tp(topic, 0), 3).await;
    let round = world.round(&mut publisher).await;
    assert_eq!(round.published, 0);
    assert_eq!(world.published_end(tp(topic, 0)).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_release_failed_is_released_later() {
    let mut world = World::new(3).await;
    let broker = world.broker(1).await;
    let topics = many_topics(&mut world, broker).await;
    let (one, two) = (world.session(10).await, world.session(11).await);
    let mut first = world.publisher(&one, eager());
    world.settle(&mut [&mut first]).await;
    let mut second = world.publisher(&two, eager());
    world.round(&mut second).await;
    world.store_faults.next([Fault::Refused; FOR_LONG]);
    assert!(world.round(&mut first).await.failed > 0);
    world.store_faults.clear();
    for topic in &topics {
        world.commit(tp(*topic, 0), 3).await;
    }
    world.settle(&mut [&mut first, &mut second]).await;
    world.check_all().await;
}

/// A process may have a claim that it never learned of, of a shard that is not its part any more.
#[tokio::test(start_paused = true)]
async fn a_claim_whose_reply_was_lost_is_left_to_others() {
    let mut world = World::new(5).await;
    let broker = world.broker(1).await;
    let (one, two) = (world.session(10).await, world.session(11).await);
    let mut first = world.publisher(&one, eager());
    let mut second = world.publisher(&two, eager());
    let seconds = shards_of(two.broker_id(), &[one.broker_id(), two.broker_id()].into());
    let lost = seconds[0];
    // The first joins and claims all shards before that one.
    let before = 1 + CompactionShard::all()
        .take_while(|shard| *shard != lost)
        .count();
    world.store_faults.next(vec![Fault::None; before]);
    world.store_faults.next([Fault::ReplyLost]);
    world.store_faults.next([Fault::Refused; FOR_LONG]);
    assert!(world.round(&mut first).await.failed > 0);
    world.store_faults.clear();
    assert!(!first.shards.holds(lost));
    for _ in 0..3 {
        world.round(&mut second).await;
        world.round(&mut first).await;
    }
    for shard in CompactionShard::all() {
        let holders = [&first, &second].map(|one| usize::from(one.shards.holds(shard)));
        assert_eq!(holders.iter().sum::<usize>(), 1, "{shard}");
    }
    many_topics(&mut world, broker).await;
    world.settle(&mut [&mut first, &mut second]).await;
    world.check_all().await;
}

/// The store goes away while shards are claimed: of those that were, nothing must be passed over.
#[tokio::test(start_paused = true)]
async fn topics_of_shards_that_were_claimed_before_a_failure_are_published() {
    let mut world = World::new(4).await;
    let broker = world.broker(1).await;
    let (one, two) = (world.session(10).await, world.session(11).await);
    let (mut first, mut second) = (
        world.publisher(&one, eager()),
        world.publisher(&two, eager()),
    );
    for _ in 0..2 {
        world.round(&mut first).await;
        world.round(&mut second).await;
    }
    many_topics(&mut world, broker).await;
    world.round(&mut first).await;
    two.close().await.expect("closed");
    world.catch_up().await;
    // All but the last are claimed.
    let free = shards_of(two.broker_id(), &[one.broker_id(), two.broker_id()].into());
    let last = *free.last().expect("some");
    world.store_faults.next(vec![Fault::None; free.len() - 1]);
    world.store_faults.next([Fault::Refused; FOR_LONG]);
    assert!(world.round(&mut first).await.failed > 0);
    world.store_faults.clear();
    // Somebody else takes that one.
    let three = world.session(12).await;
    let claims = Claims::new(world.memory.clone(), world.keys.clone(), three);
    let taken = claims.take(last).await.expect("asked");
    assert!(taken.is_some());
    for _ in 0..3 {
        world.round(&mut first).await;
    }
    for (tp, model) in &world.model.partitions {
        if CompactionShard::of(tp.topic_id) != last {
            assert_eq!(world.published_end(*tp).await, model.end.get());
        }
    }
}

use std::collections::BTreeMap;
use std::ops::Range;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::TopicPartition;
use proptest::prelude::*;

use super::*;
use crate::controller::testing::{Drawing, broker, id, opened, tp};
use crate::model::PartitionRecord;

/// How many each broker has.
fn counted(leaders: &[BrokerId]) -> BTreeMap<i32, u64> {
    let mut counts = BTreeMap::new();
    for leader in leaders {
        *counts.entry(leader.0).or_default() += 1;
    }
    counts
}

fn place(drawing: &Drawing, topic: u128, partitions: Range<i32>) -> Vec<BrokerId> {
    place_new(&drawing.picture, id(9), tp(topic, 0).topic_id, partitions)
}

/// Creates a topic as placed.
fn create(drawing: &mut Drawing, topic: u128, partitions: Range<i32>) -> Vec<BrokerId> {
    let leaders = place(drawing, topic, partitions.clone());
    for (index, leader) in partitions.zip(&leaders) {
        drawing.partition(tp(topic, index), &PartitionRecord::new(*leader));
    }
    leaders
}

fn in_rack(drawing: &mut Drawing, broker_id: i32, rack: &str) {
    let mut record = broker(broker_id);
    record.rack = Some(rack.to_owned());
    drawing.broker(record);
}

#[test]
fn new_partitions_are_even_per_topic_and_in_total() {
    let mut drawing = Drawing::of(3);
    let mut all = Vec::new();
    for topic in 1..=8 {
        let leaders = create(&mut drawing, topic, 0..4);
        let counts = counted(&leaders);
        assert!(counts.len() == 3 && counts.values().all(|n| *n <= 2));
        all.extend(leaders);
    }
    assert_eq!(counted(&all), [(1, 11), (2, 11), (3, 10)].into());
}

#[test]
fn partitions_that_are_added_go_where_the_topic_is_not() {
    let mut drawing = Drawing::of(4);
    let first = create(&mut drawing, 1, 0..3);
    let added = create(&mut drawing, 1, 3..8);
    let all = [first, added].concat();
    assert_eq!(counted(&all), [(1, 2), (2, 2), (3, 2), (4, 2)].into());
}

/// Many brokers may create topics at once and know nothing of each other's yet.
#[test]
fn topics_of_the_same_moment_begin_at_different_brokers() {
    let mut drawing = Drawing::of(4);
    // Nearly even is even.
    drawing.served(1_000, (1..=4).flat_map(|n| std::iter::repeat_n(n, 100)));
    drawing.served(1_001, [2, 2, 2, 3]);
    let leaders: Vec<_> = (0..200)
        .map(|topic| place(&drawing, topic, 0..1)[0])
        .collect();
    let counts = counted(&leaders);
    assert!(
        counts.len() == 4 && counts.values().all(|n| *n > 25),
        "{counts:?}"
    );
    assert_eq!(place(&drawing, 7, 0..9), place(&drawing, 7, 0..9));
}

#[test]
fn racks_take_turns() {
    let mut drawing = Drawing::default();
    for (broker_id, rack) in [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")] {
        in_rack(&mut drawing, broker_id, rack);
    }
    for topic in 0..20 {
        let leaders = create(&mut drawing, topic, 0..6);
        for three in leaders.chunks(3) {
            let racks = counted(&three.iter().map(|b| id((b.0 + 1) / 2)).collect::<Vec<_>>());
            assert_eq!(racks.len(), 3, "{leaders:?}");
        }
        assert_eq!(counted(&leaders).len(), 6);
    }
}

#[test]
fn without_a_usable_broker_a_live_one_leads_and_without_that_the_own() {
    let mut drawing = Drawing::of(2);
    drawing.drain(1);
    assert_eq!(place(&drawing, 1, 0..2), [id(2); 2]);
    let mut stopping = broker(2);
    stopping.draining = true;
    drawing.broker(stopping);
    assert_eq!(counted(&place(&drawing, 1, 0..2)).len(), 2);
    assert_eq!(place(&Drawing::default(), 1, 0..2), [id(9); 2]);
}

/// What is on its way to a broker is its load already.
#[test]
fn moves_under_way_count_where_they_go() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [1, 1, 1]);
    for index in 0..3 {
        drawing.edit(tp(1, index), |record| record.moving_to = Some(id(2)));
    }
    assert_eq!(place(&drawing, 2, 0..1), [id(1)]);
}

#[test]
fn ten_thousand_partitions_are_placed_among_many_brokers() {
    let mut drawing = Drawing::of(50);
    let leaders = create(&mut drawing, 1, 0..10_000);
    let counts = counted(&leaders);
    assert!(counts.len() == 50 && counts.values().all(|n| *n == 200));
}

/// Brokers and what each serves: topic by topic.
#[derive(Debug, Clone)]
struct Served {
    brokers: i32,
    duties: Vec<(TopicPartition, BrokerId)>,
}

fn served() -> impl Strategy<Value = Served> {
    (2..7i32).prop_flat_map(|brokers| {
        let leaders = proptest::collection::vec((0..5u128, 1..=brokers), 0..60);
        leaders.prop_map(move |leaders| {
            let duties = leaders.iter().zip(0..);
            let duties = duties.map(|((topic, leader), index)| (tp(*topic, index), id(*leader)));
            Served {
                brokers,
                duties: duties.collect(),
            }
        })
    })
}

struct World {
    loads: Loads<alluvium_common::topic::TopicId>,
    movable: BTreeMap<BrokerId, Vec<Movable<TopicPartition>>>,
}

fn world(served: &Served, weight: impl Fn(TopicPartition) -> u64) -> World {
    let drawing = Drawing::of(served.brokers);
    let mut loads = Loads::over(drawing.picture.brokers.all().map(|live| &**live));
    let mut movable: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (duty, leader) in &served.duties {
        let (duty, weight) = (*duty, weight(*duty));
        loads.add(*leader, duty.group(), weight);
        movable
            .entry(*leader)
            .or_default()
            .push(Movable { duty, weight });
    }
    World { loads, movable }
}

fn no_limit() -> InFlight {
    InFlight::new(usize::MAX, usize::MAX)
}

fn rules(under_way: bool) -> RebalanceRules {
    RebalanceRules {
        tolerated_percent: 10,
        under_way,
    }
}

fn totals(loads: &Loads<alluvium_common::topic::TopicId>, brokers: i32) -> Vec<u64> {
    (1..=brokers).map(|n| loads.of(id(n)).unwrap()).collect()
}

/// The fewest moves after which no two brokers differ by more than one.
fn fewest_moves(totals: &[u64]) -> u64 {
    let (sum, count) = (totals.iter().sum::<u64>(), totals.len() as u64);
    let (floor, ceiling) = (sum / count, sum.div_ceil(count));
    let above: u64 = totals.iter().map(|n| n.saturating_sub(ceiling)).sum();
    let below: u64 = totals.iter().map(|n| floor.saturating_sub(*n)).sum();
    above.max(below)
}

fn spread(totals: &[u64]) -> u64 {
    totals.iter().max().unwrap() - totals.iter().min().unwrap()
}

proptest! {
    #[test]
    fn rebalancing_makes_even_with_the_fewest_moves(served in served()) {
        let mut world = world(&served, |_| 1);
        let before = totals(&world.loads, served.brokers);
        let done = rebalance(&mut world.loads, &mut world.movable, &mut no_limit(), rules(true));
        let after = totals(&world.loads, served.brokers);
        prop_assert!(spread(&after) <= 1 && !done.unfinished, "{:?}", after);
        prop_assert_eq!(done.moves.len() as u64, fewest_moves(&before));
        // Nothing moves twice, and everything from where it is.
        let at: BTreeMap<_, _> = served.duties.iter().copied().collect();
        let moved: std::collections::BTreeSet<_> = done.moves.iter().map(|m| m.0).collect();
        prop_assert_eq!(moved.len(), done.moves.len());
        prop_assert!(done.moves.iter().all(|(duty, from, to)| at[duty] == *from && from != to));
    }

    #[test]
    fn nothing_moves_without_need(served in served()) {
        let mut world = world(&served, |_| 1);
        let before = totals(&world.loads, served.brokers);
        let average = before.iter().sum::<u64>() / before.len() as u64;
        let done = rebalance(&mut world.loads, &mut world.movable, &mut no_limit(), rules(false));
        let pays = spread(&before) > (average / 10).max(1);
        prop_assert_eq!(!done.moves.is_empty(), pays);
    }

    /// Whatever duties weigh, it ends, and never makes things worse.
    #[test]
    fn weights_are_made_more_even(served in served(), seed in any::<u64>()) {
        let weight = |duty: TopicPartition| (seed ^ u64::try_from(duty.partition.0).unwrap()) % 17;
        let mut world = world(&served, weight);
        let before = spread(&totals(&world.loads, served.brokers));
        rebalance(&mut world.loads, &mut world.movable, &mut no_limit(), rules(true));
        prop_assert!(spread(&totals(&world.loads, served.brokers)) <= before);
    }
}

#[test]
fn a_topic_that_is_crowded_moves_first() {
    // Broker 1 has four partitions of topic 1 and one each of others; broker 2 has those others too.
    let mut duties: Vec<_> = (0..4).map(|index| (tp(1, index), id(1))).collect();
    duties.extend((2..6).map(|topic| (tp(topic, 0), id(1))));
    duties.extend((2..6).map(|topic| (tp(topic, 1), id(2))));
    let served = Served { brokers: 2, duties };
    let mut world = world(&served, |_| 1);
    let done = rebalance(
        &mut world.loads,
        &mut world.movable,
        &mut no_limit(),
        rules(false),
    );
    let moved: Vec<_> = done.moves.iter().map(|(duty, ..)| *duty).collect();
    assert_eq!(moved, [tp(1, 0), tp(1, 1)]);
}

#[test]
fn no_more_moves_than_there_is_room_for() {
    let duties = (0..40).map(|index| (tp(1, index), id(1 + index % 2)));
    let served = Served {
        brokers: 3,
        duties: duties.collect(),
    };
    for (in_flight, expected) in [
        (InFlight::new(5, 100), 5),
        // All go to the one new broker.
        (InFlight::new(100, 3), 3),
        (no_limit(), 13),
    ] {
        let mut in_flight = in_flight;
        let mut world = world(&served, |_| 1);
        let done = rebalance(
            &mut world.loads,
            &mut world.movable,
            &mut in_flight,
            rules(false),
        );
        assert_eq!(done.moves.len(), expected);
        assert_eq!(done.unfinished, expected < 13);
        assert_eq!(in_flight.total(), expected);
    }
}

#[test]
fn a_partition_that_only_swaps_two_brokers_stays() {
    let served = Served {
        brokers: 2,
        duties: vec![(tp(1, 0), id(1))],
    };
    let mut world = world(&served, |_| 1_000);
    let done = rebalance(
        &mut world.loads,
        &mut world.movable,
        &mut no_limit(),
        rules(false),
    );
    assert_eq!(done.moves, []);
}

#[test]
fn a_partition_burdens_who_has_it_unless_it_goes_to_a_usable_broker() {
    let mut drawing = Drawing::of(2);
    drawing.partition(tp(1, 0), &opened(1, BrokerEpoch(1)));
    for (moving_to, expected) in [(None, 1), (Some(2), 2), (Some(3), 1)] {
        drawing.edit(tp(1, 0), |record| record.moving_to = moving_to.map(id));
        let placed = drawing.picture.partitions.get(tp(1, 0)).unwrap();
        assert_eq!(bearer(placed, &drawing.picture.brokers), id(expected));
    }
}

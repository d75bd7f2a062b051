mod random;

use std::cell::Cell;
use std::collections::BTreeMap;

use alluvium_common::epoch::BrokerEpoch;
use uuid::Uuid;

use super::*;
use crate::controller::placement::Duty;
use crate::controller::testing::{Drawing, broker, folder, id, opened, topic, tp, worker};
use crate::model::PartitionRecord;

/// As things are long after everything started.
fn settled() -> Circumstances<'static> {
    Circumstances {
        usable_for: Duration::from_secs(60),
        rebalancing: false,
        expected: &|_| false,
    }
}

fn rules() -> PlanRules<'static> {
    PlanRules {
        unclean: &|topic| unclean_as_configured(topic, &BTreeMap::new()),
        weight: &|_| 1,
    }
}

fn planned(drawing: &Drawing) -> Plan<TopicPartition> {
    planned_now(drawing, &settled())
}

fn planned_now(drawing: &Drawing, now: &Circumstances<'_>) -> Plan<TopicPartition> {
    plan(&drawing.picture, &PlanOptions::default(), &rules(), now).partitions
}

fn nothing() -> Plan<TopicPartition> {
    Plan {
        assignments: Vec::new(),
        moves: Vec::new(),
        waiting: Vec::new(),
        moves_in_flight: 0,
        rebalancing: false,
    }
}

fn assigned(
    duty: TopicPartition,
    from: i32,
    to: i32,
    because: Because,
) -> Assignment<TopicPartition> {
    Assignment {
        duty,
        from: id(from),
        to: id(to),
        because,
        unclean: false,
    }
}

fn moved(duty: TopicPartition, from: i32, to: Option<i32>) -> Move<TopicPartition> {
    Move {
        duty,
        from: id(from),
        to: to.map(id),
    }
}

fn waits(duty: TopicPartition, leader: i32, until: Until) -> Waiting<TopicPartition> {
    Waiting {
        duty,
        leader: id(leader),
        until,
    }
}

/// Makes a plan come true, as leaders and the store would.
fn carry_out(drawing: &mut Drawing, plan: &Plan<TopicPartition>) {
    for assignment in &plan.assignments {
        let record = opened(assignment.to.0, drawing.epoch(assignment.to.0));
        drawing.partition(assignment.duty, &record);
    }
    for order in &plan.moves {
        if let Some(to) = order.to {
            let record = opened(to.0, drawing.epoch(to.0));
            drawing.partition(order.duty, &record);
        } else {
            drawing.edit(order.duty, |record| record.moving_to = None);
        }
    }
}

/// How many of those partitions each live broker leads.
fn per_broker(drawing: &Drawing, counted: impl Fn(TopicPartition) -> bool) -> BTreeMap<i32, u64> {
    let live = drawing.picture.brokers.all();
    let mut counts: BTreeMap<_, _> = live.map(|live| (live.record.broker_id.0, 0)).collect();
    for (_, placed) in drawing
        .picture
        .partitions
        .all()
        .filter(|(tp, _)| counted(*tp))
    {
        *counts.entry(placed.record.leader.0).or_default() += 1;
    }
    counts
}

#[test]
fn a_cluster_that_is_as_it_should_be_is_left_alone() {
    let mut drawing = Drawing::of(3);
    drawing.served(1, [1, 2, 3, 1]);
    assert_eq!(planned(&drawing), nothing());
}

#[test]
fn partitions_of_a_broker_that_is_gone_go_to_who_has_least() {
    let mut drawing = Drawing::of(3);
    drawing.served(1, [4, 4, 4, 4, 1, 2, 2]);
    let plan = planned(&drawing);
    let to: Vec<_> = plan
        .assignments
        .iter()
        .map(|a| (a.from.0, a.to.0))
        .collect();
    assert_eq!(to, [(4, 3), (4, 1), (4, 3), (4, 1)]);
    assert!(plan.assignments.iter().all(|a| a.because == Because::Gone));
    assert_eq!((plan.moves, plan.waiting), (vec![], vec![]));
}

/// Who was to have it may be ready for it.
#[test]
fn a_partition_whose_leader_went_while_moving_goes_where_it_was_to_go() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [4, 1, 1, 2, 2, 2, 2]);
    drawing.edit(tp(1, 0), |record| record.moving_to = Some(id(2)));
    let plan = planned(&drawing);
    assert_eq!(plan.assignments, [assigned(tp(1, 0), 4, 2, Because::Gone)]);
}

/// It opens its partitions by itself.
#[test]
fn a_leader_that_came_back_keeps_its_partitions() {
    let mut drawing = Drawing::of(3);
    drawing.served(1, [1, 1, 2, 2, 3, 3]);
    drawing.logged(tp(1, 1), 1);
    drawing.broker(broker(1));
    let placed = drawing.picture.partitions.get(tp(1, 0)).unwrap();
    assert_eq!(placed.serving(&drawing.picture.brokers), None);
    assert_eq!(planned(&drawing), nothing());
}

#[test]
fn a_process_that_only_compacts_is_given_nothing() {
    let mut drawing = Drawing::of(2);
    drawing.broker(worker(3));
    drawing.served(1, [1, 1, 1, 2, 2, 2]);
    assert_eq!(planned(&drawing), nothing(), "two brokers are even");
    drawing.served(2, [9, 9]);
    let plan = planned(&drawing);
    let to: BTreeSet<_> = plan.assignments.iter().map(|a| a.to.0).collect();
    assert_eq!(to, [1, 2].into());
}

/// Its session stands, so nothing may rely on there being none (F2); it will never open them, so nobody waits for it.
#[test]
fn partitions_of_a_broker_that_came_back_to_compact_only_go_to_others() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [1, 2]);
    drawing.logged(tp(1, 1), 2);
    drawing.broker(worker(2));
    let log = Until::WriteAheadLog(WalHolder(folder(2)));
    let plan = planned(&drawing);
    assert_eq!(plan.waiting, [waits(tp(1, 1), 2, log)]);
    drawing.edit(tp(1, 1), |record| record.wal = None);
    let plan = planned(&drawing);
    let expected = assigned(tp(1, 1), 2, 1, Because::NotOpened);
    assert_eq!((plan.assignments, plan.waiting), (vec![expected], vec![]));
}

#[test]
fn a_partition_waits_for_the_write_ahead_log_that_may_have_records_of_it() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [4, 1, 2]);
    drawing.logged(tp(1, 0), 4);
    let log = Until::WriteAheadLog(WalHolder(folder(4)));
    let plan = planned(&drawing);
    assert_eq!(plan.waiting, [waits(tp(1, 0), 4, log)]);
    assert_eq!(plan.assignments, []);
    // The broker comes back, but with an empty data folder.
    let mut other = broker(4);
    other.instance_id = Uuid::from_u128(77);
    drawing.broker(other);
    assert_eq!(planned(&drawing).waiting, [waits(tp(1, 0), 4, log)]);
    // The folder comes back, under another number.
    let mut holder = broker(5);
    holder.instance_id = folder(4);
    drawing.broker(holder);
    let plan = planned(&drawing);
    let assignment = assigned(tp(1, 0), 4, 5, Because::NotOpened);
    assert_eq!((plan.waiting, plan.assignments), (vec![], vec![assignment]));
}

/// Records of version 1 do not tell whose folder: nobody but the leader has it.
#[test]
fn a_log_of_unknown_place_is_the_leaders() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [4, 1, 2]);
    let untold = WalHolder(Uuid::nil());
    drawing.edit(tp(1, 0), |record| record.wal = Some(untold));
    let plan = planned(&drawing);
    let wait = waits(tp(1, 0), 4, Until::WriteAheadLog(untold));
    assert_eq!((plan.waiting, plan.assignments), (vec![wait], vec![]));
    drawing.broker(broker(4));
    let plan = planned(&drawing);
    assert_eq!((plan.waiting, plan.assignments), (vec![], vec![]));
}

#[test]
fn an_unclean_topic_waits_for_no_log() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [4, 1, 2]);
    drawing.logged(tp(1, 0), 4);
    let mut unclean = topic(1, 3);
    let setting = ("unclean.leader.election.enable", "true");
    unclean.configs = [(setting.0.to_owned(), setting.1.to_owned())].into();
    let (none, plain) = (BTreeMap::new(), topic(1, 3));
    assert!(unclean_as_configured(&unclean, &none) && !unclean_as_configured(&plain, &none));
    let for_all = unclean.configs.clone();
    assert!(
        unclean_as_configured(&plain, &for_all),
        "the default of all topics"
    );
    drawing.topic(&unclean);
    let plan = planned(&drawing);
    let expected = Assignment {
        unclean: true,
        ..assigned(tp(1, 0), 4, 1, Because::Gone)
    };
    assert_eq!((plan.waiting, plan.assignments), (vec![], vec![expected]));
}

#[test]
fn a_broker_that_drains_hands_over_what_it_serves_and_loses_what_it_has_not_opened() {
    let mut drawing = Drawing::of(3);
    drawing.served(1, [1, 1, 1, 2, 3]);
    // Not opened: one that anybody may open, and one that only this broker may.
    drawing.edit(tp(1, 1), |record| record.tail.clear());
    drawing.edit(tp(1, 2), |record| record.tail.clear());
    drawing.logged(tp(1, 2), 1);
    let operators = |drawing: &mut Drawing| drawing.drain(1);
    let own = |drawing: &mut Drawing| {
        let record = opened(1, drawing.epoch(1));
        let mut stopping = broker(1);
        stopping.draining = true;
        drawing.broker(stopping);
        let epoch = drawing.epoch(1);
        drawing.edit(tp(1, 0), |stands| {
            *stands = record;
            stands.tail[0].broker_epoch = epoch;
        });
    };
    for drain in [&operators as &dyn Fn(&mut Drawing), &own] {
        let mut drawing = drawing.clone();
        drain(&mut drawing);
        let plan = planned(&drawing);
        let not_opened = assigned(tp(1, 1), 1, 2, Because::NotOpened);
        assert_eq!(plan.assignments, [not_opened]);
        assert_eq!(plan.moves, [moved(tp(1, 0), 1, Some(3))]);
        assert_eq!((plan.waiting, plan.moves_in_flight), (vec![], 1));
        // Ordered once.
        drawing.edit(tp(1, 0), |record| record.moving_to = Some(id(3)));
        drawing.edit(tp(1, 1), |record| *record = record.assigned_to(id(2)));
        let plan = planned(&drawing);
        assert_eq!((plan.assignments, plan.moves), (vec![], vec![]));
        assert_eq!(plan.moves_in_flight, 1);
    }
}

#[test]
fn without_a_usable_broker_nobody_is_emptied_and_what_nobody_has_waits() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [1, 2, 4]);
    drawing.edit(tp(1, 1), |record| record.tail.clear());
    drawing.drain(1);
    drawing.drain(2);
    let plan = planned(&drawing);
    assert_eq!((plan.assignments, plan.moves), (vec![], vec![]));
    assert_eq!(plan.waiting, [waits(tp(1, 2), 4, Until::UsableBroker)]);
}

#[test]
fn a_move_to_who_cannot_have_it_is_taken_back_or_turned() {
    let mut drawing = Drawing::of(3);
    drawing.served(1, [1, 2, 3]);
    for target in [4, 1] {
        let mut drawing = drawing.clone();
        drawing.edit(tp(1, 0), |record| record.moving_to = Some(id(target)));
        assert_eq!(planned(&drawing).moves, [moved(tp(1, 0), 1, None)]);
    }
    drawing.edit(tp(1, 0), |record| record.moving_to = Some(id(4)));
    drawing.drain(1);
    assert_eq!(planned(&drawing).moves, [moved(tp(1, 0), 1, Some(2))]);
    drawing.drain(2);
    drawing.drain(3);
    let plan = planned(&drawing);
    assert!(plan.moves.contains(&moved(tp(1, 0), 1, None)), "{plan:?}");
}

#[test]
fn partitions_without_a_topic_are_reported_and_left_alone() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [1, 2]);
    drawing.partition(tp(7, 0), &PartitionRecord::new(id(4)));
    drawing.partition(tp(7, 1), &PartitionRecord::new(id(4)));
    // Beyond what the topic has: about to be added. The topic is none to be removed.
    drawing.partition(tp(1, 2), &PartitionRecord::new(id(4)));
    let options = PlanOptions::default();
    let plan = plan(&drawing.picture, &options, &rules(), &settled());
    assert_eq!(plan.orphans, [tp(7, 0).topic_id]);
    assert_eq!(plan.partitions, nothing());
}

/// The first of many brokers that start must not take everything.
#[test]
fn brokers_that_are_expected_keep_what_they_lead() {
    let mut drawing = Drawing::of(1);
    drawing.served(1, [2, 3, 1, 1, 1]);
    let now = Circumstances {
        expected: &|broker_id| broker_id == id(2),
        ..settled()
    };
    let plan = planned_now(&drawing, &now);
    assert_eq!(plan.assignments, [assigned(tp(1, 1), 3, 1, Because::Gone)]);
    assert_eq!(plan.waiting, [waits(tp(1, 0), 2, Until::LeaderStarts)]);
}

#[test]
fn loads_are_made_even_when_the_brokers_have_settled() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [1, 1, 1, 1]);
    let restless = Circumstances {
        usable_for: Duration::from_secs(2),
        ..settled()
    };
    assert_eq!(planned_now(&drawing, &restless), nothing());
    let plan = planned(&drawing);
    let expected = [moved(tp(1, 0), 1, Some(2)), moved(tp(1, 1), 1, Some(2))];
    assert_eq!(plan.moves, expected);
    assert_eq!((plan.moves_in_flight, plan.rebalancing), (2, false));
    // On their way, they count where they go.
    for order in &plan.moves {
        drawing.edit(order.duty, |record| record.moving_to = order.to);
    }
    let plan = planned(&drawing);
    assert_eq!((plan.moves, plan.moves_in_flight), (vec![], 2));
}

#[test]
fn loads_are_not_made_even_while_anything_is_to_be_assigned() {
    let mut drawing = Drawing::of(2);
    drawing.served(1, [1, 1, 1, 1, 1, 4]);
    let plan = planned(&drawing);
    assert_eq!((plan.assignments.len(), plan.moves.len()), (1, 0));
}

/// A rebalance larger than what may be in flight goes on to its end, though the difference becomes small before.
#[test]
fn a_rebalance_goes_on_until_loads_are_even() {
    let mut drawing = Drawing::of(3);
    drawing.served(1, (0..300).map(|index| 1 + index % 2));
    let options = PlanOptions {
        moves_per_broker_max: 48,
        ..PlanOptions::default()
    };
    let mut now = settled();
    let mut plans = Vec::new();
    loop {
        let plan = plan(&drawing.picture, &options, &rules(), &now).partitions;
        if plan.moves.is_empty() {
            break;
        }
        carry_out(&mut drawing, &plan);
        now.rebalancing = plan.rebalancing;
        plans.push(plan.moves.len());
    }
    // Before the last, brokers differ by less than what begins a rebalance.
    assert_eq!(plans, [48, 48, 4]);
    assert_eq!(
        per_broker(&drawing, |_| true),
        [(1, 100), (2, 100), (3, 100)].into()
    );
}

/// The work is in proportion to the partitions, whatever happens to them.
#[test]
fn ten_thousand_partitions_are_looked_at_once() {
    let mut drawing = Drawing::of(10);
    for number in 0..10 {
        drawing.served(number, (0..1_000).map(|index| 1 + index % 12));
    }
    let looked_at = Cell::new(0);
    let weight = |_| {
        looked_at.set(looked_at.get() + 1);
        1
    };
    let rules = PlanRules {
        weight: &weight,
        ..rules()
    };
    let options = PlanOptions::default();
    let plan = plan(&drawing.picture, &options, &rules, &settled()).partitions;
    assert_eq!(looked_at.get(), 10_000);
    assert_eq!(plan.assignments.len(), 10 * (83 * 2));
    carry_out(&mut drawing, &plan);
    let counts = per_broker(&drawing, |_| true);
    assert!(
        counts.len() == 10 && counts.values().all(|n| *n == 1_000),
        "{counts:?}"
    );
}

/// A duty that is no partition: the coordination of a shard of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shard(u8);

impl Duty for Shard {
    type Group = ();

    fn group(self) {}
}

#[test]
fn other_duties_are_planned_in_the_same_way() {
    let mut drawing = Drawing::of(3);
    drawing.drain(3);
    let leader = |shard: u8| i32::from(shard % 4) + 1;
    let tasks: Vec<_> = (0..16)
        .map(|shard| Task {
            duty: Shard(shard),
            leader: id(leader(shard)),
            standing: match leader(shard) {
                4 => Standing::Vacant {
                    wish: None,
                    unclean: false,
                },
                _ => Standing::Served { moving_to: None },
            },
            weight: 1,
        })
        .collect();
    let options = PlanOptions::default();
    let plan = plan_duties(&drawing.picture.brokers, &tasks, &options, &settled());
    let to = |chosen: &[BrokerId]| [1, 2].map(|n| chosen.iter().filter(|to| **to == id(n)).count());
    let assigned: Vec<_> = plan.assignments.iter().map(|a| a.to).collect();
    let moved: Vec<_> = plan.moves.iter().filter_map(|order| order.to).collect();
    assert_eq!((to(&assigned), to(&moved)), ([2, 2], [2, 2]));
}

#[test]
fn a_session_of_the_past_serves_nothing() {
    let mut drawing = Drawing::of(1);
    drawing.partition(tp(1, 0), &opened(1, BrokerEpoch(99)));
    let placed = drawing.picture.partitions.get(tp(1, 0)).unwrap();
    let standing = of_partition(placed, &drawing.picture.brokers, false);
    assert_eq!(standing, Standing::Unopened);
}

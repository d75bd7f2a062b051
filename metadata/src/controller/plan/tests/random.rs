//! Plans for random clusters.

use proptest::prelude::*;

use super::*;

/// What a partition of a random cluster is like: leader, opened, log of whose folder, to whom it moves.
type Partition = (i32, bool, Option<i32>, Option<i32>);

#[derive(Debug, Clone)]
struct Cluster {
    partitions: Vec<(u128, Partition)>,
    draining: BTreeSet<i32>,
    topics: u128,
}

const BROKERS: i32 = 5;

/// Brokers 1 to 5 live, 6 and 7 do not, but 6 has a session as a process that only compacts. Topic 4 does not exist.
fn cluster() -> impl Strategy<Value = Cluster> {
    let log = proptest::option::weighted(0.2, 1..8i32);
    let moving_to = proptest::option::weighted(0.2, 1..8i32);
    let partition = (1..8i32, any::<bool>(), log, moving_to);
    let partitions = proptest::collection::vec((0..5u128, partition), 0..50);
    let draining = proptest::collection::btree_set(1..=BROKERS, 0..4);
    (partitions, draining).prop_map(|(partitions, draining)| Cluster {
        partitions,
        draining,
        topics: 4,
    })
}

fn draw(cluster: &Cluster) -> Drawing {
    let mut drawing = Drawing::of(BROKERS);
    drawing.broker(worker(6));
    for (index, (topic, (leader, open, log, moving_to))) in (0..).zip(&cluster.partitions) {
        let mut record = PartitionRecord::new(id(*leader));
        if *open {
            record = opened(*leader, drawing.epoch(*leader));
        }
        record.moving_to = moving_to.map(id);
        drawing.partition(tp(*topic, index), &record);
        if let Some(holder) = log {
            // Who opened it has only its own log in use.
            let holder = if *open { leader } else { holder };
            drawing.logged(tp(*topic, index), *holder);
        }
    }
    for number in 0..cluster.topics {
        drawing.topic(&topic(number, i32::MAX));
    }
    for broker_id in &cluster.draining {
        drawing.drain(*broker_id);
    }
    drawing
}

proptest! {
    /// What nobody can open is assigned to somebody who may, or it waits, and nothing else is touched.
    #[test]
    fn every_partition_finds_its_broker(cluster in cluster()) {
        let drawing = draw(&cluster);
        let brokers = &drawing.picture.brokers;
        let plan = planned(&drawing);
        let assignments: BTreeMap<_, _> = plan.assignments.iter().map(|a| (a.duty, a)).collect();
        let waiting: BTreeSet<_> = plan.waiting.iter().map(|w| w.duty).collect();
        let moves: BTreeMap<_, _> = plan.moves.iter().map(|m| (m.duty, m)).collect();
        for (duty, placed) in drawing.picture.partitions.all() {
            let record = &placed.record;
            let assignment = assignments.get(&duty);
            let lives = brokers.get(record.leader).is_some();
            let serves = placed.serving(brokers).is_some();
            if duty.group() == tp(4, 0).topic_id {
                prop_assert!(assignment.is_none() && !moves.contains_key(&duty) && !waiting.contains(&duty));
                continue;
            }
            if !lives {
                prop_assert_ne!(assignment.is_some(), waiting.contains(&duty));
            }
            if let Some(assignment) = assignment {
                prop_assert!(!serves && !assignment.unclean);
                prop_assert_eq!(assignment.because == Because::Gone, !brokers.has_session(record.leader));
                let target = brokers.get(assignment.to).unwrap();
                match record.wal {
                    Some(holder) => prop_assert_eq!(target.record.instance_id, holder.0),
                    None => prop_assert!(brokers.is_usable(assignment.to)),
                }
            }
            if let Some(order) = moves.get(&duty) {
                prop_assert!(serves && order.to.is_none_or(|to| brokers.is_usable(to) && to != order.from));
            }
            // Whoever leads nothing is left with nothing that it could hand over.
            let target = moves.get(&duty).map_or(record.moving_to, |order| order.to);
            if serves && !brokers.is_usable(record.leader) {
                prop_assert!(target.is_some_and(|to| brokers.is_usable(to)));
            }
        }
    }

    /// Carried out again and again, plans come to an end at which loads are as even as pays.
    #[test]
    fn plans_converge(cluster in cluster()) {
        let mut drawing = draw(&Cluster { topics: 5, ..cluster });
        let mut now = settled();
        for _ in 0..10 {
            let plan = planned_now(&drawing, &now);
            carry_out(&mut drawing, &plan);
            go_on(&mut drawing);
            now.rebalancing = plan.rebalancing;
        }
        let last = planned_now(&drawing, &now);
        prop_assert!(last.assignments.is_empty() && last.moves.is_empty(), "{last:?}");
        let waiting: BTreeSet<_> = last.waiting.iter().map(|waiting| waiting.duty).collect();
        let counts = per_broker(&drawing, |duty| !waiting.contains(&duty));
        let usable = |broker_id: &i32| drawing.picture.brokers.is_usable(id(*broker_id));
        let usable: Vec<_> = (1..=BROKERS).filter(usable).map(|n| counts[&n]).collect();
        let difference = usable.iter().max().unwrap() - usable.iter().min().unwrap();
        // A rebalance that was under way went on until one; else a tenth is tolerated.
        let average = usable.iter().sum::<u64>() / usable.len() as u64;
        prop_assert!(difference <= (average / 10).max(1), "{counts:?}");
    }
}

/// Leaders open what they may, and hand over what they shall.
fn go_on(drawing: &mut Drawing) {
    let all = drawing.picture.partitions.all();
    let all: Vec<_> = all
        .map(|(duty, placed)| (duty, placed.record.clone()))
        .collect();
    for (duty, record) in all {
        let brokers = &drawing.picture.brokers;
        let lives = brokers.get(record.leader).is_some();
        let own = record
            .wal
            .is_none_or(|holder| holder.0 == folder(record.leader.0));
        if lives && own {
            let target = record.moving_to.filter(|to| brokers.is_usable(*to));
            let leader = target.unwrap_or(record.leader).0;
            let record = opened(leader, drawing.epoch(leader));
            drawing.partition(duty, &record);
        }
    }
}

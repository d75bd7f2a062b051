//! Schedules as data.

use std::collections::BTreeSet;

use super::*;
use crate::cluster::{SESSION, Subject};

fn shape() -> Shape {
    Shape {
        compactors: 2,
        etcd_members: 3,
        length: Duration::from_secs(600),
        kinds: [
            &Kind::ALL[..],
            &[Kind::FullDisk, Kind::Join, Kind::Compactor],
        ]
        .concat(),
        ..Shape::new(3)
    }
}

#[test]
fn a_seed_gives_the_same_schedule_again() {
    let shape = shape();
    assert_eq!(shape.schedule(5), shape.schedule(5));
    assert_ne!(shape.schedule(5), shape.schedule(6));
}

#[test]
fn faults_overlap_within_a_burst_and_nowhere_else() {
    let shape = shape();
    for seed in 0..20 {
        let schedule = shape.schedule(seed);
        let mut active: Vec<Event> = Vec::new();
        let (mut overlapped, mut over) = (false, Duration::ZERO);
        for event in &schedule.events {
            active.retain(|other| other.over_at() > event.at);
            if active.is_empty() && event.at >= over && over > Duration::ZERO {
                let since = event.at - over;
                let in_burst = since < Duration::from_millis(1_500);
                assert!(in_burst || since >= shape.quiet.start, "{schedule}");
            }
            let taken = |other: &Event| other.fault.subject() == event.fault.subject();
            assert!(!active.iter().any(taken), "{schedule}");
            active.push(*event);
            assert!(active.len() <= shape.at_once_max, "{schedule}");
            overlapped |= active.len() == shape.at_once_max;
            over = over.max(event.over_at());
        }
        assert!(overlapped, "{schedule}");
    }
}

#[test]
fn everything_happens_in_the_long_run() {
    let shape = shape();
    let schedules: Vec<_> = (0..10).map(|seed| shape.schedule(seed)).collect();
    let events = || schedules.iter().flat_map(|schedule| &schedule.events);
    let subjects: BTreeSet<_> = events().map(|event| event.fault.subject()).collect();
    for number in 1..=3 {
        assert!(subjects.contains(&Subject::Process(number)));
        assert!(subjects.contains(&Subject::Disk(number)));
    }
    for number in 1..=2 {
        assert!(subjects.contains(&Subject::Compactor(number)));
    }
    assert!(subjects.contains(&Subject::Etcd) && subjects.contains(&Subject::Bucket));
    let long_freeze = |event: &&Event| {
        matches!(event.fault, Fault::Freeze(_)) && event.lasting > SESSION + SESSION / 2
    };
    assert!(events().any(|event| long_freeze(&event)));
    for schedule in &schedules {
        let joins = schedule.events.iter();
        let joins = joins.filter(|event| event.fault == Fault::Join).count();
        assert!(joins <= shape.joins_max);
    }
}

#[test]
fn a_schedule_reads_well() {
    let at = Duration::from_millis;
    let schedule = Schedule::of(vec![
        Event {
            at: at(2_500),
            lasting: at(600),
            fault: Fault::EtcdAway,
        },
        Event {
            at: at(1_000),
            lasting: at(400),
            fault: Fault::Kill(2),
        },
    ]);
    let text = "kill 2 at 1.0s for 0.4s, etcd away at 2.5s for 0.6s";
    assert_eq!(schedule.to_string(), text);
    assert_eq!(schedule.length(), at(3_100));
}

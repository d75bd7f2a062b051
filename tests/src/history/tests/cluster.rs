//! What only several brokers can do wrong, and topics that come and go.

use std::time::Duration;

use super::*;

fn at(broker: i32, read: Read) -> Read {
    Read {
        broker: Some(broker),
        ..read
    }
}

fn end(broker: i32, began: u64, offset: i64) -> End {
    End {
        broker: Some(broker),
        partition: PARTITION,
        began,
        ended: began + 1,
        offset,
    }
}

#[test]
fn an_end_without_what_was_acknowledged() {
    caught("I12", |history| history.ends.push(end(2, 21, 4)));
    let mut history = good();
    history.ends.extend([end(2, 21, 5), end(1, 19, 2)]);
    check(&history).assert_clean();
}

#[test]
fn an_old_leader_that_says_where_the_end_is() {
    caught("I12", |history| {
        history.reads.push(at(2, read("other", 31, 2, &[])))
    });
}

#[test]
fn an_old_leader_that_serves_what_is_committed() {
    let mut history = good();
    let served = Read {
        tells_end: false,
        ..read("other", 31, 0, &[0, 1])
    };
    history.reads.push(at(2, served));
    check(&history).assert_clean();
}

#[test]
fn an_end_that_falls_from_one_broker_to_the_next() {
    // Nothing acknowledged is missing: record 5 is of unknown fate, but somebody has seen it.
    caught("I13", |history| {
        history.ends.extend([end(1, 40, 6), end(2, 50, 5)])
    });
    let mut history = good();
    history.reads[1].tells_end = false;
    let overlapping = End {
        ended: 60,
        ..end(1, 40, 6)
    };
    history.ends.extend([overlapping, end(2, 50, 5)]);
    check(&history).assert_clean();
}

#[test]
fn a_high_watermark_that_falls_at_one_broker_though_it_tells_no_end() {
    let served = |began, upto: &[u64]| Read {
        tells_end: false,
        ..at(2, read("other", began, 0, upto))
    };
    caught("I13", |history| {
        history
            .reads
            .extend([served(31, &[0, 1]), served(40, &[0])])
    });
}

#[test]
fn a_last_stable_offset_out_of_its_bounds() {
    caught("I13", |history| history.reads[0].last_stable = 3);
    caught("I13", |history| {
        history.reads[0].log_start = 2;
        history.reads[0].records.clear();
        history.reads[0].last_stable = 1;
    });
}

#[test]
fn one_of_two_final_readers_misses_something() {
    let report = caught("I2", |history| {
        history.reads.push(at(2, last(&[0, 1, 2, 3])));
    });
    assert_eq!(report.lost, 1);
}

#[test]
fn what_was_seen_is_gone() {
    // Of unknown fate, so nothing acknowledged is lost.
    caught("I1", |history| history.reads[2] = last(&[0, 1, 2, 3, 4]));
}

#[test]
fn a_slow_recovery() {
    let recovery = |took| Recovery {
        what: "produce".to_owned(),
        took,
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    caught("I22", |history| history.recoveries.push(recovery(None)));
    caught("I22", |history| {
        history.recoveries.push(recovery(seconds(31)))
    });
    let mut history = good();
    history.recoveries.push(recovery(seconds(29)));
    check(&history).assert_clean();
}

#[test]
fn an_answer_that_is_wrong_by_itself() {
    caught("I10", |history| {
        history.anomalies.push(Anomaly {
            invariant: "I10",
            what: "a producer was told that its next batch is out of order".to_owned(),
        });
    });
}

/// The topic of the good history was deleted, and there is another of its name.
fn recreated() -> (History, Partition) {
    let mut history = good();
    let reborn = Partition {
        topic: Uuid::from_u128(8),
        ..PARTITION
    };
    let life = |deleted| TopicLife {
        name: "orders".to_owned(),
        deleted,
    };
    history.topics.insert(PARTITION.topic, life(true));
    history.topics.insert(reborn.topic, life(false));
    history.reads.truncate(2);
    history.reads.push(Read {
        partition: reborn,
        ..last(&[])
    });
    (history, reborn)
}

#[test]
fn a_deleted_topic_needs_no_final_reader() {
    let (history, _) = recreated();
    check(&history).assert_clean();
}

#[test]
fn a_new_topic_with_old_records() {
    let (mut history, reborn) = recreated();
    history.reads.push(Read {
        partition: reborn,
        ..last(&[0, 1])
    });
    assert!(check(&history).violates("I23"));
}

#[test]
fn a_topic_id_used_twice() {
    let recorder = Recorder::default();
    recorder.created(PARTITION.topic, "orders");
    recorder.deleting(PARTITION.topic);
    assert!(recorder.is_deleted(PARTITION.topic));
    recorder.created(PARTITION.topic, "orders");
    assert!(check(&recorder.take()).violates("I23"));
}

#[test]
fn violations_are_counted_though_few_are_kept() {
    let mut history = good();
    history.sends = vec![send(1, 0..5_000, acknowledged(0))];
    history.reads = vec![last(&[])];
    let report = check(&history);
    assert_eq!(report.counts["I2"], 5_000);
    assert!(report.violations.len() < 5_000);
}

/// Some ten microseconds for each record in a debug build, whatever their number: nothing here is quadratic.
#[test]
fn large_histories_are_judged() {
    const BATCHES: i64 = 3_000;
    const RECORDS: i64 = 100;
    let of = |batch: i64| {
        let first = batch.unsigned_abs() * RECORDS.unsigned_abs();
        first..first + RECORDS.unsigned_abs()
    };
    let mut history = History::default();
    for batch in 0..BATCHES {
        let order = batch.unsigned_abs() + 1;
        let outcome = acknowledged(batch * RECORDS);
        history.sends.push(send(order, of(batch), outcome));
        let ids: Vec<_> = of(batch).collect();
        let read = read("live", order * 10 + 1, batch * RECORDS, &ids);
        history.reads.push(read);
    }
    let all: Vec<_> = (0..(BATCHES * RECORDS).unsigned_abs()).collect();
    history.reads.push(Read {
        began: 1 << 40,
        ended: (1 << 40) + 1,
        ..last(&all)
    });
    let report = check(&history);
    report.assert_clean();
    assert_eq!(report.acknowledged, all.len() as u64);
}

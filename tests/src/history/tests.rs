//! The checker passes a good history and catches each of these broken ones.

mod cluster;
mod groups;
mod stored;

use super::*;

/// The partition that all of these are about, unless they say otherwise.
const PARTITION: Partition = Partition {
    topic: Uuid::from_u128(7),
    index: 0,
};

fn content(id: u64) -> Content {
    Content {
        id,
        digest: id * 31,
    }
}

fn acknowledged(base_offset: i64) -> SendOutcome {
    SendOutcome::Acknowledged { base_offset }
}

fn send(order: u64, ids: std::ops::Range<u64>, outcome: SendOutcome) -> Send {
    Send {
        producer: 1,
        session: 0,
        idempotent: true,
        partition: PARTITION,
        order,
        records: ids.map(content).collect(),
        ended: (outcome != SendOutcome::Unknown).then_some(order * 10),
        outcome,
    }
}

fn read(reader: &str, began: u64, from: i64, ids: &[u64]) -> Read {
    let records: Vec<_> = (from..).zip(ids.iter().map(|id| content(*id))).collect();
    Read {
        reader: reader.to_owned(),
        broker: None,
        partition: PARTITION,
        began,
        ended: began + 1,
        from,
        log_start: 0,
        last_stable: from + ids.len() as i64,
        high_watermark: from + ids.len() as i64,
        records,
        tells_end: true,
        is_complete: true,
        is_final: false,
    }
}

fn last(ids: &[u64]) -> Read {
    Read {
        is_final: true,
        ..read("last", 1_000, 0, ids)
    }
}

/// Records 0 to 4 at their own offsets, 5 of unknown fate and visible, 6 unknown and not, 7 refused.
fn good() -> History {
    History {
        sends: vec![
            send(1, 0..2, acknowledged(0)),
            send(2, 2..5, acknowledged(2)),
            send(3, 5..6, SendOutcome::Unknown),
            send(4, 6..7, SendOutcome::Unknown),
            send(5, 7..8, SendOutcome::Failed),
        ],
        reads: vec![
            read("live", 11, 0, &[0, 1]),
            read("live", 31, 2, &[2, 3, 4, 5]),
            last(&[0, 1, 2, 3, 4, 5]),
        ],
        ..History::default()
    }
}

/// The history after `change` breaks `invariant`, and the unchanged one breaks none.
fn caught(invariant: &str, change: impl FnOnce(&mut History)) -> Report {
    let mut history = good();
    check(&history).assert_clean();
    change(&mut history);
    let report = check(&history);
    assert!(
        report.violates(invariant),
        "{invariant} was not caught, but: {}",
        report.told()
    );
    report
}

#[test]
fn a_good_history_is_clean() {
    let report = check(&good());
    report.assert_clean();
    assert_eq!(
        (report.acknowledged, report.unknown, report.failed),
        (5, 2, 1)
    );
}

#[test]
fn two_values_at_one_offset() {
    caught("I1", |history| history.reads[0].records[1].1 = content(5));
}

#[test]
fn a_reader_that_once_saw_what_is_gone_later() {
    // Acknowledged before it was durable, read, then lost by a crash and overwritten.
    caught("I1", |history| {
        history.sends.push(send(6, 8..9, SendOutcome::Unknown));
        history.reads[2].records[5].1 = content(8);
    });
}

#[test]
fn an_acknowledged_record_lost_at_the_end() {
    let report = caught("I2", |history| {
        history.reads.truncate(1);
        history.reads.push(last(&[0, 1, 2, 3]));
    });
    assert_eq!(report.lost, 1);
}

#[test]
fn an_acknowledged_record_lost_in_the_middle() {
    let report = caught("I2", |history| {
        history.reads = vec![last(&[0, 2, 3, 4, 5])];
    });
    assert_eq!(report.lost, 1);
    assert!(report.misplaced > 0, "all behind it have moved");
}

#[test]
fn an_acknowledged_batch_lost_wholly() {
    let report = caught("I2", |history| history.reads = vec![last(&[0, 1])]);
    assert_eq!(report.lost, 3);
}

#[test]
fn everything_lost() {
    let report = caught("I2", |history| history.reads = vec![last(&[])]);
    assert_eq!(report.lost, 5);
}

#[test]
fn nobody_looked() {
    caught("I3", |history| {
        history.reads.pop();
    });
}

#[test]
fn a_refused_record_is_visible() {
    caught("I4", |history| {
        history.reads[2] = last(&[0, 1, 2, 3, 4, 5, 7])
    });
}

#[test]
fn a_gap_within_a_read() {
    caught("I8", |history| history.reads[2].records[3].0 = 17);
}

#[test]
fn offsets_that_go_back_within_a_read() {
    caught("I8", |history| history.reads[2].records.swap(2, 3));
}

#[test]
fn a_record_delivered_twice_within_a_read() {
    caught("I8", |history| {
        let again = history.reads[2].records[3];
        history.reads[2].records.insert(4, again);
    });
}

#[test]
fn a_read_that_skips_its_beginning() {
    caught("I8", |history| {
        history.reads[2].records.remove(0);
    });
}

#[test]
fn batches_in_the_wrong_order() {
    caught("I9", |history| {
        history.sends[0].outcome = acknowledged(3);
        history.sends[1].outcome = acknowledged(0);
        history.reads = vec![last(&[2, 3, 4, 0, 1, 5])];
    });
}

#[test]
fn an_unknown_send_overtakes_an_acknowledged_one() {
    caught("I9", |history| {
        history.sends[0].outcome = acknowledged(1);
        history.sends[1].outcome = acknowledged(3);
        history.reads = vec![last(&[5, 0, 1, 2, 3, 4])];
    });
}

#[test]
fn a_new_session_may_overtake_what_it_gave_up() {
    let mut history = good();
    history.sends[3].session = 1;
    history.sends[3].records = vec![content(5)];
    history.sends[2].records = vec![content(6)];
    history.reads = vec![last(&[0, 1, 2, 3, 4, 5, 6])];
    check(&history).assert_clean();
}

#[test]
fn half_a_batch() {
    caught("I9", |history| {
        history.sends[2] = send(3, 5..7, SendOutcome::Unknown);
        history.sends.remove(3);
    });
}

#[test]
fn a_batch_with_another_between_its_records() {
    caught("I9", |history| {
        history.sends[1].outcome = SendOutcome::Unknown;
        history.sends[1].ended = None;
        history.reads = vec![last(&[0, 1, 2, 5, 3, 4])];
    });
}

#[test]
fn a_retry_that_was_stored_again() {
    let report = caught("I10", |history| {
        history.reads[2] = last(&[0, 1, 2, 3, 4, 5, 2, 3, 4])
    });
    assert_eq!(report.duplicated, 3);
}

#[test]
fn a_record_of_unknown_fate_stored_twice() {
    caught("I10", |history| {
        history.reads[2] = last(&[0, 1, 2, 3, 4, 5, 5])
    });
}

#[test]
fn an_answer_with_the_wrong_offset() {
    let report = caught("I11", |history| history.sends[1].outcome = acknowledged(1));
    assert_eq!(report.misplaced, 3);
}

#[test]
fn a_retry_answered_with_the_end_of_the_log() {
    caught("I11", |history| history.sends[1].outcome = acknowledged(6));
}

#[test]
fn an_answer_without_an_offset() {
    caught("I11", |history| history.sends[1].outcome = acknowledged(-1));
}

#[test]
fn a_reader_who_is_told_an_old_end() {
    caught("I12", |history| {
        history.reads[1] = read("live", 31, 2, &[2, 3])
    });
}

#[test]
fn a_read_that_began_before_the_answer_owes_nothing() {
    let mut history = good();
    history.reads[1] = read("live", 19, 2, &[]);
    check(&history).assert_clean();
}

#[test]
fn a_high_watermark_that_falls() {
    caught("I13", |history| {
        history.reads.push(read("live", 2_000, 2, &[2]))
    });
}

#[test]
fn a_log_start_that_falls() {
    caught("I13", |history| {
        history.reads[0].log_start = 1;
        history.reads[0].records.remove(0);
    });
}

#[test]
fn a_log_start_above_the_high_watermark() {
    caught("I13", |history| history.reads[2].log_start = 9);
}

#[test]
fn records_beyond_the_high_watermark() {
    caught("I13", |history| history.reads[1].high_watermark = 5);
}

#[test]
fn a_read_that_stops_before_the_high_watermark() {
    caught("I13", |history| history.reads[0].high_watermark = 5);
}

#[test]
fn a_changed_value() {
    caught("I18", |history| {
        for read in &mut history.reads {
            read.records
                .iter_mut()
                .filter(|r| r.1.id == 3)
                .for_each(|r| r.1.digest ^= 1);
        }
    });
}

#[test]
fn a_record_that_nobody_sent() {
    caught("I18", |history| {
        history.reads[2] = last(&[0, 1, 2, 3, 4, 5, 99])
    });
}

#[test]
fn a_record_in_the_wrong_partition() {
    caught("I18", |history| {
        history.reads.push(Read {
            partition: Partition {
                index: 1,
                ..PARTITION
            },
            ..last(&[3])
        });
    });
}

#[test]
fn digests_see_every_part_of_a_record() {
    use alluvium_common::offset::Offset;
    use alluvium_segment::record_batch::RecordHeader;
    let record = Record {
        offset: Offset::ZERO,
        timestamp: 1,
        key: Some("k".into()),
        value: Some("v".into()),
        headers: vec![RecordHeader {
            key: "h".into(),
            value: None,
        }],
    };
    let changes: [fn(&mut Record); 5] = [
        |record| record.timestamp = 2,
        |record| record.key = None,
        |record| record.value = Some("w".into()),
        |record| record.headers[0].value = Some("".into()),
        |record| record.headers.clear(),
    ];
    for change in changes {
        let mut changed = record.clone();
        change(&mut changed);
        assert_ne!(digest(&changed), digest(&record), "{changed:?}");
    }
    let moved = Record {
        offset: Offset::ZERO.next(),
        ..record.clone()
    };
    assert_eq!(digest(&moved), digest(&record));
}

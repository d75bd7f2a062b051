use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PRODUCER: ProducerId = ProducerId(7);

fn seq(value: i32) -> Sequence {
    Sequence::new(value).expect("not negative")
}

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

fn stamp(epoch: i16, first: i32, last: i32) -> ProducerStamp {
    ProducerStamp {
        producer_id: PRODUCER,
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: seq(first),
        last_sequence: seq(last),
    }
}

#[derive(Default)]
struct Log {
    states: ProducerStates,
    next_offset: i64,
}

impl Log {
    /// The base offset answered, or a word for the error.
    fn produce(&mut self, epoch: i16, first: i32, last: i32) -> Result<i64, &'static str> {
        let stamp = stamp(epoch, first, last);
        match self.states.check(&stamp) {
            Ok(Verdict::Duplicate(original)) => Ok(original.base_offset.get()),
            Ok(Verdict::Append) => {
                let count = i64::from(last.wrapping_sub(first) & i32::MAX) + 1;
                let base = self.next_offset;
                self.next_offset += count;
                let batch = SequencedBatch {
                    base_sequence: stamp.base_sequence,
                    last_sequence: stamp.last_sequence,
                    base_offset: offset(base),
                    last_offset: offset(base + count - 1),
                    max_timestamp: base,
                };
                self.states.record(&stamp, batch, base);
                Ok(base)
            }
            Err(SequenceError::OutOfOrder { .. }) => Err("out of order"),
            Err(SequenceError::InvalidEpoch { .. }) => Err("invalid epoch"),
        }
    }
}

type Step = (i16, i32, i32, Result<i64, &'static str>);

#[test]
fn follows_kafkas_rules() {
    let cases: &[(&str, &[Step])] = &[
        (
            "in order",
            &[(0, 0, 0, Ok(0)), (0, 1, 3, Ok(1)), (0, 4, 4, Ok(4))],
        ),
        (
            "a duplicate gets the original offset",
            &[
                (0, 0, 2, Ok(0)),
                (0, 3, 3, Ok(3)),
                (0, 0, 2, Ok(0)),
                (0, 3, 3, Ok(3)),
                (0, 4, 4, Ok(4)),
            ],
        ),
        (
            "a gap is refused and changes nothing",
            &[
                (0, 0, 0, Ok(0)),
                (0, 2, 2, Err("out of order")),
                (0, 1, 1, Ok(1)),
                (0, 2, 2, Ok(2)),
            ],
        ),
        (
            "an overlap is no duplicate",
            &[
                (0, 0, 3, Ok(0)),
                (0, 0, 1, Err("out of order")),
                (0, 2, 5, Err("out of order")),
            ],
        ),
        (
            "only five batches are remembered",
            &[
                (0, 0, 0, Ok(0)),
                (0, 1, 1, Ok(1)),
                (0, 2, 2, Ok(2)),
                (0, 3, 3, Ok(3)),
                (0, 4, 4, Ok(4)),
                (0, 5, 5, Ok(5)),
                (0, 0, 0, Err("out of order")),
                (0, 1, 1, Ok(1)),
            ],
        ),
        (
            "an unknown producer may start anywhere",
            &[
                (3, 41, 41, Ok(0)),
                (3, 42, 42, Ok(1)),
                (3, 44, 44, Err("out of order")),
            ],
        ),
        (
            "a new epoch starts at zero",
            &[
                (0, 0, 0, Ok(0)),
                (1, 1, 1, Err("out of order")),
                (1, 0, 0, Ok(1)),
                (1, 1, 1, Ok(2)),
            ],
        ),
        (
            "an old epoch is refused, even for its duplicates",
            &[
                (0, 0, 0, Ok(0)),
                (1, 0, 0, Ok(1)),
                (0, 1, 1, Err("invalid epoch")),
                (0, 0, 0, Err("invalid epoch")),
            ],
        ),
        (
            "a new epoch forgets the sequences of the old",
            &[(0, 0, 0, Ok(0)), (1, 0, 0, Ok(1)), (1, 0, 0, Ok(1))],
        ),
        (
            "sequences wrap to zero",
            &[
                (0, i32::MAX - 1, i32::MAX, Ok(0)),
                (0, 0, 0, Ok(2)),
                (0, 1, 1, Ok(3)),
            ],
        ),
        (
            "a batch may wrap in its middle",
            &[
                (0, i32::MAX, 1, Ok(0)),
                (0, 2, 2, Ok(3)),
                (0, i32::MAX, 1, Ok(0)),
            ],
        ),
        (
            "after the last sequence only zero follows",
            &[
                (0, i32::MAX, i32::MAX, Ok(0)),
                (0, 1, 1, Err("out of order")),
            ],
        ),
    ];
    for (name, steps) in cases {
        let mut log = Log::default();
        for (index, (epoch, first, last, expected)) in steps.iter().enumerate() {
            assert_eq!(
                &log.produce(*epoch, *first, *last),
                expected,
                "{name}, step {index}"
            );
        }
    }
}

#[test]
fn silent_producers_expire() {
    let mut log = Log::default();
    log.produce(0, 0, 0).expect("first");
    assert_eq!(log.states.expire(99, 100), 0);
    assert_eq!(log.states.expire(100, 100), 1);
    assert!(log.states.is_empty());
    assert_eq!(
        log.produce(0, 9, 9),
        Ok(1),
        "an expired producer is unknown"
    );
}

#[test]
fn the_number_of_producers_is_bounded() {
    let mut states = ProducerStates::default();
    let total = PRODUCERS_PER_PARTITION_MAX as i64 + 1;
    for id in 0..total {
        let stamp = ProducerStamp {
            producer_id: ProducerId(id),
            ..stamp(0, 0, 0)
        };
        let batch = SequencedBatch {
            base_sequence: seq(0),
            last_sequence: seq(0),
            base_offset: offset(id),
            last_offset: offset(id),
            max_timestamp: 0,
        };
        states.record(&stamp, batch, id / 100);
        assert!(states.len() <= PRODUCERS_PER_PARTITION_MAX);
    }
    let kept = |id| {
        states
            .snapshots()
            .iter()
            .any(|s| s.producer_id == ProducerId(id))
    };
    assert!(kept(total - 1) && kept(total - 2), "the newest stay");
    assert!(!kept(0) && !kept(1), "the oldest go");
}

#[test]
fn a_restored_table_behaves_as_the_original() {
    let mut log = Log::default();
    for sequence in 0..7 {
        log.produce(2, sequence, sequence).expect("in order");
    }
    let snapshots = log.states.snapshots();
    let mut restored = Log {
        next_offset: log.next_offset,
        ..Log::default()
    };
    for snapshot in &snapshots {
        restored.states.restore(snapshot);
        restored.states.restore(snapshot);
    }
    assert_eq!(restored.states.snapshots(), snapshots);
    assert_eq!(restored.produce(2, 4, 4), Ok(4));
    assert_eq!(restored.produce(2, 7, 7), Ok(7));
    assert_eq!(restored.produce(2, 9, 9), Err("out of order"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However a producer with five requests in flight repeats and reorders, each batch gets one
    /// offset, sequences are without gaps, and offsets follow sequences.
    #[test]
    fn every_sequence_has_one_offset(picks in proptest::collection::vec((0usize..8, any::<bool>()), 1..200)) {
        let mut log = Log::default();
        // The first batch of an unknown producer may have any sequence: begin with 0.
        let mut answered = BTreeMap::from([(0, log.produce(0, 0, 0).expect("first"))]);
        let mut next_sequence = 1i32;
        for (pick, ahead) in picks {
            let back = i32::try_from(pick).expect("small");
            let sequence = if ahead { next_sequence + back } else { (next_sequence - back).max(0) };
            match log.produce(0, sequence, sequence) {
                Ok(base) => {
                    let first = *answered.entry(sequence).or_insert(base);
                    prop_assert_eq!(first, base);
                    if sequence == next_sequence {
                        next_sequence += 1;
                    }
                    prop_assert!(sequence < next_sequence);
                }
                Err(_) => prop_assert!(sequence > next_sequence || sequence < next_sequence - 5),
            }
        }
        let offsets: Vec<_> = answered.values().copied().collect();
        prop_assert_eq!(offsets, (0..i64::from(next_sequence)).collect::<Vec<_>>());
    }
}

//! What goes into a table comes out of it, whatever a producer may send.

mod common;

use alluvium_segment::record_batch::{Codec, Record, TimestampType};
use alluvium_table::{TableError, TableOptions};
use bytes::Bytes;
use common::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn field() -> impl Strategy<Value = Option<Bytes>> {
    option::weighted(0.8, vec(any::<u8>(), 0..60).prop_map(Bytes::from))
}

fn headers() -> impl Strategy<Value = Vec<(Bytes, Option<Bytes>)>> {
    let key = prop_oneof![
        4 => prop_oneof![Just("trace"), Just("h"), Just(""), Just("größe")].prop_map(|key| Bytes::from(key.to_owned())),
        1 => vec(any::<u8>(), 0..6).prop_map(Bytes::from),
    ];
    prop_oneof![2 => Just(Vec::new()), 1 => vec((key, field()), 0..4)]
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => 1_700_000_000_000..1_700_000_100_000i64,
        1 => Just(-1i64),
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
        1 => any::<i64>(),
    ]
}

type RecordSeed = (
    u64,
    i64,
    Option<Bytes>,
    Option<Bytes>,
    Vec<(Bytes, Option<Bytes>)>,
);

fn record_seed() -> impl Strategy<Value = RecordSeed> {
    let gap = prop_oneof![5 => Just(0u64), 1 => 0..100u64];
    (gap, timestamp(), field(), field(), headers())
}

type BatchSeed = (usize, bool, u64, Vec<RecordSeed>);

fn batch_seed() -> impl Strategy<Value = BatchSeed> {
    let gap = prop_oneof![3 => Just(0u64), 1 => 0..1000u64, 1 => Just(1u64 << 33)];
    (0..5usize, any::<bool>(), gap, vec(record_seed(), 1..20))
}

fn partition(seeds: &[BatchSeed], number: i32, base: i64) -> Partition {
    let mut next = base;
    let mut batches = Vec::new();
    for (codec, is_append_time, gap, records) in seeds {
        next += *gap as i64;
        let mut made = Vec::new();
        for (gap, timestamp, key, value, headers) in records {
            next += *gap as i64;
            let headers = headers.iter();
            made.push(Record {
                offset: offset(next),
                timestamp: *timestamp,
                key: key.clone(),
                value: value.clone(),
                headers: headers
                    .map(|(key, value)| header(key, value.as_deref()))
                    .collect(),
            });
            next += 1;
        }
        let timestamp_type = match is_append_time {
            true => TimestampType::LogAppendTime,
            false => TimestampType::CreateTime,
        };
        batches.push(batch(Codec::ALL[*codec], timestamp_type, &made));
    }
    Partition {
        partition: number,
        base_offset: base,
        next_offset: next + 3,
        batches,
    }
}

fn expected(partitions: &[Partition]) -> Vec<Seen> {
    partitions
        .iter()
        .flat_map(|one| seen_in(one.partition, &one.batches).expect("valid"))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn consumers_see_the_same(
        seeds in vec(vec(batch_seed(), 0..6), 1..4),
        base in 0..1_000_000i64,
        is_tiny in any::<bool>(),
    ) {
        let partitions: Vec<_> = seeds
            .iter()
            .enumerate()
            .map(|(number, seeds)| partition(seeds, number as i32 * 3, base))
            .collect();
        let mut options = match is_tiny {
            true => tiny(),
            false => TableOptions::default(),
        };
        let written = match try_write(&options, &partitions) {
            Err(TableError::NeedsRawHeaders) => {
                options.raw_headers = true;
                write(&options, &partitions)
            }
            written => written.expect("in order"),
        };
        let expected = expected(&partitions);
        prop_assert_eq!(&rebuilt(&written).expect("whole"), &expected);
        prop_assert_eq!(&rows(&written).expect("whole"), &expected);
        let table = open(&written).expect("whole");
        for (span, one) in table.spans().iter().zip(&partitions) {
            prop_assert_eq!(span.partition.0, one.partition);
            prop_assert_eq!(span.base_offset.get(), one.base_offset);
            prop_assert_eq!(span.next_offset.get(), one.next_offset);
            let own = expected.iter().filter(|(partition, ..)| *partition == one.partition);
            let own: Vec<_> = own.map(|(_, record, _)| record.timestamp).collect();
            prop_assert_eq!(span.records, own.len() as u64);
            prop_assert_eq!(span.max_timestamp, own.iter().max().copied().unwrap_or(-1));
            prop_assert_eq!(span.min_timestamp, own.iter().min().copied().unwrap_or(-1));
        }
    }
}

#[test]
fn a_key_that_is_no_text_asks_for_raw_headers_and_survives_with_them() {
    let mut odd = record(5, b"value");
    odd.headers = vec![header(b"\xff\xfe", Some(b"1")), header(b"\xff\xfe", None)];
    let batches = vec![batch(Codec::Lz4, TimestampType::CreateTime, &[odd])];
    let partitions = [partition_of(batches)];
    let mut options = TableOptions::default();
    let refused = try_write(&options, &partitions).map(|_| ());
    assert_eq!(refused, Err(TableError::NeedsRawHeaders));
    options.raw_headers = true;
    let written = write(&options, &partitions);
    assert_eq!(rebuilt(&written).expect("whole"), expected(&partitions));
}

#[test]
fn large_records_are_stripes_of_their_own() {
    let large = vec![7; 3 << 20];
    let records: Vec<_> = (0..6)
        .map(|number| match number % 2 {
            0 => record(number, b"small"),
            _ => record(number, &large),
        })
        .collect();
    let batches = vec![batch(Codec::Zstd, TimestampType::CreateTime, &records)];
    let partitions = [partition_of(batches)];
    let written = write(&TableOptions::default(), &partitions);
    let table = open(&written).expect("whole");
    assert!(table.stripes().iter().all(|stripe| stripe.rows == 1));
    assert_eq!(rebuilt(&written).expect("whole"), expected(&partitions));
}

/// What a compacted topic may look like: tombstones and values in every pattern, more of them than fit into a page.
#[test]
fn tombstones_in_every_pattern_stay_tombstones() {
    let patterns: [fn(i64) -> bool; 5] = [
        |_| true,
        |number| number % 2 == 0,
        |number| number % 5_000 == 0,
        |number| (number / 700) % 2 == 0,
        |number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64) >> 63 == 0,
    ];
    for is_tombstone in patterns {
        let records = (0..30_000).map(|number| Record {
            value: (!is_tombstone(number)).then(|| Bytes::from(vec![b'v'; number as usize % 4])),
            ..record(number, b"")
        });
        let records: Vec<_> = records.collect();
        let batches = records
            .chunks(1_000)
            .map(|chunk| batch(Codec::None, TimestampType::CreateTime, chunk));
        let partitions = [partition_of(batches.collect())];
        let written = write(&TableOptions::default(), &partitions);
        assert_eq!(rebuilt(&written).expect("whole"), expected(&partitions));
    }
}

#[test]
fn levels_give_the_same_rows() {
    let text = |number: i64| format!("{{\"number\":{number},\"square\":{}}}", number * number);
    let records: Vec<_> = (0..2_000)
        .map(|number| record(number, text(number).as_bytes()))
        .collect();
    let batches = vec![batch(Codec::Lz4, TimestampType::CreateTime, &records)];
    let partitions = [partition_of(batches)];
    for zstd_level in [1, 2, 3, 5, 12, 22] {
        let options = TableOptions {
            zstd_level,
            ..tiny()
        };
        let written = write(&options, &partitions);
        assert_eq!(rebuilt(&written).expect("whole"), expected(&partitions));
    }
}

#[test]
fn a_table_without_records_answers_for_its_offsets() {
    let empty = |partition, base_offset, next_offset| Partition {
        partition,
        base_offset,
        next_offset,
        batches: Vec::new(),
    };
    let written = write(&tiny(), &[empty(2, 10, 20), empty(4, 7, 7)]);
    let table = open(&written).expect("whole");
    assert!(table.stripes().is_empty());
    let spans: Vec<_> = table
        .spans()
        .iter()
        .map(|span| (span.base_offset.get(), span.next_offset.get(), span.records))
        .collect();
    assert_eq!(spans, [(10, 20, 0), (7, 7, 0)]);
    assert_eq!(
        table.stripe_at(table.spans()[0].partition, offset(10)),
        None
    );
}

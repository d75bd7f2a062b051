//! Keys without the rest: the same keys, of fewer bytes.

mod common;

use alluvium_segment::FormatError;
use alluvium_segment::record_batch::{Codec, Record, TimestampType};
use alluvium_table::{TableError, TableOptions};
use bytes::Bytes;
use common::*;

type Key = (i64, Option<Vec<u8>>);

fn keys(written: &Written) -> Result<Vec<Key>, TableError> {
    let table = open(written)?;
    let mut keys = Vec::new();
    for number in 0..table.stripes().len() {
        let ranges = table.key_ranges(number).into_iter();
        let bytes =
            ranges.map(|range| written.file.slice(range.start as usize..range.end as usize));
        let bytes: Vec<_> = bytes.collect();
        table.keys(number, &bytes, |offset, key| {
            keys.push((offset.get(), key.map(<[u8]>::to_vec)));
        })?;
    }
    Ok(keys)
}

/// Two partitions with every kind of key.
fn some_table(options: &TableOptions, records: i64, value: &mut dyn FnMut() -> Vec<u8>) -> Written {
    let mut keyed = |at: i64| Record {
        key: match at % 4 {
            0 => None,
            1 => Some(Bytes::new()),
            2 => Some(Bytes::from_static(b"again")),
            _ => Some(Bytes::from(format!("key {at}"))),
        },
        ..record(at * 2, &value())
    };
    let records: Vec<_> = (0..records).map(&mut keyed).collect();
    let batches = |codec| {
        let batches = records.chunks(10);
        let batches = batches.map(|some| batch(codec, TimestampType::CreateTime, some));
        partition_of(batches.collect())
    };
    let mut second = batches(Codec::Lz4);
    second.partition = 3;
    write(options, &[batches(Codec::None), second])
}

#[test]
fn keys_are_those_of_the_records() {
    let written = some_table(&tiny(), 100, &mut || b"some value".to_vec());
    assert!(open(&written).expect("whole").stripes().len() > 20);
    let expected = rows(&written).expect("whole").into_iter();
    let expected = expected.map(|(_, record, _)| {
        let key = record.key.map(|key| key.to_vec());
        (record.offset.get(), key)
    });
    assert_eq!(keys(&written).expect("whole"), expected.collect::<Vec<_>>());
}

#[test]
fn keys_take_a_small_part_of_a_large_file() {
    let mut state = 1u64;
    let mut noise = std::iter::repeat_with(move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 56) as u8
    });
    let mut value = || noise.by_ref().take(60_000).collect();
    let written = some_table(&TableOptions::default(), 200, &mut value);
    let table = open(&written).expect("whole");
    let bytes = |ranges: Vec<std::ops::Range<u64>>| -> u64 {
        ranges.iter().map(|range| range.end - range.start).sum()
    };
    for number in 0..table.stripes().len() {
        let (keys, all) = (table.key_ranges(number), table.ranges(number));
        assert!(bytes(keys.clone()) * 5 < bytes(all), "{keys:?}");
    }
    assert_eq!(keys(&written).expect("whole").len(), 400);
}

#[test]
fn no_flipped_byte_goes_unnoticed() {
    let written = some_table(&tiny(), 40, &mut || b"v".to_vec());
    let expected = keys(&written).expect("whole");
    for at in 0..written.file.len() {
        let mut file = written.file.to_vec();
        file[at] ^= 1 << (at % 8);
        let damaged = Written {
            file: file.into(),
            table: written.table,
        };
        match keys(&damaged) {
            Ok(keys) => assert_eq!(keys, expected, "byte {at}"),
            Err(TableError::Format(FormatError::Checksum { .. })) => (),
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn bytes_of_other_ranges_are_refused() {
    let written = some_table(&tiny(), 40, &mut || b"v".to_vec());
    let table = open(&written).expect("whole");
    let read = |stripe, bytes: &[Bytes]| table.keys(stripe, bytes, |_, _| ());
    assert_eq!(read(0, &[]), Err(TableError::Ranges(0)));
    let none = table.stripes().len();
    assert!(table.key_ranges(none).is_empty());
    assert_eq!(read(none, &[]), Err(TableError::NoStripe(none)));
}

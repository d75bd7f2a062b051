//! Bytes that are not the writer's give an error, never other rows and never a panic.

mod common;

use std::sync::LazyLock;

use alluvium_segment::FormatError;
use alluvium_segment::record_batch::{Codec, TimestampType};
use alluvium_table::{TableError, TableFile, TableRef};
use bytes::Bytes;
use common::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn some_table() -> Written {
    let mut records: Vec<_> = (0..60)
        .map(|number| record(number, format!("value {number}").as_bytes()))
        .collect();
    for record in records.iter_mut().step_by(3) {
        record.key = Some(Bytes::from_static(b"key"));
        record.headers = vec![header(b"h", Some(b"1")), header(b"\xff", None)];
    }
    let batches = records
        .chunks(10)
        .map(|records| batch(Codec::Zstd, TimestampType::CreateTime, records))
        .collect();
    let mut options = tiny();
    options.raw_headers = true;
    write(&options, &[partition_of(batches)])
}

#[test]
fn no_flipped_byte_goes_unnoticed() {
    let written = some_table();
    let expected = rows(&written).expect("whole");
    for at in 0..written.file.len() {
        let mut file = written.file.to_vec();
        file[at] ^= 1 << (at % 8);
        let damaged = Written {
            file: file.into(),
            table: written.table,
        };
        match rows(&damaged) {
            // Bytes that no stripe needs, such as the magic at the start, are in the same blocks as others.
            Ok(rows) => assert_eq!(rows, expected, "byte {at}"),
            Err(TableError::Format(FormatError::Checksum { .. })) => (),
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn bytes_of_other_ranges_are_refused() {
    let written = some_table();
    let table = open(&written).expect("whole");
    assert_eq!(table.records(0, &[]), Err(TableError::Ranges(0)));
    let mut bytes = bytes_of(&table, &written.file, 0);
    bytes[0] = bytes[0].slice(1..);
    assert_eq!(table.records(0, &bytes), Err(TableError::Ranges(0)));
    let none = table.stripes().len();
    assert!(table.ranges(none).is_empty());
    assert_eq!(table.records(none, &[]), Err(TableError::NoStripe(none)));
}

#[test]
fn a_tail_of_another_length_or_file_is_refused() {
    let written = some_table();
    let range = written.table.tail_range();
    let tail = written.file.slice(range.start as usize..);
    let short = TableFile::open(&written.table, tail.slice(1..));
    assert!(matches!(
        short,
        Err(TableError::Format(FormatError::NeedMore { .. }))
    ));
    let mut other = written.table;
    other.tail_crc ^= 1;
    let other = TableFile::open(&other, tail.clone());
    assert!(matches!(
        other,
        Err(TableError::Format(FormatError::Checksum { .. }))
    ));
    for size_bytes in [
        0,
        written.table.size_bytes - 1,
        written.table.size_bytes + 1,
        u64::MAX,
    ] {
        let other = TableRef {
            size_bytes,
            ..written.table
        };
        assert!(
            TableFile::open(&other, tail.clone()).is_err(),
            "{size_bytes}"
        );
    }
}

/// With the checksum that would be right, so that what is behind it sees the bytes.
fn open_forged(tail: Vec<u8>, data_end: u64) -> Result<TableFile, TableError> {
    let reference = TableRef {
        size_bytes: data_end + tail.len() as u64,
        tail_length: tail.len() as u32,
        tail_crc: crc32c::crc32c(&tail),
    };
    TableFile::open(&reference, tail.into())
}

static SOME_TABLE: LazyLock<Written> = LazyLock::new(some_table);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_tails_never_panic(mut tail in vec(any::<u8>(), 0..300), length in 0..300u32, is_framed in any::<bool>()) {
        if is_framed {
            tail.extend_from_slice(&length.to_le_bytes());
            tail.extend_from_slice(b"PAR1");
        }
        prop_assert!(open_forged(tail, 1000).is_err());
    }

    #[test]
    fn forged_tails_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let written = &*SOME_TABLE;
        let range = written.table.tail_range();
        let mut tail = written.file[range.start as usize..].to_vec();
        let at = at.index(tail.len());
        tail[at] = byte;
        let Ok(table) = open_forged(tail, range.start) else { return Ok(()) };
        for stripe in 0..table.stripes().len() {
            let bytes = bytes_of(&table, &written.file, stripe);
            let _ = table.records(stripe, &bytes);
        }
    }
}

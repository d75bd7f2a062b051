//! Which stripe holds what, and how little has to be read for it.

mod common;

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::{
    BatchBuilder, BatchHeader, Codec, DecodeLimits, NO_HEADERS, Record, StoredBatch, TimestampType,
};
use alluvium_table::{BLOCK_BYTES, TableError, TableFile, TableOptions, TableWriter};
use bytes::Bytes;
use common::*;

const P: PartitionIndex = PartitionIndex(0);

fn plain(records: &[Record]) -> StoredBatch {
    batch(Codec::None, TimestampType::CreateTime, records)
}

/// Offsets 100 to 119, a gap, 200 to 219; at most 7 rows a stripe.
fn with_gap() -> Written {
    let run = |from: i64| -> Vec<_> { (from..from + 20).map(|n| record(n, b"v")).collect() };
    let batches = vec![plain(&run(100)), plain(&run(200))];
    let mut other = partition_of(vec![plain(&run(150))]);
    other.partition = 5;
    let mut first = partition_of(batches);
    (first.base_offset, first.next_offset) = (90, 300);
    write(&tiny(), &[first, other])
}

#[test]
fn an_offset_finds_the_stripe_of_the_first_record_from_there_on() {
    let written = with_gap();
    let table = open(&written).expect("whole");
    for wanted in 0..320i64 {
        let found = table.stripe_at(P, offset(wanted));
        let first = (100..120).chain(200..220).find(|have| *have >= wanted);
        match (found, first) {
            (None, None) => (),
            (Some(found), Some(first)) => {
                let stripe = table.stripes()[found];
                assert_eq!(stripe.partition, P);
                let holds = stripe.base_offset.get()..stripe.next_offset.get();
                assert!(holds.contains(&first), "{wanted}: {holds:?}");
            }
            other => panic!("{wanted}: {other:?}"),
        }
    }
    assert_eq!(table.stripe_at(PartitionIndex(3), offset(0)), None);
    assert_eq!(table.stripe_at(PartitionIndex(9), offset(0)), None);
    let other = table.stripe_at(PartitionIndex(5), offset(0)).expect("some");
    assert_eq!(table.stripes()[other].base_offset, offset(150));
}

#[test]
fn a_time_finds_the_first_stripe_that_reaches_it() {
    let written = with_gap();
    let table = open(&written).expect("whole");
    // Timestamps are as the offsets.
    let at = |timestamp, from| {
        let found = table.stripe_since(P, timestamp, offset(from))?;
        Some(table.stripes()[found])
    };
    assert_eq!(at(-1, 0).expect("first").base_offset, offset(100));
    assert_eq!(
        at(-1, 121).expect("behind the gap").max_timestamp.min(200),
        200
    );
    let reached = at(150, 0).expect("behind the gap");
    assert!(reached.max_timestamp >= 200);
    assert_eq!(at(219, 0).expect("last").next_offset, offset(220));
    assert_eq!(at(220, 0), None, "not another partition's");
    assert_eq!(at(0, 220), None);
}

#[test]
fn a_control_batch_is_answered_for_but_no_row() {
    let raw = {
        let mut builder = BatchBuilder::new(Codec::None).control();
        builder.push(1, Some(b"\0\0\0\x01"), Some(b"\0\0\0\0\0\0"), NO_HEADERS);
        builder.build().expect("small")
    };
    let header = BatchHeader::decode(&raw).expect("valid");
    let control = StoredBatch::stamp(raw, &header, offset(1), LeaderEpoch(0)).expect("fits");
    let batches = vec![plain(&[record(0, b"v")]), control];
    let written = write(&tiny(), &[partition_of(batches)]);
    let table = open(&written).expect("whole");
    assert_eq!(table.spans()[0].next_offset, offset(2));
    assert_eq!(table.spans()[0].records, 1);
    assert_eq!(table.stripe_at(P, offset(1)), None);
}

#[test]
fn records_before_the_wanted_offset_are_left_out() {
    let records: Vec<_> = (10..20).map(|number| record(number, b"v")).collect();
    let mut writer = TableWriter::new(&tiny()).expect("options");
    writer.begin_partition(P, offset(15)).expect("first");
    let limits = DecodeLimits::default();
    writer
        .push_batch(&plain(&records), offset(15), &limits)
        .expect("in order");
    writer.end_partition(offset(20)).expect("open");
    let finished = writer.finish().expect("complete");
    assert_eq!(finished.spans[0].records, 5);
}

#[test]
fn a_stripe_needs_a_small_part_of_a_large_file() {
    let mut state = 1u64;
    let mut noise = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 56) as u8
    };
    let mut value = || {
        std::iter::repeat_with(&mut noise)
            .take(1000)
            .collect::<Vec<_>>()
    };
    let batches: Vec<_> = (0..40)
        .map(|number| {
            let records: Vec<_> = (0..500)
                .map(|row| record(number * 500 + row, &value()))
                .collect();
            plain(&records)
        })
        .collect();
    let written = write(&TableOptions::default(), &[partition_of(batches)]);
    let table = open(&written).expect("whole");
    assert!(table.stripes().len() >= 10);
    for (number, stripe) in table.stripes().iter().enumerate() {
        let ranges = table.ranges(number);
        assert!(ranges.len() <= 5, "{ranges:?}");
        assert!(
            ranges
                .iter()
                .all(|range| range.start % BLOCK_BYTES as u64 == 0)
        );
        let wanted: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        // Stripes end with pages; what comes on top are blocks at both ends, and of the small columns.
        assert!(
            wanted < stripe.raw_bytes + (400 << 10),
            "{number}: {wanted}"
        );
        let bytes = bytes_of(&table, &written.file, number);
        let batches = table.rebuild(number, &bytes, &|_| LeaderEpoch(0));
        let batches = batches.expect("whole");
        assert_eq!(batches[0].base_offset(), stripe.base_offset);
        assert_eq!(
            batches.last().expect("some").next_offset(),
            stripe.next_offset
        );
    }
    assert!(table.memory_bytes() < 200_000, "{}", table.memory_bytes());
}

#[test]
fn batches_end_where_the_leader_epoch_or_the_append_time_changes() {
    let records: Vec<_> = (0..10).map(|number| record(number, b"v")).collect();
    let written = write(
        &TableOptions::default(),
        &[partition_of(vec![plain(&records)])],
    );
    let table = open(&written).expect("whole");
    let bytes = bytes_of(&table, &written.file, 0);
    let epoch = |offset: Offset| LeaderEpoch(i32::from(offset.get() >= 4));
    let batches = table.rebuild(0, &bytes, &epoch).expect("whole");
    let found: Vec<_> = batches
        .iter()
        .map(|batch| (batch.base_offset().get(), batch.leader_epoch().0))
        .collect();
    assert_eq!(found, [(0, 0), (4, 1)]);

    let mut stamped = records;
    stamped.iter_mut().for_each(|record| record.timestamp = 7);
    stamped[5..]
        .iter_mut()
        .for_each(|record| record.timestamp = 8);
    let of = |records: &[Record]| batch(Codec::None, TimestampType::LogAppendTime, records);
    let batches = vec![of(&stamped[..5]), of(&stamped[5..])];
    let written = write(&TableOptions::default(), &[partition_of(batches)]);
    let table = open(&written).expect("whole");
    let bytes = bytes_of(&table, &written.file, 0);
    let batches = table
        .rebuild(0, &bytes, &|_| LeaderEpoch(0))
        .expect("whole");
    let found: Vec<_> = batches.iter().map(StoredBatch::max_timestamp).collect();
    assert_eq!(found, [7, 8]);
}

#[test]
fn the_codec_of_all_batches_is_restored_and_a_mix_is_not() {
    let of = |codec, from: i64| batch(codec, TimestampType::CreateTime, &[record(from, b"v")]);
    for (codecs, restored) in [
        ([Codec::Lz4, Codec::Lz4], Codec::Lz4),
        ([Codec::Zstd, Codec::Zstd], Codec::Zstd),
        ([Codec::Snappy, Codec::Snappy], Codec::Snappy),
        ([Codec::Gzip, Codec::Gzip], Codec::None),
        ([Codec::Lz4, Codec::Zstd], Codec::None),
        ([Codec::None, Codec::Lz4], Codec::None),
    ] {
        let batches = vec![of(codecs[0], 0), of(codecs[1], 1)];
        let written = write(&TableOptions::default(), &[partition_of(batches)]);
        let table = open(&written).expect("whole");
        assert_eq!(table.stripes()[0].codec, restored, "{codecs:?}");
        assert_eq!(rebuilt(&written).expect("whole").len(), 2);
    }
}

#[test]
fn what_is_out_of_order_is_refused_and_ends_the_file() {
    let limits = DecodeLimits::default();
    let order = |result: Result<(), TableError>| {
        assert!(matches!(result, Err(TableError::Order(_))), "{result:?}");
    };
    let one = plain(&[record(5, b"v")]);
    let begun = || {
        let mut writer = TableWriter::new(&tiny()).expect("options");
        writer
            .begin_partition(PartitionIndex(1), offset(3))
            .expect("first");
        writer
    };
    let mut writer = TableWriter::new(&tiny()).expect("options");
    order(writer.push_batch(&one, Offset::ZERO, &limits));
    let mut writer = begun();
    order(writer.begin_partition(PartitionIndex(2), offset(0)));
    let mut writer = begun();
    writer
        .push_batch(&one, Offset::ZERO, &limits)
        .expect("in order");
    order(writer.push_batch(&one, Offset::ZERO, &limits));
    order(writer.end_partition(offset(6)));
    assert!(writer.finish().is_err());
    let mut writer = begun();
    writer
        .push_batch(&one, Offset::ZERO, &limits)
        .expect("in order");
    order(writer.end_partition(offset(5)));
    let mut writer = begun();
    writer.end_partition(offset(3)).expect("empty");
    order(writer.begin_partition(PartitionIndex(1), offset(9)));
    let writer = begun();
    assert!(writer.finish().is_err(), "the partition is open");
}

#[test]
fn tables_can_be_shared_and_writers_moved_between_threads() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<TableFile>();
    moved::<TableWriter>();
}

#[test]
fn bytes_are_handed_out_while_the_file_grows() {
    let mut writer = TableWriter::new(&tiny()).expect("options");
    writer.begin_partition(P, offset(0)).expect("first");
    let mut taken = 0;
    for number in 0..2000 {
        let record = record(number, &number.to_le_bytes().repeat(9));
        writer
            .push_record(&record, TimestampType::CreateTime, Codec::None)
            .expect("in order");
        let chunks = writer.take_bytes();
        taken += chunks.iter().map(Bytes::len).sum::<usize>();
    }
    let estimate = writer.size_estimate();
    assert!(taken as u64 <= estimate && estimate < taken as u64 + 10_000);
    assert!(taken > 10_000);
}

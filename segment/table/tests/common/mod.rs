//! What the tests of tables share: batches in, a file out, rows back.
#![allow(dead_code, reason = "each test uses some of it")]

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::{
    BatchBuilder, Codec, DecodeLimits, Record, RecordHeader, StoredBatch, TimestampType,
};
use alluvium_table::{TableError, TableFile, TableOptions, TableRef, TableWriter};
use bytes::Bytes;

pub fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

pub fn record(offset_: i64, value: &[u8]) -> Record {
    Record {
        offset: offset(offset_),
        timestamp: offset_,
        key: None,
        value: Some(Bytes::copy_from_slice(value)),
        headers: Vec::new(),
    }
}

pub fn header(key: &[u8], value: Option<&[u8]>) -> RecordHeader {
    RecordHeader {
        key: Bytes::copy_from_slice(key),
        value: value.map(Bytes::copy_from_slice),
    }
}

/// A batch of records, whose offsets ascend. All have one timestamp under `LogAppendTime`.
pub fn batch(codec: Codec, timestamp_type: TimestampType, records: &[Record]) -> StoredBatch {
    let base = records.first().expect("some").offset;
    let mut builder = BatchBuilder::new(codec)
        .base_offset(base)
        .leader_epoch(LeaderEpoch(3))
        .timestamp_type(timestamp_type);
    for record in records {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|header| (&header.key[..], header.value.as_deref()))
            .collect();
        let delta = (record.offset.get() - base.get()) as i32;
        builder.push_at(
            delta,
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        );
    }
    StoredBatch::from_stored(builder.build().expect("small")).expect("valid")
}

/// A file and what is known of it.
pub struct Written {
    pub file: Bytes,
    pub table: TableRef,
}

pub struct Partition {
    pub partition: i32,
    pub base_offset: i64,
    pub next_offset: i64,
    pub batches: Vec<StoredBatch>,
}

/// All offsets of the batches, in one partition.
pub fn partition_of(batches: Vec<StoredBatch>) -> Partition {
    Partition {
        partition: 0,
        base_offset: batches.first().expect("some").base_offset().get(),
        next_offset: batches.last().expect("some").next_offset().get(),
        batches,
    }
}

pub fn try_write(options: &TableOptions, partitions: &[Partition]) -> Result<Written, TableError> {
    let mut writer = TableWriter::new(options)?;
    let mut chunks = Vec::new();
    for one in partitions {
        let base = offset(one.base_offset);
        writer.begin_partition(PartitionIndex(one.partition), base)?;
        for batch in &one.batches {
            writer.push_batch(batch, base, &DecodeLimits::default())?;
            chunks.extend(writer.take_bytes());
        }
        writer.end_partition(offset(one.next_offset))?;
    }
    let finished = writer.finish()?;
    chunks.extend(finished.chunks);
    let written = Written {
        file: chunks.concat().into(),
        table: finished.table,
    };
    assert_eq!(written.file.len() as u64, written.table.size_bytes);
    Ok(written)
}

pub fn write(options: &TableOptions, partitions: &[Partition]) -> Written {
    try_write(options, partitions).expect("in order")
}

/// Stripes and row groups so small that a few records make many.
pub fn tiny() -> TableOptions {
    TableOptions {
        row_group_bytes: 1500,
        stripe_bytes: 400,
        stripe_rows_max: 7,
        page_bytes: 256,
        ..TableOptions::default()
    }
}

pub fn open(written: &Written) -> Result<TableFile, TableError> {
    let tail = written.table.tail_range();
    let tail = written.file.slice(tail.start as usize..tail.end as usize);
    TableFile::open(&written.table, tail)
}

/// The bytes that a stripe asks for.
pub fn bytes_of(table: &TableFile, file: &Bytes, stripe: usize) -> Vec<Bytes> {
    let ranges = table.ranges(stripe).into_iter();
    ranges
        .map(|range| file.slice(range.start as usize..range.end as usize))
        .collect()
}

/// A row as a consumer sees it, with its partition.
pub type Seen = (i32, Record, TimestampType);

/// All records of batches as consumers see them.
pub fn seen_in(partition: i32, batches: &[StoredBatch]) -> Result<Vec<Seen>, TableError> {
    let mut seen = Vec::new();
    for batch in batches {
        let timestamp_type = batch.header().attributes.timestamp_type();
        for record in batch.records(&DecodeLimits::default())? {
            seen.push((partition, record?, timestamp_type));
        }
    }
    Ok(seen)
}

/// All rows of a table, by way of rebuilt batches.
pub fn rebuilt(written: &Written) -> Result<Vec<Seen>, TableError> {
    let table = open(written)?;
    let mut seen = Vec::new();
    for (number, stripe) in table.stripes().iter().enumerate() {
        let bytes = bytes_of(&table, &written.file, number);
        let batches = table.rebuild(number, &bytes, &|_| LeaderEpoch(3))?;
        for batch in &batches {
            assert_eq!(batch.codec(), Ok(stripe.codec));
        }
        seen.extend(seen_in(stripe.partition.0, &batches)?);
    }
    Ok(seen)
}

/// All rows of a table, as records.
pub fn rows(written: &Written) -> Result<Vec<Seen>, TableError> {
    let table = open(written)?;
    let mut seen = Vec::new();
    for (number, stripe) in table.stripes().iter().enumerate() {
        let bytes = bytes_of(&table, &written.file, number);
        let records = table.records(number, &bytes)?;
        let ranges = table.audit_ranges(number).into_iter();
        let all = ranges.map(|range| written.file.slice(range.start as usize..range.end as usize));
        let audited = table.audit_records(number, &all.collect::<Vec<_>>())?;
        assert_eq!(audited, records, "an audit sees other rows");
        let records = records.into_iter();
        seen.extend(records.map(|(record, of)| (stripe.partition.0, record, of)));
    }
    Ok(seen)
}

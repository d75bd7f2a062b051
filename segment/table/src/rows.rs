//! Rows on their way to the Parquet library: columns that grow record by record, all but `_value`.

use std::sync::Arc;

use alluvium_common::seeded_bug;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::{Record, TimestampType};
use arrow_array::builder::{ArrayBuilder, BinaryBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, Int8Array, Int32Array, Int64Array, ListArray, StructArray, TimestampMillisecondArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};

use crate::error::TableError;
use crate::headers;
use crate::schema::{header_element, header_fields, timestamp_type};

/// What a record takes beside its bytes: its frame, timestamp and offset in a batch, its places in memory here.
const RECORD_OVERHEAD_BYTES: usize = 16;
/// The same for a header.
const HEADER_OVERHEAD_BYTES: usize = 4;

/// Raw bytes of a record: what sizes of spans, stripes and row groups are counted in.
pub fn raw_bytes(record: &Record) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
    let headers: usize = record
        .headers
        .iter()
        .map(|header| HEADER_OVERHEAD_BYTES + header.key.len() + length(&header.value))
        .sum();
    RECORD_OVERHEAD_BYTES + length(&record.key) + length(&record.value) + headers
}

/// Whether a record can be kept without `_raw_headers`.
pub(crate) fn has_text_keys_only(record: &Record) -> bool {
    record
        .headers
        .iter()
        .all(|header| std::str::from_utf8(&header.key).is_ok())
}

/// The columns of some rows.
#[derive(Debug)]
pub(crate) struct Rows {
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    timestamp_types: Vec<i8>,
    keys: BinaryBuilder,
    header_ends: Vec<i32>,
    header_keys: StringBuilder,
    header_values: BinaryBuilder,
    raw_headers: Option<BinaryBuilder>,
    scratch: Vec<u8>,
    raw_bytes: usize,
}

impl Rows {
    /// No rows. `raw_headers` must be as in the schema.
    pub fn new(raw_headers: bool) -> Self {
        Self {
            partitions: Vec::new(),
            offsets: Vec::new(),
            timestamps: Vec::new(),
            timestamp_types: Vec::new(),
            keys: BinaryBuilder::new(),
            header_ends: vec![0],
            header_keys: StringBuilder::new(),
            header_values: BinaryBuilder::new(),
            raw_headers: raw_headers.then(BinaryBuilder::new),
            scratch: Vec::new(),
            raw_bytes: 0,
        }
    }

    /// Rows there.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Their raw bytes.
    pub fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Adds a row of `raw_bytes` raw bytes. The caller has seen to it that a batch's worth of rows stays far below the
    /// 2 GiB that a column can hold.
    pub fn push(
        &mut self,
        partition: PartitionIndex,
        record: &Record,
        kind: TimestampType,
        raw_bytes: usize,
    ) {
        self.partitions.push(partition.0);
        self.offsets.push(record.offset.get());
        self.timestamps.push(record.timestamp);
        self.timestamp_types.push(match kind {
            TimestampType::CreateTime => timestamp_type::CREATE_TIME,
            TimestampType::LogAppendTime => timestamp_type::LOG_APPEND_TIME,
        });
        let key = record.key.as_deref();
        let no_key = seeded_bug::is("null-published-as-empty").then_some(&[][..]);
        self.keys.append_option(key.or(no_key));
        for header in &record.headers {
            self.header_keys.append_value(header.key_str());
            self.header_values.append_option(header.value.as_deref());
        }
        // Each takes bytes of a record, which are far fewer than 2^31.
        let headers = self.header_keys.len() as i32;
        self.header_ends.push(headers);
        if let Some(column) = &mut self.raw_headers {
            if has_text_keys_only(record) {
                column.append_null();
            } else {
                self.scratch.clear();
                let all = record.headers.iter();
                let all = all.map(|header| (&header.key[..], header.value.as_deref()));
                headers::encode(&mut self.scratch, all);
                column.append_value(&self.scratch);
            }
        }
        self.raw_bytes += raw_bytes;
    }

    /// The columns in the order of the schema, as the Parquet library takes them; no rows are left here.
    pub fn take(&mut self) -> Result<Vec<ArrayRef>, TableError> {
        self.raw_bytes = 0;
        let ends = std::mem::replace(&mut self.header_ends, vec![0]);
        let headers: Vec<ArrayRef> = vec![
            Arc::new(self.header_keys.finish()),
            Arc::new(self.header_values.finish()),
        ];
        let headers = ListArray::try_new(
            header_element(),
            OffsetBuffer::new(ScalarBuffer::from(ends)),
            Arc::new(StructArray::try_new(header_fields(), headers, None)?),
            None,
        )?;
        let timestamps = TimestampMillisecondArray::from(std::mem::take(&mut self.timestamps));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(std::mem::take(&mut self.partitions))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.offsets))),
            Arc::new(timestamps.with_timezone("UTC")),
            Arc::new(Int8Array::from(std::mem::take(&mut self.timestamp_types))),
            Arc::new(self.keys.finish()),
            Arc::new(headers),
        ];
        if let Some(raw) = &mut self.raw_headers {
            columns.push(Arc::new(raw.finish()));
        }
        Ok(columns)
    }
}

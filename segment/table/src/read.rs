//! Rows on their way out of the file.

use alluvium_common::offset::Offset;
use alluvium_segment::record_batch::{Record, RecordHeader, TimestampType};
use arrow_array::{
    Array, BinaryArray, Int8Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray, TimestampMillisecondArray,
};
use arrow_buffer::Buffer;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy,
    RowSelector,
};
use parquet::errors::ParquetError;

use crate::error::TableError;
use crate::file::TableFile;
use crate::headers::{self, HeaderRef};
use crate::index::Stripe;
use crate::metadata::guarded;
use crate::ranges::{self, Columns, leaves};
use crate::schema::{name, timestamp_type};
use crate::sparse::Sparse;

/// Rows decoded at once: few enough to stay in the cache until they are copied.
const GROUP_ROWS: usize = 1024;

/// Some rows of a stripe.
pub(crate) struct RowGroup {
    /// Where it was read.
    partitions: Option<Int32Array>,
    offsets: Int64Array,
    timestamps: TimestampMillisecondArray,
    timestamp_types: Int8Array,
    keys: BinaryArray,
    values: BinaryArray,
    headers: Option<Headers>,
}

struct Headers {
    lists: ListArray,
    keys: StringArray,
    values: BinaryArray,
    raw: Option<BinaryArray>,
}

/// One row, without its headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub offset: Offset,
    pub timestamp: i64,
    pub timestamp_type: TimestampType,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// Verifies the bytes of a stripe, and walks its rows.
pub(crate) fn each_group(
    file: &TableFile,
    number: usize,
    bytes: &[Bytes],
    columns: Columns,
    mut each: impl FnMut(&RowGroup) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let stripe = file.stripe(number)?;
    each_batch(file, number, columns, bytes, |batch| {
        let group = RowGroup::new(batch).ok_or(TableError::malformed())?;
        group.check_told(stripe)?;
        each(&group)
    })
}

/// Verifies the bytes of a stripe's keys, and walks them.
pub(crate) fn each_key(
    file: &TableFile,
    number: usize,
    bytes: &[Bytes],
    mut each: impl FnMut(Offset, Option<&[u8]>),
) -> Result<(), TableError> {
    each_batch(file, number, Columns::Keys, bytes, |batch| {
        let keys = column::<BinaryArray>(batch, name::KEY).ok_or(TableError::malformed())?;
        let offsets = column::<Int64Array>(batch, name::OFFSET).ok_or(TableError::malformed())?;
        for (row, offset) in offsets.values().iter().enumerate() {
            let offset = Offset::new(*offset).ok_or(TableError::malformed())?;
            each(offset, nullable(&keys, row));
        }
        Ok(())
    })
}

/// Walks some columns of a stripe, whose bytes and offsets are verified.
fn each_batch(
    file: &TableFile,
    number: usize,
    columns: Columns,
    bytes: &[Bytes],
    mut each: impl FnMut(&RecordBatch) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let stripe = file.stripe(number)?;
    let ranges = ranges::of_stripe(file, stripe, columns);
    let sparse = Sparse::new(&file.index, ranges, bytes)?;
    let sparse = sparse.ok_or(TableError::Ranges(number))?;
    let mut reader = guarded(|| reader(file, stripe, columns, sparse))?;
    let (mut next, mut rows) = (stripe.base_offset, 0);
    loop {
        let batch = guarded(|| reader.next().transpose().map_err(ParquetError::from))?;
        let Some(batch) = batch else { break };
        let offsets = column::<Int64Array>(&batch, name::OFFSET).ok_or(TableError::malformed())?;
        next = check_offsets(&offsets, next, rows == 0)?;
        rows += offsets.len();
        each(&batch)?;
    }
    match rows == stripe.rows as usize && next == stripe.next_offset {
        true => Ok(()),
        false => Err(TableError::malformed()),
    }
}

fn reader(
    file: &TableFile,
    stripe: &Stripe,
    columns: Columns,
    sparse: Sparse,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    let schema = file.parquet.parquet_schema();
    let selection = RowSelection::from(vec![
        RowSelector::skip(stripe.first_row as usize),
        RowSelector::select(stripe.rows as usize),
    ]);
    ParquetRecordBatchReaderBuilder::new_with_metadata(sparse, file.parquet.clone())
        .with_row_groups(vec![stripe.row_group as usize])
        .with_projection(ProjectionMask::leaves(
            schema,
            leaves(file, stripe, columns),
        ))
        .with_row_selection(selection)
        // A mask would decode rows that were not read.
        .with_row_selection_policy(RowSelectionPolicy::Selectors)
        .with_batch_size(GROUP_ROWS.min(stripe.rows as usize))
        .build()
}

fn column<T: Array + Clone + 'static>(batch: &RecordBatch, name: &str) -> Option<T> {
    let column = batch.column_by_name(name)?;
    column.as_any().downcast_ref::<T>().cloned()
}

impl RowGroup {
    fn new(batch: &RecordBatch) -> Option<Self> {
        let headers = match column::<ListArray>(batch, name::HEADERS) {
            None => None,
            Some(lists) => {
                let fields = lists.values().as_any().downcast_ref::<StructArray>()?;
                let keys = fields.column(0).as_any().downcast_ref::<StringArray>()?;
                let values = fields.column(1).as_any().downcast_ref::<BinaryArray>()?;
                Some(Headers {
                    keys: keys.clone(),
                    values: values.clone(),
                    raw: column(batch, name::RAW_HEADERS),
                    lists,
                })
            }
        };
        Some(Self {
            partitions: column(batch, name::PARTITION),
            offsets: column(batch, name::OFFSET)?,
            timestamps: column(batch, name::TIMESTAMP)?,
            timestamp_types: column(batch, name::TIMESTAMP_TYPE)?,
            keys: column(batch, name::KEY)?,
            values: column(batch, name::VALUE)?,
            headers,
        })
    }

    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether what the index says of the columns that need not be read is true, as far as they were.
    fn check_told(&self, stripe: &Stripe) -> Result<(), TableError> {
        let is_own = |partition: &i32| *partition == stripe.partition.0;
        let partitions = self.partitions.as_ref();
        let own = partitions.is_none_or(|all| all.values().iter().all(is_own));
        let headers = self.headers.as_ref();
        let has_headers = headers.is_some_and(|headers| {
            let ends = headers.lists.value_offsets();
            ends.first() != ends.last()
        });
        match own && (stripe.has_headers || !has_headers) {
            true => Ok(()),
            false => Err(TableError::malformed()),
        }
    }

    /// A row.
    pub fn row(&self, row: usize) -> Result<Row<'_>, TableError> {
        let timestamp_type = match self.timestamp_types.value(row) {
            timestamp_type::CREATE_TIME => TimestampType::CreateTime,
            timestamp_type::LOG_APPEND_TIME => TimestampType::LogAppendTime,
            _ => return Err(TableError::malformed()),
        };
        Ok(Row {
            offset: Offset::new(self.offsets.value(row)).ok_or(TableError::malformed())?,
            timestamp: self.timestamps.value(row),
            timestamp_type,
            key: nullable(&self.keys, row),
            value: nullable(&self.values, row),
        })
    }

    /// Appends the headers of a row to `out`.
    pub fn headers<'a>(
        &'a self,
        row: usize,
        out: &mut Vec<HeaderRef<'a>>,
    ) -> Result<(), TableError> {
        let Some(headers) = &self.headers else {
            return Ok(());
        };
        if let Some(raw) = headers.raw.as_ref().and_then(|raw| nullable(raw, row)) {
            return headers::decode(raw, out);
        }
        let ends = headers.lists.value_offsets();
        for header in ends[row] as usize..ends[row + 1] as usize {
            let key = headers.keys.value(header).as_bytes();
            out.push((key, nullable(&headers.values, header)));
        }
        Ok(())
    }

    /// Appends the rows as records, whose bytes are slices of the columns.
    pub fn records(&self, out: &mut Vec<(Record, TimestampType)>) -> Result<(), TableError> {
        let keys = Bytes::from_owner(Owned(self.keys.values().clone()));
        let values = Bytes::from_owner(Owned(self.values.values().clone()));
        let mut headers = Vec::new();
        for number in 0..self.len() {
            let row = self.row(number)?;
            headers.clear();
            self.headers(number, &mut headers)?;
            let header = |(key, value): &HeaderRef<'_>| RecordHeader {
                key: Bytes::copy_from_slice(key),
                value: value.map(Bytes::copy_from_slice),
            };
            let record = Record {
                offset: row.offset,
                timestamp: row.timestamp,
                key: row.key.map(|key| keys.slice_ref(key)),
                value: row.value.map(|value| values.slice_ref(value)),
                headers: headers.iter().map(header).collect(),
            };
            out.push((record, row.timestamp_type));
        }
        Ok(())
    }
}

/// The offset after the last row's. They ascend, and the first row of all has the stripe's own.
fn check_offsets(offsets: &Int64Array, from: Offset, is_first: bool) -> Result<Offset, TableError> {
    let mut next = from.get();
    for (row, offset) in offsets.values().iter().enumerate() {
        let in_order = match is_first && row == 0 {
            true => *offset == next,
            false => *offset >= next,
        };
        if !in_order || *offset == i64::MAX {
            return Err(TableError::malformed());
        }
        next = offset + 1;
    }
    Offset::new(next).ok_or(TableError::malformed())
}

/// A column's bytes, kept for the slices of them.
struct Owned(Buffer);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn nullable(array: &BinaryArray, row: usize) -> Option<&[u8]> {
    (!array.is_null(row)).then(|| array.value(row))
}

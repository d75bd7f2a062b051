//! Writing a table.

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::{Codec, DecodeLimits, Record, StoredBatch, TimestampType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parquet::file::metadata::KeyValue;

use crate::column_writers::ColumnWriters;
use crate::error::TableError;
use crate::file::TableRef;
use crate::index::{INDEX_KEY, Index, TableSpan};
use crate::options::{ROWS_BYTES, ROWS_MAX, TableOptions};
use crate::rows::{Rows, has_text_keys_only, raw_bytes};
use crate::striper::Striper;

/// Largest record that a table takes: a page holds at most 2 GiB, and a reader has to hold a record several times.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// A table, written from its start to its end. After an error it is of no use any more: begin the file again.
#[derive(Debug)]
pub struct TableWriter {
    options: TableOptions,
    columns: ColumnWriters,
    rows: Rows,
    striper: Striper,
    spans: Vec<TableSpan>,
    open: Option<TableSpan>,
    /// Raw bytes of the row group so far.
    row_group_bytes: usize,
    is_broken: bool,
}

/// A table that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedTable {
    /// The bytes that were not taken yet, in order.
    pub chunks: Vec<Bytes>,
    /// What a reader has to know.
    pub table: TableRef,
    /// What it holds, ascending by partition.
    pub spans: Vec<TableSpan>,
}

impl TableWriter {
    /// Begins a file.
    pub fn new(options: &TableOptions) -> Result<Self, TableError> {
        options.check()?;
        Ok(Self {
            columns: ColumnWriters::new(options)?,
            rows: Rows::new(options.raw_headers),
            striper: Striper::new(options),
            spans: Vec::new(),
            open: None,
            row_group_bytes: 0,
            is_broken: false,
            options: options.clone(),
        })
    }

    /// Begins a partition, behind all before it. The table answers for its offsets from `base_offset` on.
    pub fn begin_partition(
        &mut self,
        partition: PartitionIndex,
        base_offset: Offset,
    ) -> Result<(), TableError> {
        self.attempt(|writer| {
            let last = writer.spans.last().map_or(-1, |span| span.partition.0);
            if writer.open.is_some() {
                return Err(TableError::Order("a partition is open"));
            }
            if partition.0 <= last {
                return Err(TableError::Order("partitions do not ascend"));
            }
            writer.open = Some(TableSpan {
                partition,
                base_offset,
                next_offset: base_offset,
                records: 0,
                min_timestamp: -1,
                max_timestamp: -1,
                raw_bytes: 0,
            });
            Ok(())
        })
    }

    /// Adds the records of `batch` whose offsets are `from` or later. A control batch adds none: consumers never see
    /// its records; its offsets are answered for all the same. Records of aborted transactions are the caller's to leave
    /// out.
    pub fn push_batch(
        &mut self,
        batch: &StoredBatch,
        from: Offset,
        limits: &DecodeLimits,
    ) -> Result<(), TableError> {
        self.attempt(|writer| writer.try_push_batch(batch, from, limits))
    }

    fn try_push_batch(
        &mut self,
        batch: &StoredBatch,
        from: Offset,
        limits: &DecodeLimits,
    ) -> Result<(), TableError> {
        let attributes = batch.header().attributes;
        let claimed = self.claimed()?;
        if batch.next_offset() <= from {
            return Ok(());
        }
        if batch.base_offset().max(from) < claimed {
            return Err(TableError::Order("offsets do not ascend"));
        }
        if !attributes.is_control() {
            let codec = attributes.codec()?;
            for record in batch.records(limits)? {
                let record = record?;
                // The next batch has the offsets behind, so this one must not take them.
                if !(batch.base_offset()..batch.next_offset()).contains(&record.offset) {
                    return Err(TableError::Order("a record is not within its batch"));
                }
                if record.offset >= from {
                    self.push(&record, attributes.timestamp_type(), codec)?;
                }
            }
        }
        if let Some(span) = &mut self.open {
            span.next_offset = span.next_offset.max(batch.next_offset());
        }
        Ok(())
    }

    /// Adds one record. `codec` is that of the batch it comes from.
    pub fn push_record(
        &mut self,
        record: &Record,
        timestamp_type: TimestampType,
        codec: Codec,
    ) -> Result<(), TableError> {
        self.attempt(|writer| writer.push(record, timestamp_type, codec))
    }

    /// Ends the partition. The table answers for its offsets up to `next_offset`.
    pub fn end_partition(&mut self, next_offset: Offset) -> Result<(), TableError> {
        self.attempt(|writer| {
            let claimed = writer.claimed()?;
            if next_offset < claimed {
                return Err(TableError::Order("the partition ends before its records"));
            }
            writer.close_stripe()?;
            let span = writer.open.take();
            let ended = span.map(|span| TableSpan {
                next_offset,
                ..span
            });
            writer.spans.extend(ended);
            Ok(())
        })
    }

    /// The bytes finished since the last call, in order. What the writer holds beside them is a row group, compressed.
    pub fn take_bytes(&mut self) -> Vec<Bytes> {
        self.columns.sink_mut().take()
    }

    /// About the size of the file if it were finished now, without its footer.
    pub fn size_estimate(&self) -> u64 {
        // The values among the rows are counted twice, which is little.
        let buffered = self.columns.size_estimate() + self.rows.raw_bytes();
        self.columns.sink().position() + buffered as u64
    }

    /// Completes the file.
    pub fn finish(mut self) -> Result<FinishedTable, TableError> {
        if self.is_broken || self.open.is_some() {
            return Err(TableError::Order("a partition is open, or a call failed"));
        }
        self.close_row_group()?;
        let data_end = self.columns.sink().position();
        let index = Index {
            data_end,
            blocks: self.columns.sink_mut().begin_tail(),
            spans: self.spans,
            stripes: self.striper.into_stripes(),
        };
        let encoded = STANDARD.encode(index.encode());
        let entry = KeyValue::new(INDEX_KEY.to_owned(), encoded);
        self.columns.finish(entry)?;
        let sink = self.columns.sink_mut();
        let (tail_length, tail_crc) = sink.tail();
        let tail_length = u32::try_from(tail_length).map_err(|_| TableError::TooLarge {
            size: tail_length,
            limit: u32::MAX as usize,
        })?;
        Ok(FinishedTable {
            table: TableRef {
                size_bytes: sink.position(),
                tail_length,
                tail_crc,
            },
            chunks: sink.take(),
            spans: index.spans,
        })
    }

    /// Runs a step; a half-done one must not be followed by others.
    fn attempt(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        if self.is_broken {
            return Err(TableError::Order("a call before failed"));
        }
        let result = step(self);
        self.is_broken = result.is_err();
        result
    }

    /// The offset that the open partition's next record must not be below.
    fn claimed(&self) -> Result<Offset, TableError> {
        let span = self.open.as_ref();
        let span = span.ok_or(TableError::Order("no partition is open"))?;
        Ok(span.next_offset)
    }

    fn push(
        &mut self,
        record: &Record,
        timestamp_type: TimestampType,
        codec: Codec,
    ) -> Result<(), TableError> {
        // Behind the largest offset there is none that could be the next.
        if record.offset < self.claimed()? || record.offset.next() == record.offset {
            return Err(TableError::Order("offsets do not ascend"));
        }
        let size = raw_bytes(record);
        if size > RECORD_BYTES_MAX {
            let limit = RECORD_BYTES_MAX;
            return Err(TableError::TooLarge { size, limit });
        }
        if !self.options.raw_headers && !has_text_keys_only(record) {
            return Err(TableError::NeedsRawHeaders);
        }
        if self.striper.is_full_for(size) {
            self.close_stripe()?;
        }
        let Some(span) = &mut self.open else {
            return Err(TableError::Order("no partition is open"));
        };
        let timestamp = record.timestamp;
        if span.records == 0 {
            (span.min_timestamp, span.max_timestamp) = (timestamp, timestamp);
        }
        span.min_timestamp = span.min_timestamp.min(timestamp);
        span.max_timestamp = span.max_timestamp.max(timestamp);
        span.next_offset = record.offset.next();
        span.records += 1;
        span.raw_bytes += size as u64;
        self.striper.add(span.partition, record, codec, size);
        self.rows.push(span.partition, record, timestamp_type, size);
        self.columns.values.push(record.value.as_deref());
        self.row_group_bytes += size;
        if self.rows.raw_bytes() >= ROWS_BYTES || self.rows.len() >= ROWS_MAX {
            self.write_rows()?;
            if self.columns.values.is_page_full() {
                self.columns.values.end_page()?;
                if self.striper.should_end_with_page() {
                    self.close_stripe()?;
                }
            }
        }
        Ok(())
    }

    fn write_rows(&mut self) -> Result<(), TableError> {
        if self.rows.len() > 0 {
            self.columns.write(&self.rows.take()?)?;
        }
        Ok(())
    }

    fn close_stripe(&mut self) -> Result<(), TableError> {
        self.striper.close_stripe();
        match self.row_group_bytes >= self.options.row_group_bytes {
            true => self.close_row_group(),
            false => Ok(()),
        }
    }

    fn close_row_group(&mut self) -> Result<(), TableError> {
        self.write_rows()?;
        self.columns.end_row_group()?;
        if self.row_group_bytes > 0 {
            self.striper.close_row_group();
        }
        self.row_group_bytes = 0;
        Ok(())
    }
}

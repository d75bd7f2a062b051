//! A table, opened: what its tail says, and which stripe holds what.

use std::ops::Range;

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::FormatError;
use alluvium_segment::reader::check_crc32c;
use alluvium_segment::record_batch::{Record, StoredBatch, TimestampType};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::error::TableError;
use crate::index::{BLOCK_BYTES, Index, Stripe, TableSpan};
use crate::metadata::{self, Parsed};
use crate::ranges::{self, Columns};
use crate::read;
use crate::rebuild::Cutter;

/// What has to be known of a table before it is read; kept outside of it, where the table is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableRef {
    /// Bytes of the whole file.
    pub size_bytes: u64,
    /// Bytes at its end that [`TableFile::open`] takes.
    pub tail_length: u32,
    /// CRC-32C of these.
    pub tail_crc: u32,
}

impl TableRef {
    /// Where the tail lies in the file.
    pub fn tail_range(&self) -> Range<u64> {
        self.size_bytes.saturating_sub(self.tail_length.into())..self.size_bytes
    }
}

/// A table's tail, parsed. Reading rows needs more bytes of the file: [`TableFile::ranges`] says which.
#[derive(Debug)]
pub struct TableFile {
    pub(crate) index: Index,
    pub(crate) parquet: ArrowReaderMetadata,
    pub(crate) has_raw_headers: bool,
    memory_bytes: usize,
}

impl TableFile {
    /// Parses a tail, whose checksum is verified before anything else.
    pub fn open(reference: &TableRef, tail: Bytes) -> Result<Self, TableError> {
        let needed = reference.tail_length as usize;
        let have = tail.len();
        if have != needed {
            return Err(FormatError::NeedMore { needed, have }.into());
        }
        check_crc32c("table tail", reference.tail_crc, &tail)?;
        if reference.size_bytes < u64::from(reference.tail_length) {
            return Err(TableError::malformed());
        }
        let Parsed {
            index,
            parquet,
            has_raw_headers,
        } = metadata::parse(reference, tail)?;
        let own = std::mem::size_of_val(&index.blocks[..])
            + std::mem::size_of_val(&index.spans[..])
            + std::mem::size_of_val(&index.stripes[..]);
        let memory_bytes = size_of::<Self>() + own + parquet.metadata().memory_size();
        Ok(Self {
            index,
            parquet,
            has_raw_headers,
            memory_bytes,
        })
    }

    /// Bytes of memory that this takes, about.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Whether it has the column `_raw_headers`: what is written of it anew needs that too.
    pub fn has_raw_headers(&self) -> bool {
        self.has_raw_headers
    }

    /// All stripes, ascending by partition and offset.
    pub fn stripes(&self) -> &[Stripe] {
        &self.index.stripes
    }

    /// What the table answers for, ascending by partition.
    pub fn spans(&self) -> &[TableSpan] {
        &self.index.spans
    }

    /// The stripe with the partition's first record at or after `offset`: a gap is skipped. `None` when no such record is
    /// in the table.
    pub fn stripe_at(&self, partition: PartitionIndex, offset: Offset) -> Option<usize> {
        let before =
            |stripe: &Stripe| (stripe.partition, stripe.next_offset) <= (partition, offset);
        let number = self.index.stripes.partition_point(before);
        self.is_of(number, partition).then_some(number)
    }

    /// The partition's first stripe with a timestamp of `timestamp` or later, among those with records at or after
    /// `from`. Within the stripe the record may be one before `from`: the caller looks for it.
    pub fn stripe_since(
        &self,
        partition: PartitionIndex,
        timestamp: i64,
        from: Offset,
    ) -> Option<usize> {
        let first = self.stripe_at(partition, from)?;
        (first..)
            .take_while(|number| self.is_of(*number, partition))
            .find(|number| self.index.stripes[*number].max_timestamp >= timestamp)
    }

    fn is_of(&self, number: usize, partition: PartitionIndex) -> bool {
        let stripe = self.index.stripes.get(number);
        stripe.is_some_and(|stripe| stripe.partition == partition)
    }

    /// The bytes of the file that a stripe is rebuilt from, ascending: the pages with its rows, widened to whole blocks.
    /// None for a number that is no stripe.
    pub fn ranges(&self, stripe: usize) -> Vec<Range<u64>> {
        let stripe = self.index.stripes.get(stripe);
        stripe.map_or_else(Vec::new, |stripe| {
            ranges::of_stripe(self, stripe, Columns::Needed)
        })
    }

    /// The bytes of the file that the keys of a stripe are read from: a small part of those that its records take, for
    /// values lie apart. Ascending; none for a number that is no stripe.
    pub fn key_ranges(&self, stripe: usize) -> Vec<Range<u64>> {
        let stripe = self.index.stripes.get(stripe);
        stripe.map_or_else(Vec::new, |stripe| {
            ranges::of_stripe(self, stripe, Columns::Keys)
        })
    }

    /// Record batches with the records of a stripe, in the stripe's codec and without producers. `bytes` are those of
    /// [`TableFile::ranges`], in order; their checksums are verified. `leader_epoch` knows the epoch of each offset.
    pub fn rebuild(
        &self,
        stripe: usize,
        bytes: &[Bytes],
        leader_epoch: &dyn Fn(Offset) -> LeaderEpoch,
    ) -> Result<Vec<StoredBatch>, TableError> {
        let codec = self.stripe(stripe)?.codec;
        let mut cutter = Cutter::new(codec, leader_epoch);
        read::each_group(self, stripe, bytes, Columns::Needed, |rows| {
            cutter.push(rows)
        })?;
        cutter.finish()
    }

    /// The records of a stripe, for compaction. `bytes` as for [`TableFile::rebuild`].
    pub fn records(
        &self,
        stripe: usize,
        bytes: &[Bytes],
    ) -> Result<Vec<(Record, TimestampType)>, TableError> {
        let mut records = Vec::with_capacity(self.stripe(stripe)?.rows as usize);
        read::each_group(self, stripe, bytes, Columns::Needed, |rows| {
            rows.records(&mut records)
        })?;
        Ok(records)
    }

    /// Calls `each` with offset and key of each record of a stripe, in order. `bytes` are those of
    /// [`TableFile::key_ranges`], in order; their checksums are verified.
    pub fn keys(
        &self,
        stripe: usize,
        bytes: &[Bytes],
        each: impl FnMut(Offset, Option<&[u8]>),
    ) -> Result<(), TableError> {
        read::each_key(self, stripe, bytes, each)
    }

    /// Like [`TableFile::ranges`], with the columns that other programs read and this one need not.
    pub fn audit_ranges(&self, stripe: usize) -> Vec<Range<u64>> {
        let stripe = self.index.stripes.get(stripe);
        stripe.map_or_else(Vec::new, |stripe| {
            ranges::of_stripe(self, stripe, Columns::All)
        })
    }

    /// Like [`TableFile::records`], of the bytes of [`TableFile::audit_ranges`]. An error, beside damage, if partitions or
    /// headers of the rows are not what the index says of the stripe.
    pub fn audit_records(
        &self,
        stripe: usize,
        bytes: &[Bytes],
    ) -> Result<Vec<(Record, TimestampType)>, TableError> {
        let mut records = Vec::with_capacity(self.stripe(stripe)?.rows as usize);
        read::each_group(self, stripe, bytes, Columns::All, |rows| {
            rows.records(&mut records)
        })?;
        Ok(records)
    }

    /// Where the data ends, which is blocks of [`BLOCK_BYTES`] and a shorter last one, and the tail begins.
    pub fn data_end(&self) -> u64 {
        self.index.data_end
    }

    /// Verifies the checksums of all blocks in `bytes`, which begin at the block `first` and hold whole blocks. The number
    /// of the first that is damaged, with what is wrong.
    pub fn check_blocks(&self, first: usize, bytes: &[u8]) -> Result<(), (usize, TableError)> {
        for (number, block) in (first..).zip(bytes.chunks(BLOCK_BYTES)) {
            let stored = self.index.blocks.get(number);
            let stored = stored.ok_or((number, TableError::malformed()))?;
            let checked = check_crc32c("table block", *stored, block);
            checked.map_err(|error| (number, error.into()))?;
        }
        Ok(())
    }

    pub(crate) fn stripe(&self, number: usize) -> Result<&Stripe, TableError> {
        let stripe = self.index.stripes.get(number);
        stripe.ok_or(TableError::NoStripe(number))
    }
}

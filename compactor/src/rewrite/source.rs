//! Table files that are read.

use std::ops::Range;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::FormatError;
use alluvium_segment::manifest::TableEntry;
use alluvium_segment::record_batch::{Codec, Record, TimestampType};
use alluvium_table::{TableError, TableFile, TableRef};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::steps::RewriteStep;
use crate::fold::ReadError;
use crate::pace::PacedObjects;
use crate::publish::PublishError;

/// A file up to this size is read with one GET and held until all is done: as many as are joined fit into memory.
const WHOLE_BYTES_MAX: u64 = 8 << 20;

/// Bytes between two ranges that are read rather than asked for apart.
const GAP_BYTES_MAX: u64 = 256 << 10;

/// GETs of one step at the same time.
const GETS_PARALLEL_MAX: usize = 4;

/// A table file, opened. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    /// As the manifest names it.
    pub entry: Arc<TableEntry>,
    /// Its tail.
    pub file: Arc<TableFile>,
    whole: Option<Bytes>,
}

impl Source {
    /// Bytes that are held of a file as long as it is open.
    pub fn held_bytes(entry: &TableEntry) -> u64 {
        match entry.size_bytes <= WHOLE_BYTES_MAX {
            true => entry.size_bytes,
            false => entry.tail_length.into(),
        }
    }

    /// Reads the tail, or all of a small file.
    pub async fn open(objects: &PacedObjects, entry: Arc<TableEntry>) -> Result<Self, ReadError> {
        let reference = TableRef {
            size_bytes: entry.size_bytes,
            tail_length: entry.tail_length,
            tail_crc: entry.tail_crc,
        };
        let tail = reference.tail_range();
        let is_small = entry.size_bytes <= WHOLE_BYTES_MAX;
        let read = match is_small {
            true => 0..entry.size_bytes,
            false => tail.clone(),
        };
        let open = |bytes: Bytes| {
            let tail =
                bytes.slice((bytes.len() as u64).saturating_sub(tail.end - tail.start) as usize..);
            let file = TableFile::open(&reference, tail).map_err(format_error)?;
            Ok((Arc::new(file), bytes))
        };
        let (file, bytes) = objects.checked(&entry.object_key, read, open).await?;
        Ok(Self {
            whole: is_small.then_some(bytes),
            file,
            entry,
        })
    }

    /// The bytes of a small file.
    #[cfg(test)]
    pub fn whole(&self) -> Option<&Bytes> {
        self.whole.as_ref()
    }

    /// Numbers of the stripes of a partition.
    pub fn stripes_of(&self, partition: PartitionIndex) -> Range<usize> {
        let stripes = self.file.stripes();
        let first = stripes.partition_point(|stripe| stripe.partition < partition);
        first..stripes.partition_point(|stripe| stripe.partition <= partition)
    }

    /// Reads what a step needs.
    pub async fn read(
        self,
        objects: &PacedObjects,
        step: RewriteStep,
    ) -> Result<ReadStep, ReadError> {
        let ranges = step.stripes.clone().flat_map(|n| self.file.ranges(n));
        Ok(ReadStep {
            pieces: self.pieces(objects, ranges).await?,
            source: self,
            step,
        })
    }

    /// Reads the keys of some stripes.
    pub async fn read_keys(
        self,
        objects: &PacedObjects,
        stripes: Range<usize>,
    ) -> Result<KeyStep, ReadError> {
        let ranges = stripes.clone().flat_map(|n| self.file.key_ranges(n));
        Ok(KeyStep {
            pieces: self.pieces(objects, ranges).await?,
            source: self,
            stripes,
        })
    }

    async fn pieces(
        &self,
        objects: &PacedObjects,
        ranges: impl Iterator<Item = Range<u64>>,
    ) -> Result<Pieces, ReadError> {
        if let Some(whole) = &self.whole {
            return Ok(Pieces(vec![(0, whole.clone())]));
        }
        let key = &self.entry.object_key;
        let read = merged(ranges).into_iter().map(|range| async move {
            let start = range.start;
            let bytes = objects.checked(key, range, Ok).await?;
            Ok::<_, ReadError>((start, bytes))
        });
        let read = futures::stream::iter(read).buffered(GETS_PARALLEL_MAX);
        Ok(Pieces(read.try_collect().await?))
    }

    /// What is wrong with the file.
    fn damaged(&self, source: FormatError) -> PublishError {
        PublishError::Read(ReadError::Damaged {
            key: self.entry.object_key.clone(),
            source,
        })
    }
}

/// Parts of a file: where each begins, and its bytes.
struct Pieces(Vec<(u64, Bytes)>);

impl Pieces {
    /// Empty where it was not read, which the reader of the table notices.
    fn slice(&self, range: &Range<u64>) -> Bytes {
        let after = self.0.partition_point(|(start, _)| *start <= range.start);
        let Some((start, bytes)) = after.checked_sub(1).map(|at| &self.0[at]) else {
            return Bytes::new();
        };
        let within = |position: u64| ((position - start) as usize).min(bytes.len());
        bytes.slice(within(range.start)..within(range.end))
    }

    fn slices(&self, ranges: &[Range<u64>]) -> Vec<Bytes> {
        ranges.iter().map(|range| self.slice(range)).collect()
    }
}

/// A step whose bytes are there; their checksums are verified when they are decoded.
pub struct ReadStep {
    source: Source,
    /// Which step.
    pub step: RewriteStep,
    pieces: Pieces,
}

impl ReadStep {
    /// The records of a stripe.
    pub fn records(&self, stripe: usize) -> Result<Vec<(Record, TimestampType)>, TableError> {
        let bytes = self.pieces.slices(&self.source.file.ranges(stripe));
        self.source.file.records(stripe, &bytes)
    }

    /// What the batches of a stripe were compressed with.
    pub fn codec(&self, stripe: usize) -> Codec {
        let stripe = self.source.file.stripes().get(stripe);
        stripe.map_or(Codec::None, |stripe| stripe.codec)
    }

    /// What is wrong with the file.
    pub fn damaged(&self, source: FormatError) -> PublishError {
        self.source.damaged(source)
    }
}

/// Stripes whose keys were read; their checksums are verified when they are decoded.
pub struct KeyStep {
    source: Source,
    stripes: Range<usize>,
    pieces: Pieces,
}

impl KeyStep {
    /// Numbers of the stripes.
    pub fn stripes(&self) -> Range<usize> {
        self.stripes.clone()
    }

    /// Calls `each` with offset and key of each record of a stripe.
    pub fn keys(
        &self,
        stripe: usize,
        each: impl FnMut(Offset, Option<&[u8]>),
    ) -> Result<(), PublishError> {
        let file = &self.source.file;
        let bytes = self.pieces.slices(&file.key_ranges(stripe));
        let read = file.keys(stripe, &bytes, each);
        read.map_err(|error| self.source.damaged(format_error(error)))
    }
}

/// Ascending ranges, joined where they overlap or are near.
fn merged(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.collect();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end + GAP_BYTES_MAX => {
                last.end = last.end.max(range.end);
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn format_error(error: TableError) -> FormatError {
    match error {
        TableError::Format(format) => format,
        _ => FormatError::Malformed("table"),
    }
}

//! Parts of a file, given to the Parquet library in place of the whole.

use std::io::Cursor;
use std::ops::Range;

use alluvium_segment::reader::check_crc32c;
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::error::TableError;
use crate::index::{BLOCK_BYTES, Index};

/// Bytes of a file at some ranges, verified.
#[derive(Debug)]
pub(crate) struct Sparse {
    size_bytes: u64,
    /// Where each part begins; ascending.
    parts: Vec<(u64, Bytes)>,
}

impl Sparse {
    /// `bytes` are those of `ranges`, which consist of whole blocks; `None` when their lengths differ.
    pub fn new(
        index: &Index,
        ranges: Vec<Range<u64>>,
        bytes: &[Bytes],
    ) -> Result<Option<Self>, TableError> {
        let lengths = ranges.iter().map(|range| range.end - range.start);
        if !lengths.eq(bytes.iter().map(|bytes| bytes.len() as u64)) {
            return Ok(None);
        }
        for (range, bytes) in ranges.iter().zip(bytes) {
            let first = (range.start / BLOCK_BYTES as u64) as usize;
            let stored = index.blocks.get(first..).unwrap_or_default();
            let blocks = bytes.chunks(BLOCK_BYTES);
            if stored.len() < blocks.len() {
                return Err(TableError::malformed());
            }
            for (stored, block) in stored.iter().zip(blocks) {
                check_crc32c("table block", *stored, block)?;
            }
        }
        let starts = ranges.into_iter().map(|range| range.start);
        Ok(Some(Self {
            size_bytes: index.data_end,
            parts: starts.zip(bytes.iter().cloned()).collect(),
        }))
    }

    /// What is there from `start` to the end of its part.
    fn part(&self, start: u64) -> Result<Bytes, ParquetError> {
        let number = self.parts.partition_point(|(at, _)| *at <= start);
        let part = number.checked_sub(1).and_then(|last| self.parts.get(last));
        part.and_then(|(at, bytes)| {
            let skip = usize::try_from(start - at).ok()?;
            (skip <= bytes.len()).then(|| bytes.slice(skip..))
        })
        .ok_or_else(|| ParquetError::EOF(format!("position {start} was not read")))
    }
}

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for Sparse {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        self.part(start).map(Cursor::new)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let part = self.part(start)?;
        match length <= part.len() {
            true => Ok(part.slice(..length)),
            false => Err(ParquetError::EOF(format!(
                "{length} bytes at position {start} were not read"
            ))),
        }
    }
}

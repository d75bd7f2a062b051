//! The column `_value`, written by ourselves: nearly all bytes of a table pass through it. They are copied once, from the
//! record into the page, and compressed from there; the Parquet library would copy them twice more, into memory it takes
//! anew for every page, and compress with the parameters of a level only.

mod compressor;
mod levels;
mod page_header;

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::{Buf, Bytes};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::{OffsetIndexMetaData, PageLocation};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::ColumnDescPtr;

use self::compressor::Compressor;
use self::levels::Levels;
use crate::error::TableError;
use crate::options::{PAGE_ROWS, TableOptions};

/// Kept free in front of the values for the levels of a page without nulls, or with few.
const LEVELS_ROOM: usize = 64;
/// Memory that a page may keep for the next one, in pages. A record may be larger than all other pages together.
const KEPT_PAGES: usize = 2;

/// The chunk that grows, page by page.
#[derive(Debug)]
pub(crate) struct ValueColumn {
    column: ColumnDescPtr,
    level: ZstdLevel,
    compressor: Compressor,
    page_bytes: usize,
    /// [`LEVELS_ROOM`], and behind it the values of the open page.
    page: Vec<u8>,
    levels: Levels,
    /// The pages that are complete, with their headers.
    pages: VecDeque<Bytes>,
    locations: Vec<PageLocation>,
    /// Rows in them.
    rows: usize,
    compressed_bytes: usize,
    uncompressed_bytes: usize,
}

impl ValueColumn {
    /// No rows. `column` is `_value` in the schema.
    pub fn new(column: ColumnDescPtr, options: &TableOptions) -> Result<Self, TableError> {
        let level = options.zstd()?;
        Ok(Self {
            column,
            level,
            compressor: Compressor::new(level)?,
            page_bytes: options.page_bytes,
            page: vec![0; LEVELS_ROOM],
            levels: Levels::default(),
            pages: VecDeque::new(),
            locations: Vec::new(),
            rows: 0,
            compressed_bytes: 0,
            uncompressed_bytes: 0,
        })
    }

    /// Adds a row. The caller has seen to it that a value is far smaller than 2 GiB.
    pub fn push(&mut self, value: Option<&[u8]>) {
        self.levels.push(value.is_some());
        if let Some(value) = value {
            self.page
                .extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.page.extend_from_slice(value);
        }
    }

    /// Whether the open page should end.
    pub fn is_page_full(&self) -> bool {
        self.page.len() - LEVELS_ROOM >= self.page_bytes || self.levels.len() >= PAGE_ROWS
    }

    /// About the bytes of the chunk if it were finished now: those of the open page are not compressed yet.
    pub fn size_estimate(&self) -> usize {
        self.compressed_bytes + self.page.len() - LEVELS_ROOM
    }

    /// Ends the open page, if it has rows.
    pub fn end_page(&mut self) -> Result<(), TableError> {
        let rows = self.levels.len();
        if rows == 0 {
            return Ok(());
        }
        let levels = self.levels.take();
        let content = match LEVELS_ROOM.checked_sub(levels.len()) {
            Some(start) => {
                self.page[start..LEVELS_ROOM].copy_from_slice(&levels);
                &self.page[start..]
            }
            None => {
                self.page.splice(..LEVELS_ROOM, levels);
                &self.page[..]
            }
        };
        let compressed = self.compressor.compress(content)?;
        let mut page = Vec::with_capacity(page_header::BYTES_MAX + compressed.len());
        page_header::encode(&mut page, content.len(), compressed.len(), rows)?;
        let header_bytes = page.len();
        page.extend_from_slice(compressed);
        self.uncompressed_bytes += header_bytes + content.len();
        self.locations.push(PageLocation {
            offset: self.compressed_bytes as i64,
            compressed_page_size: page_header::size(page.len())?,
            first_row_index: self.rows as i64,
        });
        self.rows += rows;
        self.compressed_bytes += page.len();
        self.pages.push_back(page.into());
        let kept = KEPT_PAGES * (LEVELS_ROOM + self.page_bytes);
        self.page.truncate(LEVELS_ROOM);
        self.page.shrink_to(kept);
        self.compressor.shrink_to(kept);
        Ok(())
    }

    /// Ends the chunk, and begins the next one.
    pub fn end_chunk(&mut self) -> Result<(Pages, ColumnCloseResult), TableError> {
        self.end_page()?;
        let rows = std::mem::take(&mut self.rows);
        let compressed_bytes = std::mem::take(&mut self.compressed_bytes);
        let uncompressed_bytes = std::mem::take(&mut self.uncompressed_bytes);
        let metadata = ColumnChunkMetaData::builder(self.column.clone())
            .set_compression(Compression::ZSTD(self.level))
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
            .set_num_values(rows as i64)
            .set_total_compressed_size(compressed_bytes as i64)
            .set_total_uncompressed_size(uncompressed_bytes as i64)
            .set_data_page_offset(0)
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: compressed_bytes as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(OffsetIndexMetaData {
                page_locations: std::mem::take(&mut self.locations),
                unencoded_byte_array_data_bytes: None,
            }),
        };
        Ok((Pages(std::mem::take(&mut self.pages)), close))
    }
}

/// The bytes of a chunk, for the Parquet library to put into the file.
#[derive(Debug, Clone)]
pub(crate) struct Pages(VecDeque<Bytes>);

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.iter().map(|page| page.len() as u64).sum()
    }
}

impl ChunkReader for Pages {
    type T = Self;

    fn get_read(&self, start: u64) -> Result<Self, ParquetError> {
        match start {
            0 => Ok(self.clone()),
            _ => Err(ParquetError::NYI("a part of a chunk".to_owned())),
        }
    }

    fn get_bytes(&self, _: u64, _: usize) -> Result<Bytes, ParquetError> {
        Err(ParquetError::NYI("a part of a chunk".to_owned()))
    }
}

impl Read for Pages {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(page) = self.0.front_mut() else {
            return Ok(0);
        };
        let count = page.len().min(out.len());
        page.copy_to_slice(&mut out[..count]);
        if page.is_empty() {
            self.0.pop_front();
        }
        Ok(count)
    }
}

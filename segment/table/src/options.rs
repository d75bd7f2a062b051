//! How a table is written.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{
    BloomFilterPosition, EnabledStatistics, WriterProperties, WriterPropertiesBuilder,
};
use parquet::schema::types::ColumnPath;

use crate::error::TableError;
use crate::index::STRIPE_ROWS_MAX;
use crate::schema::{HEADER_KEY_PATH, HEADER_VALUE_PATH, name};

/// Largest stripe that may be asked for: what a reader must hold, several times over.
const STRIPE_BYTES_MAX: usize = 256 << 20;
/// Rows of a page, at most, as the Parquet authors advise; bounds what is decoded in vain around a stripe.
pub(crate) const PAGE_ROWS: usize = 20_000;
/// Raw bytes of the rows that are handed to the Parquet library at once: they are still in the cache then. Pages end
/// behind such rows only, so they are larger than asked for by less than that.
pub(crate) const ROWS_BYTES: usize = 128 << 10;
/// The same in rows, for small ones.
pub(crate) const ROWS_MAX: usize = 8 << 10;
/// A dictionary is read for every stripe of its row group, so it has to stay small against a stripe.
const DICTIONARY_BYTES: usize = 128 << 10;
/// Longest minimum and maximum in the statistics: keys may be long.
const STATISTICS_BYTES: usize = 64;
/// Distinct keys that a Bloom filter is made for at first; it is folded to what is needed.
const BLOOM_FILTER_KEYS: u64 = 64 << 10;

/// How a table is written. None of it has to be known to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableOptions {
    /// Zstandard level of all pages, 1 to 22. Values are compressed with parameters of our own at levels 1 and 2: to fewer
    /// bytes, a little slower.
    pub zstd_level: i32,
    /// Raw record bytes at which a row group ends. The writer holds a row group in memory, compressed.
    pub row_group_bytes: usize,
    /// Raw record bytes of a stripe, about: it ends with a page of `_value` where one ends near, and beyond a quarter more
    /// in any case, unless a single record is larger.
    pub stripe_bytes: usize,
    /// Rows of a stripe, at most; not more than [`STRIPE_ROWS_MAX`].
    pub stripe_rows_max: u32,
    /// Bytes at which a data page ends, before compression.
    pub page_bytes: usize,
    /// Writes a Bloom filter of the keys into each row group, for engines that look keys up.
    pub bloom_filter: bool,
    /// Writes the column `_raw_headers`, without which header keys that are not UTF-8 are refused
    /// ([`TableError::NeedsRawHeaders`]).
    pub raw_headers: bool,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            zstd_level: 1,
            row_group_bytes: 32 << 20,
            stripe_bytes: 2 << 20,
            stripe_rows_max: STRIPE_ROWS_MAX,
            // With what comes on top, two of them make a stripe.
            page_bytes: (1 << 20) - ROWS_BYTES,
            bloom_filter: false,
            raw_headers: false,
        }
    }
}

impl TableOptions {
    /// Refuses what cannot be written.
    pub(crate) fn check(&self) -> Result<(), TableError> {
        let within = |ok: bool, what| {
            if ok {
                Ok(())
            } else {
                Err(TableError::Option(what))
            }
        };
        within(self.row_group_bytes > 0, "row_group_bytes")?;
        within(
            (1..=STRIPE_BYTES_MAX).contains(&self.stripe_bytes),
            "stripe_bytes",
        )?;
        within(
            (1..=STRIPE_ROWS_MAX).contains(&self.stripe_rows_max),
            "stripe_rows_max",
        )?;
        within(
            (1..=STRIPE_BYTES_MAX).contains(&self.page_bytes),
            "page_bytes",
        )
    }

    /// The level of all pages.
    pub(crate) fn zstd(&self) -> Result<ZstdLevel, TableError> {
        ZstdLevel::try_new(self.zstd_level).map_err(|_| TableError::Option("zstd_level"))
    }

    /// The same for the Parquet library, which writes all columns but `_value`.
    pub(crate) fn properties(&self) -> Result<WriterProperties, TableError> {
        let ascending = |column_idx| SortingColumn {
            column_idx,
            descending: false,
            nulls_first: false,
        };
        let builder = WriterProperties::builder()
            .set_created_by(concat!("alluvium ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(self.zstd()?))
            // Row groups end where we say, at the end of a stripe.
            .set_max_row_group_row_count(None)
            .set_max_row_group_bytes(None)
            .set_data_page_size_limit(self.page_bytes)
            .set_data_page_row_count_limit(PAGE_ROWS)
            // The library looks whether a page is full after so many rows: never between ours.
            .set_write_batch_size(ROWS_MAX)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_statistics_truncate_length(Some(STATISTICS_BYTES))
            .set_column_index_truncate_length(Some(STATISTICS_BYTES))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_sorting_columns(Some(vec![ascending(0), ascending(1)]))
            // Behind the data a filter would lie in the tail, which every reader fetches.
            .set_bloom_filter_position(BloomFilterPosition::AfterRowGroup);
        Ok(columns(builder, self.bloom_filter).build())
    }
}

fn columns(builder: WriterPropertiesBuilder, bloom_filter: bool) -> WriterPropertiesBuilder {
    let column = |name: &str| ColumnPath::from(name);
    let headers = |path: [&str; 4]| {
        let path = path.iter().map(|part| (*part).to_owned());
        ColumnPath::new(path.collect())
    };
    let mut builder = builder
        .set_column_statistics_enabled(column(name::PARTITION), EnabledStatistics::Page)
        .set_column_statistics_enabled(column(name::OFFSET), EnabledStatistics::Page)
        .set_column_statistics_enabled(column(name::TIMESTAMP), EnabledStatistics::Page)
        .set_column_statistics_enabled(column(name::KEY), EnabledStatistics::Chunk)
        // Offsets and timestamps nearly count up: differences of a few bits each.
        .set_column_dictionary_enabled(column(name::OFFSET), false)
        .set_column_encoding(column(name::OFFSET), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column(name::TIMESTAMP), false)
        .set_column_encoding(column(name::TIMESTAMP), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column(name::RAW_HEADERS), false)
        .set_column_dictionary_enabled(headers(HEADER_KEY_PATH), true)
        .set_column_dictionary_enabled(headers(HEADER_VALUE_PATH), true);
    if bloom_filter {
        builder = builder
            .set_column_bloom_filter_enabled(column(name::KEY), true)
            .set_column_bloom_filter_ndv(column(name::KEY), BLOOM_FILTER_KEYS);
    }
    builder
}

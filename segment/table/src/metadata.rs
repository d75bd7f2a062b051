//! Parsing a tail: Parquet's footer and page positions, and the index in them.
//!
//! The tail's checksum is verified by then, so only a writer's defect (or a forger) can bring contradictions. They are looked for
//! all the same, once, so that nothing later has to: positions and rows of pages are in order and within the data.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    FileMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataOptions,
    ParquetMetaDataReader, ParquetStatisticsPolicy, RowGroupMetaData,
};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;

use crate::error::TableError;
use crate::file::TableRef;
use crate::index::{INDEX_KEY, Index};
use crate::schema::recognize;

/// What a tail holds.
pub(crate) struct Parsed {
    pub index: Index,
    pub parquet: ArrowReaderMetadata,
    pub has_raw_headers: bool,
}

/// Calls the Parquet library, which asserts here and there what a forged file need not fulfil.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, TableError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Ok(result?),
        Err(_) => Err(TableError::malformed()),
    }
}

pub(crate) fn parse(reference: &TableRef, tail: Bytes) -> Result<Parsed, TableError> {
    let metadata = guarded(|| parse_parquet(reference, &tail))?;
    let has_raw_headers = recognize(metadata.file_metadata().schema_descr())?;
    let index = Index::decode(&index_bytes(&metadata)?)?;
    if index.data_end != reference.tail_range().start {
        return Err(TableError::malformed());
    }
    let agrees = guarded(|| Ok(agrees(&metadata, &index)))?;
    if !agrees {
        return Err(TableError::malformed());
    }
    let metadata = Arc::new(without_index(metadata));
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    Ok(Parsed {
        index,
        parquet: guarded(|| ArrowReaderMetadata::try_new(metadata, options))?,
        has_raw_headers,
    })
}

/// Statistics are for other engines; our lookups have the index. They would take most of the memory.
fn parse_parquet(reference: &TableRef, tail: &Bytes) -> Result<ParquetMetaData, ParquetError> {
    let options = ParquetMetaDataOptions::new()
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
    let mut reader = ParquetMetaDataReader::new()
        .with_metadata_options(Some(options))
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Optional);
    reader.try_parse_sized(tail, reference.size_bytes)?;
    reader.finish()
}

fn index_bytes(metadata: &ParquetMetaData) -> Result<Vec<u8>, TableError> {
    let entries = metadata.file_metadata().key_value_metadata();
    let mut entries = entries.into_iter().flatten();
    let value = entries
        .find(|entry| entry.key == INDEX_KEY)
        .and_then(|entry| entry.value.as_ref())
        .ok_or(TableError::malformed())?;
    STANDARD.decode(value).map_err(|_| TableError::malformed())
}

/// The same without the index's text, which is decoded by now.
fn without_index(metadata: ParquetMetaData) -> ParquetMetaData {
    let file = metadata.file_metadata();
    let bare = FileMetaData::new(
        file.version(),
        file.num_rows(),
        None,
        None,
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let mut from = metadata.into_builder();
    ParquetMetaDataBuilder::new(bare)
        .set_row_groups(from.take_row_groups())
        .set_offset_index(from.take_offset_index())
        .build()
}

/// Whether row groups and pages are what the index says.
fn agrees(metadata: &ParquetMetaData, index: &Index) -> bool {
    let groups = index
        .stripes
        .chunk_by(|one, other| one.row_group == other.row_group);
    let rows = groups.map(|group| group.iter().map(|stripe| i64::from(stripe.rows)).sum());
    let found = metadata.row_groups().iter().map(|group| group.num_rows());
    if !found.eq(rows.collect::<Vec<i64>>()) {
        return false;
    }
    if metadata.num_row_groups() == 0 {
        return true;
    }
    let Some(pages) = metadata.offset_index() else {
        return false;
    };
    let mut both = metadata.row_groups().iter().zip(pages);
    pages.len() == metadata.num_row_groups()
        && both.all(|(group, pages)| pages_agree(group, pages, index.data_end))
}

fn pages_agree(group: &RowGroupMetaData, columns: &[OffsetIndexMetaData], data_end: u64) -> bool {
    if columns.len() != group.num_columns() {
        return false;
    }
    group.columns().iter().zip(columns).all(|(column, pages)| {
        let (start, length) = column.byte_range();
        let mut position = start;
        let mut row = None;
        for page in pages.page_locations() {
            let (Ok(at), Ok(size)) = (
                u64::try_from(page.offset),
                u64::try_from(page.compressed_page_size),
            ) else {
                return false;
            };
            let in_order = at >= position
                && match row {
                    None => page.first_row_index == 0,
                    Some(row) => page.first_row_index > row,
                };
            if !in_order || page.first_row_index >= group.num_rows() {
                return false;
            }
            row = Some(page.first_row_index);
            // Both are below 2^63.
            position = at + size;
        }
        let end = start.checked_add(length);
        row.is_some() && end.is_some_and(|end| position <= end && end <= data_end)
    })
}

//! Which bytes a stripe needs.

use std::ops::Range;

use crate::file::TableFile;
use crate::index::{BLOCK_BYTES, Stripe};
use crate::schema::leaf;

/// Blocks between two ranges that are read along with them: fewer requests for a few more bytes.
const GAP_BLOCKS_MAX: u64 = 1;

/// Which columns of a stripe are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    /// Those that the index does not tell the contents of. Its partition is known, and most records have no headers.
    Needed,
    /// Offsets and keys.
    Keys,
    /// All, to see whether the index tells the truth.
    All,
}

/// Leaves that are read for a stripe.
pub(crate) fn leaves(file: &TableFile, stripe: &Stripe, columns: Columns) -> Vec<usize> {
    if columns == Columns::Keys {
        return vec![leaf::OFFSET, leaf::KEY];
    }
    let mut leaves = vec![
        leaf::OFFSET,
        leaf::TIMESTAMP,
        leaf::TIMESTAMP_TYPE,
        leaf::KEY,
        leaf::VALUE,
    ];
    if columns == Columns::All {
        leaves.push(leaf::PARTITION);
    }
    if stripe.has_headers || columns == Columns::All {
        leaves.extend([leaf::HEADER_KEY, leaf::HEADER_VALUE]);
        leaves.extend(file.has_raw_headers.then_some(leaf::RAW_HEADERS));
    }
    leaves
}

/// Ranges of whole blocks, ascending, with the pages that hold a stripe's rows and the dictionaries of these.
pub(crate) fn of_stripe(file: &TableFile, stripe: &Stripe, columns: Columns) -> Vec<Range<u64>> {
    let mut blocks = Vec::new();
    let mut add = |start: u64, end: u64| {
        let block = BLOCK_BYTES as u64;
        blocks.push(start / block..end.div_ceil(block));
    };
    let metadata = file.parquet.metadata();
    let row_group = stripe.row_group as usize;
    // Checked when the file was opened: there is one of each row group and column.
    let pages = metadata.offset_index().and_then(|all| all.get(row_group));
    let chunks = metadata.row_groups().get(row_group);
    let rows = stripe.first_row..stripe.first_row + u64::from(stripe.rows);
    for leaf in leaves(file, stripe, columns) {
        let (Some(pages), Some(column)) = (
            pages.and_then(|pages| pages.get(leaf)),
            chunks.and_then(|group| group.columns().get(leaf)),
        ) else {
            continue;
        };
        let pages = pages.page_locations();
        let (start, _) = column.byte_range();
        // What lies before the first data page is the dictionary.
        if let Some(first) = pages.first().filter(|first| first.offset as u64 > start) {
            add(start, first.offset as u64);
        }
        let begins_by = |row: u64| pages.partition_point(|page| page.first_row_index as u64 <= row);
        let (first, end) = (begins_by(rows.start).max(1) - 1, begins_by(rows.end - 1));
        for page in pages.get(first..end).unwrap_or_default() {
            let at = page.offset as u64;
            add(at, at + page.compressed_page_size as u64);
        }
    }
    merged(blocks)
        .into_iter()
        .map(|blocks| {
            let block = BLOCK_BYTES as u64;
            blocks.start * block..(blocks.end * block).min(file.index.data_end)
        })
        .collect()
}

/// Joins what overlaps or nearly touches.
fn merged(mut blocks: Vec<Range<u64>>) -> Vec<Range<u64>> {
    blocks.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(blocks.len());
    for range in blocks {
        match merged.last_mut() {
            Some(last) if range.start <= last.end + GAP_BLOCKS_MAX => {
                last.end = last.end.max(range.end);
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_are_joined() {
        assert_eq!(merged(vec![8..9, 0..2, 3..4, 1..3]), [0..4, 8..9]);
        assert_eq!(merged(vec![5..7, 0..4, 9..11]), [0..7, 9..11]);
        assert_eq!(merged(vec![6..7, 0..4]), [0..4, 6..7]);
    }
}

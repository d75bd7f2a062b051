//! Which table files to join: pure.
//!
//! Files have **levels**, by size, as in a log-structured merge tree: each is eight times the one below. As many files of
//! one level as make one of the next are joined, so that each record is written anew once for each level. A file of half
//! the size that files may have is left alone.

use std::borrow::Borrow;
use std::ops::Range;

use alluvium_segment::manifest::TableEntry;

/// Files that are joined at a time.
const FAN_IN: usize = 8;

/// Files up to eight times this are of the lowest level.
const LOWEST_BYTES: u64 = 1 << 20;

/// The first run of neighbours that is worth joining; `table_bytes` is the size at which a file ends.
pub fn run_to_join(tables: &[impl Borrow<TableEntry>], table_bytes: u64) -> Option<Range<usize>> {
    let is_full = |table: &TableEntry| table.size_bytes >= table_bytes / 2;
    let mut start = 0;
    while start < tables.len() {
        let level = level(tables[start].borrow());
        let same = |table: &TableEntry| !is_full(table) && self::level(table) == level;
        let run = tables[start..].iter();
        let run = run.take_while(|table| same((*table).borrow())).count();
        if run >= FAN_IN {
            return Some(start..start + FAN_IN);
        }
        start += run.max(1);
    }
    None
}

fn level(table: &TableEntry) -> u32 {
    (table.size_bytes / LOWEST_BYTES).max(1).ilog(FAN_IN as u64)
}

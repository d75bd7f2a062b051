//! A file that was put, as a manifest names it.

use alluvium_segment::manifest::{SpanEntry, TableEntry};
use alluvium_segment::object_key::ObjectKey;
use alluvium_table::{FinishedTable, TableSpan};

/// Partitions of which it has no record are left out.
pub fn table_entry(object_key: ObjectKey, finished: &FinishedTable) -> TableEntry {
    let spans = finished.spans.iter().filter(|span| span.records > 0);
    TableEntry {
        object_key,
        size_bytes: finished.table.size_bytes,
        tail_length: finished.table.tail_length,
        tail_crc: finished.table.tail_crc,
        spans: spans.map(span_entry).collect(),
    }
}

fn span_entry(span: &TableSpan) -> SpanEntry {
    SpanEntry {
        partition: span.partition,
        base_offset: span.base_offset,
        next_offset: span.next_offset,
        records: span.records,
        raw_bytes: span.raw_bytes,
        min_timestamp: span.min_timestamp,
        max_timestamp: span.max_timestamp,
    }
}

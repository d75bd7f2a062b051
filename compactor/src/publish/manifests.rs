//! The manifest that comes next: what was published before and what is new.

use alluvium_common::clock::TimestampMs;
use alluvium_segment::manifest::{ManifestContent, SpanEntry, TableEntry};
use alluvium_segment::object_key::ObjectKey;
use alluvium_table::{FinishedTable, TableSpan};

use super::plan::TopicWork;

/// A file that was put, as a manifest names it. Partitions of which it has no record are left out.
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

/// The manifest after `before`, with `tables` for the offsets of `work`. Producers silent for longer than
/// `producers_expire_ms` are forgotten, as leaders do.
pub fn next_manifest(
    before: ManifestContent,
    work: &TopicWork,
    tables: Vec<TableEntry>,
    now_ms: TimestampMs,
    producers_expire_ms: i64,
) -> ManifestContent {
    let mut next = ManifestContent {
        version: before.version + 1,
        created_ms: now_ms,
        ..before
    };
    next.tables.extend(tables);
    for partition in &work.partitions {
        let published = next.partitions.entry(partition.tp.partition).or_default();
        published.next_offset = partition.end;
        for pending in &partition.spans {
            published.add_producers(&pending.span.producers, pending.created_ms);
        }
    }
    let oldest_ms = now_ms.saturating_sub(producers_expire_ms);
    for published in next.partitions.values_mut() {
        published.forget_producers(oldest_ms);
    }
    next
}

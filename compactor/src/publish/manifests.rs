//! The manifest that comes next: what was published before and what is new.

use alluvium_common::clock::TimestampMs;
use alluvium_common::seeded_bug;
use alluvium_segment::manifest::{ManifestContent, TableEntry};

use super::plan::TopicWork;

/// The manifest after `before`, with `tables` for the offsets of `work`. Producers silent for longer than
/// `producers_expire_ms` are forgotten, as leaders do.
pub fn next_manifest(
    before: ManifestContent,
    work: &TopicWork,
    tables: Vec<TableEntry>,
    now_ms: TimestampMs,
    producers_expire_ms: i64,
) -> ManifestContent {
    let mut next = before;
    for span in tables.iter().flat_map(|table| &table.spans) {
        let published = next.partitions.entry(span.partition).or_default();
        published.clean.add_dirty(span.min_timestamp);
    }
    next.tables.extend(tables);
    for partition in &work.partitions {
        let published = next.partitions.entry(partition.tp.partition).or_default();
        published.next_offset = match seeded_bug::is("published-too-far") {
            true => partition.end.next(),
            false => partition.end,
        };
        if seeded_bug::is("producers-not-published") {
            continue;
        }
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

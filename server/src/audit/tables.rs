//! Every table file that a manifest names: all its bytes and all its rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::object_store::{ObjectStore, ObjectStoreExt, read_checked};
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_segment::manifest::{SpanEntry, TableEntry};
use alluvium_table::{TableFile, TableRef, TableSpan};
use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::path::Path;

use super::digest::Piece;
use super::known::Known;
use super::rows::RowCheck;
use super::window::Window;
use super::{About, Report};

/// Files read at the same time. About a row group of each is in memory.
const FILES_PARALLEL: usize = 2;

/// Checks all files that the manifests name, and their rows against `pieces`.
pub(super) async fn check(
    objects: &dyn ObjectStore,
    known: &Known,
    pieces: &BTreeMap<TopicPartition, Vec<Piece>>,
    report: &mut Report,
    step: &mut impl FnMut(),
) {
    let tables = known.manifests.iter().flat_map(|(topic_id, manifest)| {
        let tables = manifest.tables().iter();
        tables.map(|table| (*topic_id, Arc::clone(table)))
    });
    let mut checked = stream::iter(tables)
        .map(|(topic_id, table)| async move {
            let outcome = check_table(objects, topic_id, &table, pieces).await;
            (table, outcome)
        })
        .buffered(FILES_PARALLEL);
    while let Some((table, outcome)) = checked.next().await {
        step();
        report.tables += 1;
        report.table_bytes += table.size_bytes;
        report.table_records += table.spans.iter().map(|span| span.records).sum::<u64>();
        let findings = match outcome {
            Ok((findings, compared)) => {
                report.records_compared += compared;
                findings
            }
            Err(error) => vec![format!("{error:#}")],
        };
        let findings = findings.into_iter();
        let findings = findings.map(|why| format!("table {}: {why}", table.object_key));
        report.wrong(About::Table, findings);
    }
}

/// What is wrong, and how many rows were compared with segments. The first damage ends it: what is behind it cannot be
/// told apart from it.
async fn check_table(
    objects: &dyn ObjectStore,
    topic_id: TopicId,
    entry: &TableEntry,
    pieces: &BTreeMap<TopicPartition, Vec<Piece>>,
) -> anyhow::Result<(Vec<String>, u64)> {
    let path = Path::from(entry.object_key.as_str());
    let size_bytes = objects.head(&path).await?.size;
    anyhow::ensure!(
        size_bytes == entry.size_bytes,
        "it has {size_bytes} bytes, {} were published",
        entry.size_bytes
    );
    let reference = TableRef {
        size_bytes,
        tail_length: entry.tail_length,
        tail_crc: entry.tail_crc,
    };
    let open = |tail: Bytes| TableFile::open(&reference, tail);
    let file = read_checked(objects, &path, reference.tail_range(), open).await?;
    anyhow::ensure!(
        is_told(file.spans(), &entry.spans),
        "it says of its partitions something else than the manifest"
    );
    let mut rows = RowCheck::new(topic_id, file.spans(), pieces);
    let mut window = Window::new(objects, &path, &file);
    for stripe in reading_order(&file) {
        window.advance(stripe.forget_before, stripe.end).await?;
        let bytes = file.audit_ranges(stripe.number);
        let bytes = bytes.iter().map(|range| window.slice(range));
        let bytes: Vec<_> = bytes.collect::<anyhow::Result<_>>()?;
        let records = file.audit_records(stripe.number, &bytes)?;
        rows.stripe(&file.stripes()[stripe.number], &records);
    }
    // What belongs to no row is read for its checksum.
    window.finish().await?;
    Ok(rows.finish())
}

/// Whether a file says of itself what the manifest says of it. Manifests leave out partitions without records.
pub(super) fn is_told(spans: &[TableSpan], entries: &[SpanEntry]) -> bool {
    let spans = spans.iter().filter(|span| span.records > 0);
    let spans = spans.map(|span| SpanEntry {
        partition: span.partition,
        base_offset: span.base_offset,
        next_offset: span.next_offset,
        records: span.records,
        raw_bytes: span.raw_bytes,
        min_timestamp: span.min_timestamp,
        max_timestamp: span.max_timestamp,
    });
    spans.eq(entries.iter().copied())
}

struct StripeRead {
    number: usize,
    /// Neither this stripe nor one behind it needs anything before.
    forget_before: u64,
    /// Where what it needs ends.
    end: u64,
}

fn reading_order(file: &TableFile) -> Vec<StripeRead> {
    let mut forget_before = u64::MAX;
    let numbers = (0..file.stripes().len()).rev();
    let mut order: Vec<_> = numbers
        .map(|number| {
            let ranges = file.audit_ranges(number);
            let start = ranges.first().map_or(0, |range| range.start);
            forget_before = forget_before.min(start);
            StripeRead {
                number,
                forget_before,
                end: ranges.last().map_or(0, |range| range.end),
            }
        })
        .collect();
    order.reverse();
    order
}

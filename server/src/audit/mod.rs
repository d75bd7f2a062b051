//! Checks the bucket against the metadata: every reference resolves, every checksum holds, the offsets of every
//! partition are contiguous and disjoint (I19), and what is published is what was committed (I20).
//!
//! Flow, in the order of what one step needs of those before:
//! 1. `entries`: the metadata, decoded; every commit log is whole.
//! 2. `published`: the manifests that count, with their leaves. From here on it is known which offsets table files answer for.
//! 3. `segments`: every segment, byte by byte. Of records that are published too a `digest` is kept, block by block (`overlap`).
//! 4. `tables`: every table file, byte by byte and row by row (`window`, `rows`), and its rows against those digests.
//! 5. `partitions`: tables, then segments, cover every partition.
//! 6. `orphans`: what nothing refers to is counted.

mod digest;
mod entries;
mod finding;
mod known;
mod orphans;
mod overlap;
mod partitions;
mod published;
mod rows;
mod segments;
mod tables;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeSet, HashSet};

use alluvium_common::object_store::ObjectStore;
use alluvium_metadata::commit_log::LogEntry;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{PartitionRecord, PublishedRecord, TopicRecord};
use alluvium_metadata::store::MetadataStore;

pub use finding::{About, Finding};
use known::Known;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Topics.
    pub topics: usize,
    /// Partitions.
    pub partitions: usize,
    /// Committed segments.
    pub segments: u64,
    /// Objects that hold the commits and footers of many of them.
    pub folds: u64,
    /// Bytes of committed segments.
    pub bytes: u64,
    /// Record batches in them.
    pub batches: u64,
    /// Records in them, control records included.
    pub records: u64,
    /// Segments that a commit log names, and that are not there any more because everything in them is published.
    pub segments_gone: u64,
    /// Topics that are published, however little of them.
    pub topics_published: usize,
    /// Leaves that list older table files for their manifests.
    pub leaves: u64,
    /// Table files that their manifests name, or leaves of these.
    pub tables: u64,
    /// Their bytes.
    pub table_bytes: u64,
    /// Records in them.
    pub table_records: u64,
    /// Those of them that segments still held, too, and that were compared with these.
    pub records_compared: u64,
    /// What is wrong. Empty: nothing.
    pub findings: Vec<Finding>,
    /// Topics that do not exist, of which something is left: deleted, and not cleaned up yet. Harmless; a controller does it.
    pub leftovers: u64,
    /// Objects that nothing names: left by uploads that were repeated or broken off, or replaced by others. Harmless.
    pub orphans: u64,
    /// Their bytes.
    pub orphan_bytes: u64,
}

impl Report {
    fn wrong(&mut self, about: About, what: impl IntoIterator<Item = String>) {
        let findings = what.into_iter().map(|what| Finding { about, what });
        self.findings.extend(findings);
    }
}

/// Checks everything. `progress` is told how many segments and table files are checked, and how many there are.
pub async fn audit(
    metadata: &dyn MetadataStore,
    keys: &Keys,
    objects: &dyn ObjectStore,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let topics = entries::read_all::<TopicRecord>(metadata, keys.topics(), &mut report).await?;
    // Of a topic that cannot be read it is not known what is its.
    let are_topics_known = report.findings.is_empty();
    let partitions =
        entries::read_all::<PartitionRecord>(metadata, keys.partitions(), &mut report).await?;
    let records =
        entries::read_all::<PublishedRecord>(metadata, keys.all_published(), &mut report).await?;
    let entries = entries::read_entries(metadata, keys, &mut report).await?;
    report.topics = topics.len();
    report.partitions = partitions.len();
    let mut known = Known::new(keys, topics, partitions);
    let mut leftovers = match are_topics_known {
        true => known.forget_leftovers(),
        false => BTreeSet::new(),
    };
    let mut referenced = HashSet::new();

    published::check(
        objects,
        keys,
        records,
        &mut known,
        &mut leftovers,
        &mut referenced,
        &mut report,
    )
    .await;
    report.leftovers = leftovers.len() as u64;
    let tables = known.manifests.values().map(|manifest| manifest.tables());
    let tables: u64 = tables.map(|tables| tables.len() as u64).sum();
    let segments: u64 = entries
        .iter()
        .map(|(_, entry)| entry.last_seq() - entry.first_seq() + 1)
        .sum();
    let total = segments + tables;

    let folds = entries.iter().filter_map(|(_, entry)| match entry {
        LogEntry::Fold(fold) => Some(fold.object_key.clone()),
        LogEntry::Commit { .. } | LogEntry::Dropped(_) => None,
    });
    let folds: HashSet<_> = folds.collect();
    report.folds = folds.len() as u64;
    referenced.extend(folds);
    let mut checked = 0;
    let mut step = || {
        checked += 1;
        progress(checked, total);
    };
    let found = segments::check(
        objects,
        &entries,
        &known,
        &mut referenced,
        &mut report,
        &mut step,
    );
    let mut found = found.await;
    tables::check(objects, &known, &found.pieces, &mut report, &mut step).await;
    for (tp, record) in &known.partitions {
        let spans = found.spans.remove(tp).unwrap_or_default();
        let told = partitions::check(*tp, record, known.manifest(*tp), spans);
        report.wrong(About::Partition, told);
    }
    orphans::count(objects, &referenced, &mut report).await?;
    Ok(report)
}

//! Checks the bucket against the metadata: every reference resolves, every checksum holds, the offsets of every
//! partition are contiguous and disjoint (I19).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::restore::RESTORED_BROKER;
use alluvium_common::object_store::{ObjectStore, ObjectStoreExt};
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_compactor::fold::commits_of;
use alluvium_metadata::commit_log::{LogEntry, drop_covered, missing_seq};
use alluvium_metadata::fold::LogId;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{PartitionRecord, TailEntry, TopicRecord};
use alluvium_metadata::store::{KeyRange, MetadataStore, MetadataStoreExt};
use alluvium_metadata::value::{self, StoredRecord};
use alluvium_segment::fold_object::FoldedCommit;
use alluvium_segment::footer::{BlockEntry, Footer};
use alluvium_segment::object_key::{FOLDS_PREFIX, ObjectKey, SEGMENTS_PREFIX};
use alluvium_segment::record_batch;
use alluvium_segment::segment_object::{decode_block, decode_header};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

/// Objects read at the same time. Each is held in memory whole, at most 64 MiB and a batch.
const READS_PARALLEL: usize = 4;

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
    /// What is wrong. Empty: nothing.
    pub findings: Vec<String>,
    /// Objects that no commit names: left by uploads that were repeated or broken off. Harmless.
    pub orphans: u64,
    /// Their bytes.
    pub orphan_bytes: u64,
}

/// Offsets of one partition in one segment, in the order of its commit.
struct Span {
    log: LogId,
    seq: u64,
    base: Offset,
    next: Offset,
}

/// Checks everything. `progress` is told of each segment checked, and of how many there are.
pub async fn audit(
    metadata: &dyn MetadataStore,
    keys: &Keys,
    objects: &dyn ObjectStore,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let topics = read_all::<TopicRecord>(metadata, keys.topics(), &mut report).await?;
    let partitions = read_all::<PartitionRecord>(metadata, keys.partitions(), &mut report).await?;
    let entries = read_entries(metadata, keys, &mut report).await?;
    report.topics = topics.len();
    report.partitions = partitions.len();
    let folds = entries.iter().filter_map(|(_, entry)| match entry {
        LogEntry::Fold(fold) => Some(fold.object_key.clone()),
        LogEntry::Commit { .. } | LogEntry::Dropped(_) => None,
    });
    let mut referenced: HashSet<ObjectKey> = folds.collect();
    report.folds = referenced.len() as u64;

    let mut spans: BTreeMap<TopicPartition, Vec<Span>> = BTreeMap::new();
    let there = |entry: &LogEntry| !matches!(entry, LogEntry::Dropped(_));
    let there = entries.iter().filter(|(_, entry)| there(entry));
    let total = there
        .map(|(_, entry)| entry.last_seq() - entry.first_seq() + 1)
        .sum();
    for (log, entry) in &entries {
        let commits = match commits_of(objects, entry).await {
            Ok(commits) => commits,
            Err(error) => {
                report.findings.push(format!(
                    "commits {} to {} of broker {}, epoch {}: {error}",
                    entry.first_seq(),
                    entry.last_seq(),
                    log.broker_id,
                    log.broker_epoch
                ));
                continue;
            }
        };
        referenced.extend(commits.iter().map(|commit| commit.object_key.clone()));
        let mut checked = stream::iter((entry.first_seq()..).zip(commits))
            .map(|(seq, commit)| async move {
                let outcome = check_segment(objects, &commit).await;
                (seq, commit, outcome)
            })
            .buffered(READS_PARALLEL);
        while let Some((seq, commit, outcome)) = checked.next().await {
            report.segments += 1;
            progress(report.segments, total);
            match outcome {
                Ok(segment) => {
                    report.bytes += commit.size_bytes;
                    report.batches += segment.batches;
                    report.records += segment.records;
                    for span in segment.footer.partitions {
                        spans.entry(span.tp).or_default().push(Span {
                            log: *log,
                            seq,
                            base: span.base_offset,
                            next: span.next_offset,
                        });
                    }
                }
                Err(why) => report
                    .findings
                    .push(format!("segment {}: {why}", commit.object_key)),
            }
        }
    }
    for (key, record) in &partitions {
        if let Some(tp) = keys.parse_partition(key) {
            check_partition(tp, record, spans.get_mut(&tp), &mut report);
        }
    }
    count_orphans(objects, &referenced, &mut report).await?;
    Ok(report)
}

async fn read_all<R: StoredRecord>(
    metadata: &dyn MetadataStore,
    range: KeyRange,
    report: &mut Report,
) -> anyhow::Result<Vec<(Bytes, R)>> {
    let (_, kvs) = metadata.list(range).await?;
    let mut records = Vec::with_capacity(kvs.len());
    for kv in kvs {
        match value::decode(&kv.value) {
            Ok(record) => records.push((kv.key, record)),
            Err(error) => report.findings.push(format!(
                "metadata key {}: {error}",
                String::from_utf8_lossy(&kv.key)
            )),
        }
    }
    Ok(records)
}

/// The entries of all commit logs, log by log. I24: one total order, no gap.
async fn read_entries(
    metadata: &dyn MetadataStore,
    keys: &Keys,
    report: &mut Report,
) -> anyhow::Result<Vec<(LogId, LogEntry)>> {
    let (_, kvs) = metadata.list(keys.all_commits()).await?;
    let mut logs: BTreeMap<LogId, Vec<LogEntry>> = BTreeMap::new();
    for kv in kvs {
        let name = String::from_utf8_lossy(&kv.key);
        let Some((broker_id, broker_epoch, seq)) = keys.parse_commit(&kv.key) else {
            report
                .findings
                .push(format!("metadata key {name} is no commit"));
            continue;
        };
        let log = LogId {
            broker_id,
            broker_epoch,
        };
        match LogEntry::decode(seq, &kv.value) {
            Ok(entry) => logs.entry(log).or_default().push(entry),
            Err(error) => report
                .findings
                .push(format!("metadata key {name}: {error}")),
        }
    }
    let mut all = Vec::new();
    for (log, entries) in logs {
        let entries = drop_covered(entries);
        if let Some(seq) = missing_seq(&entries) {
            report.findings.push(format!(
                "commit log of broker {}, epoch {}: {seq} is missing or stands twice",
                log.broker_id, log.broker_epoch
            ));
        }
        all.extend(entries.into_iter().map(|entry| (log, entry)));
    }
    Ok(all)
}

struct CheckedSegment {
    footer: Footer,
    batches: u64,
    records: u64,
}

async fn check_segment(
    objects: &dyn ObjectStore,
    commit: &FoldedCommit,
) -> anyhow::Result<CheckedSegment> {
    let path = Path::from(commit.object_key.as_str());
    let bytes = objects.get(&path).await?.bytes().await?;
    anyhow::ensure!(
        bytes.len() as u64 == commit.size_bytes,
        "it has {} bytes, {} were committed",
        bytes.len(),
        commit.size_bytes
    );
    decode_header(&bytes)?;
    anyhow::ensure!(
        bytes.ends_with(&commit.footer),
        "its footer is not the one that was committed"
    );
    let footer = commit.decode_footer()?;
    let (mut batches, mut records) = (0, 0);
    for span in &footer.partitions {
        let mut expected = span.base_offset;
        for block in &span.blocks {
            anyhow::ensure!(
                block.base_offset == expected,
                "{}: a block is missing",
                span.tp
            );
            let (b, r) = check_block(&bytes, block)
                .map_err(|error| anyhow::anyhow!("{} at offset {expected}: {error}", span.tp))?;
            batches += b;
            records += r;
            expected = block.next_offset;
        }
        anyhow::ensure!(
            span.next_offset == expected,
            "{}: a block is missing",
            span.tp
        );
    }
    Ok(CheckedSegment {
        footer,
        batches,
        records,
    })
}

fn check_block(object: &Bytes, block: &BlockEntry) -> anyhow::Result<(u64, u64)> {
    let start = usize::try_from(block.position)?;
    let end = start.saturating_add(block.stored_length as usize);
    anyhow::ensure!(end <= object.len(), "the block lies beyond the object");
    let raw = decode_block(block, object.slice(start..end))?;
    let (mut batches, mut records) = (0, 0);
    let mut expected = block.base_offset.get();
    for batch in record_batch::split(&raw) {
        let (header, bytes) = batch?;
        record_batch::check_crc(&bytes)?;
        anyhow::ensure!(
            header.base_offset == expected,
            "a batch begins at {}, not at {expected}",
            header.base_offset
        );
        expected = header.base_offset + i64::from(header.last_offset_delta) + 1;
        batches += 1;
        records += u64::from(header.record_count.unsigned_abs());
    }
    anyhow::ensure!(
        expected == block.next_offset.get(),
        "the block ends at {expected}"
    );
    Ok((batches, records))
}

/// Contiguous and disjoint, in the order of the commit logs that the partition names, from the log start on.
fn check_partition(
    tp: TopicPartition,
    record: &PartitionRecord,
    spans: Option<&mut Vec<Span>>,
    report: &mut Report,
) {
    let Some(spans) = spans else { return };
    let place = |span: &Span| {
        let mut entries = record.tail.iter();
        let entry = entries.position(|entry| entry.names(span.log, span.seq));
        (entry, span.seq)
    };
    spans.sort_by_key(place);
    let named: BTreeSet<LogId> = record.tail.iter().map(log_of).collect();
    let mut expected = None;
    for span in spans.iter() {
        if span.next <= record.log_start {
            continue;
        }
        if place(span).0.is_none() {
            // A restored cluster holds segments of which another leader epoch has superseded a part; those lie in logs
            // that only the partitions with a part in use name.
            if named.contains(&span.log) || span.log.broker_id != RESTORED_BROKER {
                report.findings.push(format!(
                    "partition {tp}: offsets {} to {} stand in a part of a commit log that it does not name",
                    span.base, span.next
                ));
            }
            continue;
        }
        let fits = match expected {
            Some(expected) => span.base == expected,
            None => span.base <= record.log_start,
        };
        if !fits {
            report.findings.push(format!(
                "partition {tp}: offset {} follows offset {}",
                span.base,
                expected.unwrap_or(record.log_start)
            ));
        }
        expected = Some(span.next);
    }
}

fn log_of(entry: &TailEntry) -> LogId {
    LogId {
        broker_id: entry.broker_id,
        broker_epoch: entry.broker_epoch,
    }
}

async fn count_orphans(
    objects: &dyn ObjectStore,
    referenced: &HashSet<ObjectKey>,
    report: &mut Report,
) -> anyhow::Result<()> {
    for prefix in [SEGMENTS_PREFIX, FOLDS_PREFIX] {
        let prefix = Path::from(prefix);
        let mut listing = objects.list(Some(&prefix));
        while let Some(object) = listing.try_next().await? {
            let known = ObjectKey::parse(object.location.as_ref())
                .is_ok_and(|key| referenced.contains(&key));
            if !known {
                report.orphans += 1;
                report.orphan_bytes += object.size;
            }
        }
    }
    Ok(())
}

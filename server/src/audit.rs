//! Checks the bucket against the metadata: every reference resolves, every checksum holds, the offsets of every
//! partition are contiguous and disjoint (I19).

use std::collections::{BTreeMap, HashSet};

use alluvium_common::object_store::{ObjectStore, ObjectStoreExt};
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{CommitRecord, PartitionRecord, TopicRecord};
use alluvium_metadata::store::{KeyRange, MetadataStore, MetadataStoreExt};
use alluvium_metadata::value::{self, StoredRecord};
use alluvium_segment::footer::{BlockEntry, Footer};
use alluvium_segment::object_key::{ObjectKey, SEGMENTS_PREFIX};
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
    broker: i32,
    epoch: i64,
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
    let commits = read_all::<CommitRecord>(metadata, keys.all_commits(), &mut report).await?;
    report.topics = topics.len();
    report.partitions = partitions.len();
    check_commit_logs(keys, &commits, &mut report);

    let mut spans: BTreeMap<TopicPartition, Vec<Span>> = BTreeMap::new();
    let total = commits.len() as u64;
    let mut checked =
        stream::iter(commits.iter().map(|(key, commit)| async move {
            (key, commit, check_segment(objects, commit).await)
        }))
        .buffered(READS_PARALLEL);
    while let Some((key, commit, outcome)) = checked.next().await {
        report.segments += 1;
        progress(report.segments, total);
        match outcome {
            Ok(segment) => {
                report.bytes += commit.size_bytes;
                report.batches += segment.batches;
                report.records += segment.records;
                if let Some((broker, epoch, seq)) = keys.parse_commit(key) {
                    for span in segment.footer.partitions {
                        spans.entry(span.tp).or_default().push(Span {
                            broker: broker.0,
                            epoch: epoch.0,
                            seq,
                            base: span.base_offset,
                            next: span.next_offset,
                        });
                    }
                }
            }
            Err(why) => report
                .findings
                .push(format!("segment {}: {why}", commit.object_key.as_str())),
        }
    }
    drop(checked);
    for (key, record) in &partitions {
        if let Some(tp) = keys.parse_partition(key) {
            check_partition(tp, record, spans.get_mut(&tp), &mut report);
        }
    }
    count_orphans(objects, &commits, &mut report).await?;
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

/// I24: one total order, no gap.
fn check_commit_logs(keys: &Keys, commits: &[(Bytes, CommitRecord)], report: &mut Report) {
    let mut previous = None;
    for (key, _) in commits {
        let Some((broker, epoch, seq)) = keys.parse_commit(key) else {
            report.findings.push(format!(
                "metadata key {} is no commit",
                String::from_utf8_lossy(key)
            ));
            continue;
        };
        if let Some((b, e, s)) = previous
            && (b, e) == (broker, epoch)
            && seq != s + 1
        {
            report.findings.push(format!(
                "commit log of broker {broker}, epoch {epoch}: {seq} follows {s}"
            ));
        }
        previous = Some((broker, epoch, seq));
    }
}

struct CheckedSegment {
    footer: Footer,
    batches: u64,
    records: u64,
}

async fn check_segment(
    objects: &dyn ObjectStore,
    commit: &CommitRecord,
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
    let start = bytes.len().saturating_sub(commit.footer_length as usize);
    let footer = Footer::decode(&bytes[start..])?;
    let (_, crc) = footer.encode()?;
    anyhow::ensure!(
        crc == commit.footer_crc,
        "its footer is not the one that was committed"
    );
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

/// Contiguous and disjoint, in the order of the commit logs that the partition names.
fn check_partition(
    tp: TopicPartition,
    record: &PartitionRecord,
    spans: Option<&mut Vec<Span>>,
    report: &mut Report,
) {
    let Some(spans) = spans else { return };
    let place = |span: &Span| {
        let log = record.tail.iter().position(|entry| {
            (entry.broker_id.0, entry.broker_epoch.0) == (span.broker, span.epoch)
        });
        (log, span.seq)
    };
    spans.sort_by_key(place);
    let mut expected = Offset::ZERO;
    for span in spans.iter() {
        if place(span).0.is_none() {
            report.findings.push(format!(
                "partition {tp}: offsets {} to {} stand in a commit log that it does not name",
                span.base, span.next
            ));
            continue;
        }
        if span.base != expected {
            report.findings.push(format!(
                "partition {tp}: offset {} follows offset {expected}",
                span.base
            ));
        }
        expected = span.next;
    }
}

async fn count_orphans(
    objects: &dyn ObjectStore,
    commits: &[(Bytes, CommitRecord)],
    report: &mut Report,
) -> anyhow::Result<()> {
    let referenced: HashSet<&ObjectKey> = commits.iter().map(|(_, c)| &c.object_key).collect();
    let prefix = Path::from(SEGMENTS_PREFIX);
    let mut listing = objects.list(Some(&prefix));
    while let Some(object) = listing.try_next().await? {
        let known =
            ObjectKey::parse(object.location.as_ref()).is_ok_and(|key| referenced.contains(&key));
        if !known {
            report.orphans += 1;
            report.orphan_bytes += object.size;
        }
    }
    Ok(())
}

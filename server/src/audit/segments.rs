//! Every committed segment: its bytes, and which offsets it holds.

use std::collections::{BTreeMap, HashSet};

use alluvium_common::object_store::{ObjectStore, ObjectStoreExt};
use alluvium_common::topic::TopicPartition;
use alluvium_compactor::fold::commits_of;
use alluvium_metadata::commit_log::LogEntry;
use alluvium_metadata::fold::LogId;
use alluvium_segment::fold_object::FoldedCommit;
use alluvium_segment::footer::{BlockEntry, Footer};
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::record_batch;
use alluvium_segment::segment_object::{decode_block, decode_header};
use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::path::Path;

use super::digest::Piece;
use super::known::Known;
use super::overlap::Published;
use super::partitions::Span;
use super::{About, Report};

/// Objects read at the same time. Each is held in memory whole, at most 64 MiB and a batch.
const READS_PARALLEL: usize = 4;

/// What segments hold.
#[derive(Default)]
pub(super) struct Found {
    /// Of every partition, in any order.
    pub spans: BTreeMap<TopicPartition, Vec<Span>>,
    /// What of it table files must hold too: ascending, none overlapping another.
    pub pieces: BTreeMap<TopicPartition, Vec<Piece>>,
}

/// A commit and its place.
struct Committed {
    log: LogId,
    seq: u64,
    commit: FoldedCommit,
}

/// Checks all segments that `entries` name.
pub(super) async fn check(
    objects: &dyn ObjectStore,
    entries: &[(LogId, LogEntry)],
    known: &Known,
    referenced: &mut HashSet<ObjectKey>,
    report: &mut Report,
    step: &mut impl FnMut(),
) -> Found {
    let mut found = Found::default();
    for (log, entry) in entries {
        // Of a single commit this reads the footer, so that a segment that is missing is a finding whatever it held:
        // entries are dropped before their segments are deleted, and a broker could not read this log either.
        let commits = match commits_of(objects, entry).await {
            Ok(commits) => commits,
            Err(error) => {
                let finding = format!(
                    "commits {} to {} of broker {}, epoch {}: {error}",
                    entry.first_seq(),
                    entry.last_seq(),
                    log.broker_id,
                    log.broker_epoch
                );
                report.wrong(About::Commits, [finding]);
                continue;
            }
        };
        referenced.extend(commits.iter().map(|commit| commit.object_key.clone()));
        let committed = (entry.first_seq()..).zip(commits);
        let mut checked = stream::iter(committed)
            .map(|(seq, commit)| async move {
                let log = *log;
                let committed = Committed { log, seq, commit };
                let outcome = check_segment(objects, known, &committed).await;
                (committed, outcome)
            })
            .buffered(READS_PARALLEL);
        while let Some((committed, outcome)) = checked.next().await {
            step();
            take(committed, outcome, known, &mut found, report);
        }
    }
    for pieces in found.pieces.values_mut() {
        pieces.sort_unstable_by_key(|piece| (piece.offsets.start, piece.offsets.end));
        // Offsets that stand twice are found otherwise.
        pieces.dedup_by(|next, kept| next.offsets.start < kept.offsets.end);
    }
    found
}

fn take(
    committed: Committed,
    outcome: anyhow::Result<CheckedSegment>,
    known: &Known,
    found: &mut Found,
    report: &mut Report,
) {
    let Committed { log, seq, commit } = committed;
    match outcome {
        Ok(segment) => {
            report.segments += 1;
            report.bytes += commit.size_bytes;
            report.batches += segment.batches;
            report.records += segment.records;
            report.wrong(About::Partition, segment.findings);
            for (tp, piece) in segment.pieces {
                found.pieces.entry(tp).or_default().push(piece);
            }
            for span in segment.footer.partitions {
                found.spans.entry(span.tp).or_default().push(Span {
                    log,
                    seq,
                    base: span.base_offset,
                    next: span.next_offset,
                });
            }
        }
        Err(why) if is_missing(&why) && is_published(&commit, known) => report.segments_gone += 1,
        Err(why) => {
            report.segments += 1;
            let finding = format!("segment {}: {why}", commit.object_key);
            report.wrong(About::Segment, [finding]);
        }
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<object_store::Error>();
    matches!(error, Some(object_store::Error::NotFound { .. }))
}

/// Whether table files answer for all that the segment held. Entries are dropped before segments are deleted, so none
/// should name such a segment; but a fold object has its footer, so that nobody needs it.
fn is_published(commit: &FoldedCommit, known: &Known) -> bool {
    commit.decode_footer().is_ok_and(|footer| {
        let mut spans = footer.partitions.iter();
        spans.all(|span| span.next_offset <= known.published_end(span.tp))
    })
}

struct CheckedSegment {
    footer: Footer,
    batches: u64,
    records: u64,
    pieces: Vec<(TopicPartition, Piece)>,
    findings: Vec<String>,
}

async fn check_segment(
    objects: &dyn ObjectStore,
    known: &Known,
    committed: &Committed,
) -> anyhow::Result<CheckedSegment> {
    let Committed { log, seq, commit } = committed;
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
    let mut counts = (0, 0);
    let (mut pieces, mut findings) = (Vec::new(), Vec::new());
    for span in &footer.partitions {
        let mut expected = span.base_offset;
        let is_named = known.names(span.tp, *log, *seq);
        for block in &span.blocks {
            anyhow::ensure!(
                block.base_offset == expected,
                "{}: a block is missing",
                span.tp
            );
            let mut published = is_named
                .then(|| Published::of(span.tp, block, known))
                .flatten();
            let (batches, records) = check_block(&bytes, block, published.as_mut())
                .map_err(|error| anyhow::anyhow!("{} at offset {expected}: {error}", span.tp))?;
            counts = (counts.0 + batches, counts.1 + records);
            if let Some(published) = published {
                findings.extend(published.finding(&commit.object_key, span.tp));
                let found = published.pieces(&commit.object_key);
                pieces.extend(found.map(|piece| (span.tp, piece)));
            }
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
        batches: counts.0,
        records: counts.1,
        pieces,
        findings,
    })
}

fn check_block(
    object: &Bytes,
    block: &BlockEntry,
    mut published: Option<&mut Published>,
) -> anyhow::Result<(u64, u64)> {
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
        if let Some(published) = &mut published {
            published.take(&header, &bytes)?;
        }
    }
    anyhow::ensure!(
        expected == block.next_offset.get(),
        "the block ends at {expected}"
    );
    Ok((batches, records))
}

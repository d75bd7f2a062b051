//! The second pass: table files are written anew, a run of neighbours at a time, without the records that are not wanted.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alluvium_segment::manifest::{Manifest, ManifestContent, TableEntry};
use tracing::info;

use super::cleaning::CleanJob;
use super::cover::{Covered, Pass};
use super::time::CleanTime;
use super::tombstones::marks_after;
use super::verdict::{Judged, Verdict};
use crate::publish::PublishError;
use crate::rewrite::{Keep, Source, replace_tables, rewrite};
use crate::topic_manifest::{Followed, TopicManifest};

/// Files of a run, at most: all are open until it is written.
const RUN_FILES_MAX: usize = 64;

/// Bytes of small files of a run, which are held in memory until it is written.
const RUN_HELD_BYTES_MAX: u64 = 64 << 20;

/// See the module's documentation.
pub struct Writing {
    verdict: Arc<Verdict>,
    /// Table files that are still to be written anew, in the order of the manifest.
    pending: Vec<Arc<TableEntry>>,
    delete_retention_ms: i64,
}

impl Writing {
    /// What the first pass has covered is to be written.
    pub fn begin(before: &Manifest, pass: Pass, delete_retention_ms: i64) -> Self {
        let (map, covered) = pass.end();
        let is_wanted = |table: &&Arc<TableEntry>| {
            let mut spans = table.spans.iter();
            spans.any(|span| {
                let mut covered = covered.iter();
                covered
                    .any(|one| one.dirt.partition == span.partition && span.base_offset < one.end)
            })
        };
        let tables = before.tables().iter();
        Self {
            pending: tables.filter(is_wanted).cloned().collect(),
            verdict: Arc::new(Verdict::new(map, covered)),
            delete_retention_ms,
        }
    }

    /// Writes the next run, and says what is clean when it was the last. Gives the manifest that counts, and what is left.
    pub async fn step(
        mut self,
        job: CleanJob<'_>,
        followed: Followed,
    ) -> Result<(Arc<Manifest>, Option<Self>), PublishError> {
        let before = Arc::clone(job.before()?);
        self.forget_dropped(&before)?;
        let mut content = job.manifest.content();
        if let Some(run) = next_run(before.tables(), &self.pending, job.run_bytes) {
            let tables = &before.tables()[run.clone()];
            let written = run.len();
            let verdict = Arc::clone(&self.verdict);
            let keep: Keep = Arc::new(move |partition, record| verdict.keeps(partition, record));
            let new = rewrite(job.output, job.options, tables, &keep).await?;
            // A run begins with what is pending first, and nothing else is in it.
            self.pending.drain(..written);
            replace_tables(&mut content, run, new);
            for (partition, judged) in self.verdict.partitions() {
                if let Some(published) = content.partitions.get_mut(partition) {
                    let removed_before = &mut published.clean.removed_before;
                    *removed_before = (*removed_before).max(judged.covered.end);
                }
            }
        }
        let is_done = self.pending.is_empty();
        if is_done {
            self.finish(&mut content, job.time)?;
        }
        let manifest = job.manifest.advance(followed, content).await?;
        if is_done {
            self.report(&job.manifest);
        }
        Ok((manifest, (!is_done).then_some(self)))
    }

    /// Files may be gone because all in them was deleted. When they were joined with others, what was learned of them does
    /// not help any more.
    fn forget_dropped(&mut self, before: &Manifest) -> Result<(), PublishError> {
        let judged = self.verdict.partitions();
        let is_elsewhere = |table: &TableEntry| {
            let mut spans = table.spans.iter();
            spans.any(|span| {
                let mut found = before.spans_from(span.partition, span.base_offset);
                let found = found.next().map(|found| found.span.base_offset);
                judged.contains_key(&span.partition)
                    && found.is_some_and(|base| base < span.next_offset)
            })
        };
        let named = before.tables().iter().map(|table| &table.object_key);
        let named: HashSet<_> = named.collect();
        let (there, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|table| named.contains(&table.object_key));
        self.pending = there;
        match gone.iter().any(|table| is_elsewhere(table)) {
            true => Err(PublishError::Superseded),
            false => Ok(()),
        }
    }

    /// Says what is clean.
    fn finish(&self, content: &mut ManifestContent, time: CleanTime) -> Result<(), PublishError> {
        for (partition, judged) in self.verdict.partitions() {
            let Covered { dirt, end, .. } = &judged.covered;
            let Some(published) = content.partitions.get_mut(partition) else {
                return Err(PublishError::Superseded);
            };
            let clean = &mut published.clean;
            if clean.next_offset > dirt.from {
                return Err(PublishError::Superseded);
            }
            clean.next_offset = *end;
            clean.removed_before = clean.removed_before.max(*end);
            clean.raw_bytes = judged.kept_bytes();
            clean.tombstones = marks_after(
                &clean.tombstones,
                dirt.horizon,
                *end,
                judged.new_tombstones.load(Ordering::Relaxed) > 0,
                time,
                self.delete_retention_ms,
            );
            let spans = content.tables.iter().flat_map(|table| &table.spans);
            let dirty =
                spans.filter(|span| span.partition == *partition && span.next_offset > *end);
            let dirty: Vec<_> = dirty.collect();
            // Of a span that is dirty in part, the oldest timestamp may be that of a clean record.
            if dirty.iter().all(|span| span.base_offset >= *end) {
                clean.dirty_since_ms = None;
                for span in dirty {
                    clean.add_dirty(span.min_timestamp);
                }
            }
        }
        Ok(())
    }

    fn report(&self, manifest: &TopicManifest<'_>) {
        let metrics = &manifest.with.metrics.clean;
        let sum = |of: fn(&Judged) -> u64| self.verdict.partitions().values().map(of).sum::<u64>();
        let records = sum(|one| one.records.load(Ordering::Relaxed));
        let removed = sum(|one| one.removed_records.load(Ordering::Relaxed));
        let removed_bytes = sum(|one| one.removed_bytes.load(Ordering::Relaxed));
        metrics.passes.inc();
        metrics.records.inc_by(records);
        metrics
            .bytes
            .inc_by(sum(|one| one.bytes.load(Ordering::Relaxed)));
        metrics.removed_records.inc_by(removed);
        metrics.removed_bytes.inc_by(removed_bytes);
        let mut partitions = self.verdict.partitions().values();
        if partitions.any(|one| one.covered.end < one.covered.dirt.to) {
            metrics.partial_passes.inc();
        }
        info!(
            topic_id = %manifest.topic_id,
            partitions = self.verdict.partitions().len(),
            keys = self.verdict.keys(),
            records,
            removed,
            removed_bytes,
            "cleaned"
        );
    }
}

impl Judged {
    fn kept_bytes(&self) -> u64 {
        let bytes = self.bytes.load(Ordering::Relaxed);
        bytes.saturating_sub(self.removed_bytes.load(Ordering::Relaxed))
    }
}

/// The first neighbours that are to be written anew, as many as are within the limits: one at least. Both lists are in the
/// order of the manifest.
fn next_run(
    tables: &[Arc<TableEntry>],
    pending: &[Arc<TableEntry>],
    run_bytes: u64,
) -> Option<Range<usize>> {
    let first = pending.first()?;
    let start = tables
        .iter()
        .position(|table| table.object_key == first.object_key)?;
    let (mut bytes, mut held_bytes) = (0, 0);
    let both = tables[start..].iter().zip(pending);
    let run = both.enumerate().take_while(|(number, (table, next))| {
        bytes += table.size_bytes;
        held_bytes += Source::held_bytes(table);
        let fits = bytes <= run_bytes && held_bytes <= RUN_HELD_BYTES_MAX;
        table.object_key == next.object_key && (*number == 0 || (fits && *number < RUN_FILES_MAX))
    });
    Some(start..start + run.count())
}

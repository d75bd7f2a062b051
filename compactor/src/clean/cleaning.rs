//! One cleaning of a topic, from the first pass to the manifest that says what is clean.
//!
//! Both passes are done in steps, so that publishing need not wait for all of it.
//!
//! The second pass writes table files anew, a run of neighbours at a time, and lets each run count before the next: every
//! manifest in between names only records that were there, and for each key the latest. The last one says what is clean.
//! A cleaning that ends before that has done no harm, and is begun again.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alluvium_common::background::BackgroundThreads;
use alluvium_common::topic::TopicId;
use alluvium_segment::manifest::{Manifest, ManifestContent, TableEntry};
use alluvium_table::TableOptions;
use tracing::info;

use super::cover::{CoverSeams, Covered, Pass};
use super::map::OffsetMap;
use super::plan::Dirt;
use super::time::CleanTime;
use super::tombstones::marks_after;
use super::verdict::{Judged, Verdict};
use crate::publish::PublishError;
use crate::rewrite::{Keep, Source, replace_tables, rewrite};
use crate::tables::TableOutputSeams;
use crate::topic_manifest::{Followed, TopicManifest};

/// Files of a run, at most: all are open until it is written.
const RUN_FILES_MAX: usize = 64;

/// Bytes of small files of a run, which are held in memory until it is written.
const RUN_HELD_BYTES_MAX: u64 = 64 << 20;

/// What a step works with.
pub struct CleanJob<'a> {
    /// The topic, and its manifest that counts.
    pub manifest: TopicManifest<'a>,
    /// How table files are written.
    pub options: &'a TableOptions,
    /// With what.
    pub output: TableOutputSeams<'a>,
    /// Where keys are decoded.
    pub threads: &'a BackgroundThreads,
    /// Bytes of table files that are read for their keys at a time.
    pub cover_bytes: u64,
    /// Bytes of table files that are written anew at a time.
    pub run_bytes: u64,
    /// What time it is.
    pub time: CleanTime,
}

/// See the module's documentation.
pub struct Cleaning {
    /// Of which topic.
    pub topic_id: TopicId,
    delete_retention_ms: i64,
    stage: Stage,
}

enum Stage {
    /// The first pass.
    Cover(Pass),
    /// The second.
    Write(Writing),
}

struct Writing {
    verdict: Arc<Verdict>,
    /// Table files that are still to be written anew, in the order of the manifest.
    pending: Vec<Arc<TableEntry>>,
    delete_retention_ms: i64,
}

/// What a step came to.
pub struct Stepped {
    /// The manifest that counts now.
    pub manifest: Arc<Manifest>,
    /// What is left to do.
    pub rest: Option<Cleaning>,
}

impl Cleaning {
    /// Nothing is read yet.
    pub fn begin(
        job: &CleanJob<'_>,
        dirt: Vec<Dirt>,
        map: OffsetMap,
        delete_retention_ms: i64,
    ) -> Result<Self, PublishError> {
        let before = before(job)?;
        Ok(Self {
            topic_id: job.manifest.topic_id,
            stage: Stage::Cover(Pass::begin(before, dirt, map)),
            delete_retention_ms,
        })
    }

    /// Reads the next keys, or writes the next files anew, or says that all is clean when these were the last.
    pub async fn step(self, job: CleanJob<'_>) -> Result<Stepped, PublishError> {
        let followed = job.manifest.begin().await?;
        let writing = match self.stage {
            Stage::Write(writing) => writing,
            Stage::Cover(mut pass) => {
                let with = CoverSeams {
                    objects: &job.manifest.with.objects,
                    threads: job.threads,
                    metrics: &job.manifest.with.metrics.clean,
                };
                if !pass.step(&with, job.cover_bytes).await? {
                    return Ok(Stepped {
                        manifest: Arc::clone(before(&job)?),
                        rest: Some(Self {
                            stage: Stage::Cover(pass),
                            ..self
                        }),
                    });
                }
                Writing::begin(before(&job)?, pass, self.delete_retention_ms)
            }
        };
        let (manifest, rest) = writing.step(job, followed).await?;
        Ok(Stepped {
            manifest,
            rest: rest.map(|writing| Self {
                stage: Stage::Write(writing),
                ..self
            }),
        })
    }
}

fn before<'a>(job: &'a CleanJob<'_>) -> Result<&'a Arc<Manifest>, PublishError> {
    let before = job.manifest.before.as_ref();
    before.ok_or(PublishError::Superseded)
}

impl Writing {
    fn begin(before: &Manifest, pass: Pass, delete_retention_ms: i64) -> Self {
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

    async fn step(
        mut self,
        job: CleanJob<'_>,
        followed: Followed,
    ) -> Result<(Arc<Manifest>, Option<Self>), PublishError> {
        let before = Arc::clone(before(&job)?);
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
        }
        let is_done = self.pending.is_empty();
        if is_done {
            self.finish(&mut content, job.time)?;
        }
        let manifest = job.manifest.advance(followed, content, None).await?;
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

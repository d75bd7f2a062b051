//! Folding commit logs: see `alluvium_metadata::fold` for what a fold is and why it is safe.
//!
//! Flow of one pass over a log: read its keys, plan, read what the run stands for, PUT the fold object under a new name,
//! replace the entries; again until nothing is due. `LogKeeper::keep_own_log` does that for the log of the broker's own
//! session after every so many commits, beside the commit path and never in its way; `LogKeeper::keep_frozen_logs` is the
//! controller's: it drops logs that nothing needs and folds those that are frozen.

mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use alluvium_common::clock::SharedClock;
use alluvium_common::rand::SharedRandom;
use alluvium_metadata::commit_log::{LogEntry, ReadCommitsError};
use alluvium_metadata::fold::{
    FoldLimits, LogId, LogState, ReplaceError, Replaced, plan_folds, read_log, replace,
};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::FoldRecord;
use alluvium_metadata::store::{Compare, MetadataStore};
use alluvium_segment::FormatError;
use alluvium_segment::fold_object::FoldBuilder;
use alluvium_segment::object_key::{ObjectKey, SegmentName};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::put::{PutError, put};
pub(crate) use read::checked;
pub use read::{ReadError, commits_of};

/// Entries read at the same time: few, since nobody waits. Folds are some mebibytes each.
const READS_PARALLEL_MAX: usize = 4;
/// Passes over one log in a row: every level of a log that was never folded, and more.
const PASSES_MAX: usize = 1000;
/// Why a log was not folded. Nothing is lost: it only stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadCommitsError),
    /// What it stands for could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The fold object could not be made.
    #[error("a fold object cannot be made: {0}")]
    Encode(#[from] FormatError),
    /// The fold object could not be put.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The entries could not be replaced, or it is unknown whether they were.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
}

/// What folding does.
#[derive(Debug, Clone, Default)]
pub struct FoldMetrics {
    folds: Counter,
    folded_entries: Counter,
    put_bytes: Counter,
    dropped_logs: Counter,
    errors: Counter,
}

impl FoldMetrics {
    /// Registers the metrics, all beginning with `fold_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("fold");
        let counters = [
            (
                "runs",
                "Runs of commit logs folded into one entry",
                &metrics.folds,
            ),
            (
                "entries",
                "Entries of commit logs that were folded",
                &metrics.folded_entries,
            ),
            ("put_bytes", "Bytes of fold objects put", &metrics.put_bytes),
            (
                "dropped_logs",
                "Commit logs dropped that nothing needed",
                &metrics.dropped_logs,
            ),
            (
                "errors",
                "Attempts to fold that failed and are made again",
                &metrics.errors,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// So many logs were dropped as a whole.
    pub(crate) fn count_dropped_logs(&self, logs: usize) {
        self.dropped_logs.inc_by(logs as u64);
    }

    /// An attempt failed.
    pub(crate) fn count_error(&self) {
        self.errors.inc();
    }
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Nothing more is due. So many folds were made.
    Done(usize),
    /// The fence does not hold any more, or another folder is at work.
    Refused,
}

/// Folds commit logs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Metadata.
    pub store: Arc<dyn MetadataStore>,
    /// Its keys.
    pub keys: Keys,
    /// The bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// For the date in fold objects.
    pub clock: SharedClock,
    /// For their names.
    pub random: SharedRandom,
    /// What is counted.
    pub metrics: FoldMetrics,
}

impl Folder {
    /// Folds what is due of the entries of `log` below sequence `end` (all of them: `u64::MAX`), as long as all of
    /// `fence` holds.
    pub async fn fold_log(
        &self,
        log: LogId,
        end: u64,
        limits: &FoldLimits,
        fence: &[Compare],
    ) -> Result<Pass, FoldError> {
        let mut folds = 0;
        for _ in 0..PASSES_MAX {
            let mut state = read_log(&*self.store, &self.keys, log).await?;
            let known = state
                .entries
                .partition_point(|entry| entry.last_seq() < end);
            state.entries.truncate(known);
            let Some(run) = plan_folds(&state.entries, limits) else {
                break;
            };
            let record = self
                .make_object(&state, &state.entries[run.clone()])
                .await?;
            let entries = run.len() as u64;
            match replace(&*self.store, &self.keys, &state, run, &record, fence).await? {
                Replaced::Refused => return Ok(Pass::Refused),
                Replaced::Done => folds += 1,
            }
            self.metrics.folds.inc();
            self.metrics.folded_entries.inc_by(entries);
        }
        Ok(Pass::Done(folds))
    }

    async fn make_object(
        &self,
        state: &LogState,
        run: &[LogEntry],
    ) -> Result<FoldRecord, FoldError> {
        let first_seq = run.first().map_or(0, LogEntry::first_seq);
        let last_seq = run.last().map_or(first_seq, LogEntry::last_seq);
        let LogId {
            broker_id,
            broker_epoch,
        } = state.log;
        let now_ms = self.clock.now_ms();
        let mut builder = FoldBuilder::new(broker_id, broker_epoch, first_seq, now_ms);
        let mut read = futures::stream::iter(run.to_vec())
            .map(|entry| {
                let objects = Arc::clone(&self.objects);
                async move { commits_of(&*objects, &entry).await }
            })
            .buffered(READS_PARALLEL_MAX);
        while let Some(commits) = read.try_next().await? {
            for commit in &commits {
                builder.push(commit)?;
            }
            // Compression is CPU work of some milliseconds per mebibyte; others get their turn between.
            tokio::task::yield_now().await;
        }
        drop(read);
        let object = builder.finish()?;
        let object_key = ObjectKey::fold(&SegmentName {
            broker_id,
            broker_epoch,
            id: self.random.uuid(),
        });
        let record = FoldRecord {
            object_key,
            size_bytes: object.size_bytes,
            index_length: object.index_length,
            index_crc: object.index_crc,
            first_seq,
            last_seq,
        };
        put(&*self.objects, &record.object_key, object).await?;
        self.metrics.put_bytes.inc_by(record.size_bytes);
        Ok(record)
    }
}

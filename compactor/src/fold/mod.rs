//! Folding commit logs: see `alluvium_metadata::fold` for what a fold is and why it is safe.
//!
//! Flow of one pass over a log: read its keys, plan, read what the run stands for, PUT the fold object under a new name,
//! replace the entries; again until nothing is due. [`Folder::keep_own_log`] does that for the log of the broker's own
//! session after every so many commits, beside the commit path and never in its way; [`Folder::tend_frozen_logs`] is the
//! controller's: it drops logs that nothing needs and folds those that are frozen.

mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::SharedClock;
use alluvium_common::rand::SharedRandom;
use alluvium_metadata::commit_log::{LogEntry, ReadCommitsError};
use alluvium_metadata::fold::{
    DropError, FoldLimits, LogId, LogState, ReplaceError, Replaced, drop_unneeded, overview,
    plan_folds, read_log, replace, unneeded_logs,
};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::FoldRecord;
use alluvium_metadata::store::{Compare, Comparison, MetadataStore, Revision, Target};
use alluvium_segment::FormatError;
use alluvium_segment::fold_object::FoldBuilder;
use alluvium_segment::object_key::{ObjectKey, SegmentName};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::put::{PutError, put};
pub(crate) use read::checked;
pub use read::{ReadError, commits_of};

/// Entries read at the same time: few, since nobody waits. Folds are some mebibytes each.
const READS_PARALLEL_MAX: usize = 4;
/// Passes over one log in a row: every level of a log that was never folded, and more.
const PASSES_MAX: usize = 1000;
/// Pause after a pass that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(30);

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
    /// Logs could not be found or dropped.
    #[error(transparent)]
    Drop(#[from] DropError),
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

    /// Folds the log of this broker's own session whenever `every` more commits are acknowledged. `fence` is the
    /// session's (F1). Ends when the session is over; drop it to end it before.
    pub async fn keep_own_log(
        &self,
        log: LogId,
        mut acknowledged: watch::Receiver<u64>,
        every: u64,
        fence: Compare,
    ) {
        let mut next = every;
        loop {
            let Ok(end) = acknowledged
                .wait_for(|end| *end >= next)
                .await
                .map(|end| *end)
            else {
                return;
            };
            let fence = std::slice::from_ref(&fence);
            match self.fold_log(log, end, &FoldLimits::GROWING, fence).await {
                Ok(Pass::Done(_)) => next = end + every,
                Ok(Pass::Refused) => {
                    info!(
                        "the commit log of this session is not folded any more: the session is over"
                    );
                    return;
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// One round of the controller's: drops logs that nothing needs and folds those that are frozen (F2). `fence` is
    /// the controller's own (F5). Returns what it did: logs dropped, folds made.
    pub async fn tend_frozen_logs(&self, fence: &[Compare]) -> Result<(usize, usize), FoldError> {
        let seen = overview(&*self.store, &self.keys).await?;
        let unneeded = unneeded_logs(&seen);
        let dropped = drop_unneeded(&*self.store, &self.keys, &unneeded, fence).await?;
        self.metrics.dropped_logs.inc_by(dropped.logs as u64);
        if dropped.refused {
            return Ok((dropped.logs, 0));
        }
        let mut folds = 0;
        for log in seen.frozen().filter(|log| !unneeded.contains(log)) {
            let mut fence = fence.to_vec();
            fence.push(session_is_over(&self.keys, log));
            match self
                .fold_log(log, u64::MAX, &FoldLimits::FROZEN, &fence)
                .await
            {
                Ok(Pass::Done(made)) => folds += made,
                Ok(Pass::Refused) => break,
                // One log that cannot be read does not keep the others from being folded.
                Err(error) => {
                    self.metrics.errors.inc();
                    warn!(broker_id = %log.broker_id, broker_epoch = %log.broker_epoch, %error, "a commit log cannot be folded");
                }
            }
        }
        Ok((dropped.logs, folds))
    }

    /// [`Self::tend_frozen_logs`] every `pause` while this process is the controller: `fence` gives the controller's
    /// comparisons then, and `None` otherwise. Never ends; drop it to end it.
    pub async fn keep_frozen_logs(
        &self,
        pause: Duration,
        fence: impl Fn() -> Option<Vec<Compare>> + Send,
    ) {
        loop {
            tokio::time::sleep(pause).await;
            let Some(fence) = fence() else { continue };
            match self.tend_frozen_logs(&fence).await {
                Ok((0, 0)) => {}
                Ok((dropped, folds)) => {
                    info!(dropped, folds, "tended the commit logs of former sessions")
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }

    async fn failed(&self, error: &FoldError) {
        self.metrics.errors.inc();
        warn!(%error, "commit logs could not be folded; it is tried again");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Holds once the session of `log` is over, and then for ever.
fn session_is_over(keys: &Keys, log: LogId) -> Compare {
    let epoch = Revision(log.broker_epoch.0.unsigned_abs());
    let created = Target::CreateRevision(epoch);
    Compare::new(keys.broker(log.broker_id), Comparison::NotEqual, created)
}

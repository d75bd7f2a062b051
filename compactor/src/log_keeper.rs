//! Keeps commit logs short: drops from their start what nothing needs, and folds the rest.
//!
//! The broker does so with the log of its own session while it goes on committing at the log's other end; the controller
//! does it with the logs of sessions that are over. So of one log only one task drops and folds.

use std::time::Duration;

use alluvium_metadata::fold::{
    DropError, FoldLimits, LogId, drop_unneeded, overview, unneeded_logs,
};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::store::{Compare, Comparison, Revision, Target};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::fold::{FoldError, Folder, Pass};
use crate::reclaim::Reclaimer;

/// Pause after a pass that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(30);

/// Why logs were not kept short. Nothing is lost: they only stay as they were.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Logs could not be found or dropped as a whole.
    #[error(transparent)]
    Drop(#[from] DropError),
    /// A log could not be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// What a round over the logs of former sessions did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tended {
    /// Logs dropped as a whole.
    pub dropped_logs: usize,
    /// Entries dropped from the start of others.
    pub dropped_entries: usize,
    /// Folds made.
    pub folds: usize,
}

/// See the module's documentation.
pub struct LogKeeper {
    /// Folds.
    pub folder: Folder,
    /// Drops.
    pub reclaimer: Reclaimer,
    /// How often logs are looked at when little is committed: something of them may be published meanwhile.
    pub look_pause: Duration,
}

impl LogKeeper {
    /// Keeps the log of this broker's own session. `acknowledged`: how many of its entries are known to stand; it is
    /// looked at whenever `every` more are. `fence` is the session's (F1). Ends when the session is over; drop it to end
    /// it before.
    pub async fn keep_own_log(
        mut self,
        log: LogId,
        mut acknowledged: watch::Receiver<u64>,
        every: u64,
        fence: Compare,
    ) {
        let fence = [fence];
        let mut next = every;
        loop {
            let more = acknowledged.wait_for(|end| *end >= next);
            // The time may pass with no more: then what there is, is looked at.
            if let Ok(Err(_)) = tokio::time::timeout(self.look_pause, more).await {
                return;
            }
            let end = *acknowledged.borrow();
            match self.keep(log, end, &FoldLimits::GROWING, &fence).await {
                Ok((_, Pass::Done(_))) => next = end + every,
                Ok((_, Pass::Refused)) => {
                    info!("the commit log of this session is kept no longer: the session is over");
                    return;
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// Drops and folds what is due of the entries of `log` below `end`.
    async fn keep(
        &mut self,
        log: LogId,
        end: u64,
        limits: &FoldLimits,
        fence: &[Compare],
    ) -> Result<(usize, Pass), KeepError> {
        let dropped = match self.reclaimer.reclaim(log, end, fence).await {
            Ok(dropped) => dropped,
            Err(error) => {
                // What is published of one topic cannot be known now: no reason not to fold.
                self.folder.metrics.count_error();
                warn!(broker_id = %log.broker_id, broker_epoch = %log.broker_epoch, %error, "the start of a commit log cannot be dropped; it is tried again");
                0
            }
        };
        let folded = self.folder.fold_log(log, end, limits, fence).await?;
        Ok((dropped, folded))
    }

    /// One round of the controller's: drops logs that nothing names, and keeps those that are frozen (F2). `fence` is
    /// the controller's own (F5).
    ///
    /// # Errors
    /// The logs cannot be found. One that cannot be kept does not keep the others from it.
    pub async fn tend_frozen_logs(&mut self, fence: &[Compare]) -> Result<Tended, KeepError> {
        let (store, keys) = (self.folder.store.clone(), self.folder.keys.clone());
        let seen = overview(&*store, &keys).await?;
        self.reclaimer.retain(|log| seen.logs.contains(log));
        let unneeded = unneeded_logs(&seen);
        let dropped = drop_unneeded(&*store, &keys, &unneeded, fence).await?;
        self.folder.metrics.count_dropped_logs(dropped.logs);
        let mut tended = Tended {
            dropped_logs: dropped.logs,
            ..Tended::default()
        };
        if dropped.refused {
            return Ok(tended);
        }
        for log in seen.frozen().filter(|log| !unneeded.contains(log)) {
            let mut fence = fence.to_vec();
            fence.push(session_is_over(&keys, log));
            let kept = self.keep(log, u64::MAX, &FoldLimits::FROZEN, &fence).await;
            match kept {
                Ok((entries, pass)) => {
                    tended.dropped_entries += entries;
                    match pass {
                        Pass::Done(made) => tended.folds += made,
                        Pass::Refused => break,
                    }
                }
                Err(error) => {
                    self.folder.metrics.count_error();
                    warn!(broker_id = %log.broker_id, broker_epoch = %log.broker_epoch, %error, "a commit log cannot be kept short");
                }
            }
        }
        Ok(tended)
    }

    /// [`Self::tend_frozen_logs`] while this process is the controller: `fence` gives the controller's comparisons then, and
    /// `None` otherwise. Never ends; drop it to end it.
    pub async fn keep_frozen_logs(mut self, fence: impl Fn() -> Option<Vec<Compare>> + Send) {
        loop {
            tokio::time::sleep(self.look_pause).await;
            let Some(fence) = fence() else { continue };
            match self.tend_frozen_logs(&fence).await {
                Ok(tended) if tended == Tended::default() => {}
                Ok(tended) => info!(?tended, "tended the commit logs of former sessions"),
                Err(error) => self.failed(&error).await,
            }
        }
    }

    async fn failed(&self, error: &KeepError) {
        self.folder.metrics.count_error();
        warn!(%error, "commit logs could not be kept short; it is tried again");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Holds once the session of `log` is over, and then for ever.
fn session_is_over(keys: &Keys, log: LogId) -> Compare {
    let epoch = Revision(log.broker_epoch.0.unsigned_abs());
    let created = Target::CreateRevision(epoch);
    Compare::new(keys.broker(log.broker_id), Comparison::NotEqual, created)
}

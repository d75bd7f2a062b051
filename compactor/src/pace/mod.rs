//! The pace of compaction: how many bytes a second a process reads from and writes to the bucket for it, so that live
//! traffic comes first.
//!
//! Two reasons to wait: a limit that is configured, and uploads of the same process that lag behind, as when the bucket is
//! slow or away. While these lag compaction goes on at a trickle: it never stands still for as long as producers write a
//! lot, and leaves nearly all that the bucket can do to them.
//!
//! Waits are bounded by what others have taken before, some hundred mebibytes at most, at the rate of the moment.

mod budget;
mod metrics;
mod objects;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use budget::{Budget, Turn};
pub use metrics::PaceMetrics;
pub(crate) use objects::PacedObjects;

/// The smallest limit, in bytes a second: with less, what is read and written at a time would take minutes.
pub const LIMIT_MIN: u64 = 1 << 20;

/// What passes while uploads lag, in bytes a second: little beside uploads, and enough for a topic that is asked for.
pub const TRICKLE: u64 = 4 << 20;

/// See the module's documentation. Shared by all who read and write for compaction.
#[derive(Debug)]
pub struct Pace {
    limit: Option<u64>,
    lag: Option<watch::Receiver<bool>>,
    budget: Mutex<Budget>,
    metrics: PaceMetrics,
}

impl Pace {
    /// At most `limit` bytes a second, if there is a limit; and a trickle while `lag` says that uploads of this process
    /// lag behind, if it has any.
    pub fn new(
        limit: Option<u64>,
        lag: Option<watch::Receiver<bool>>,
        metrics: PaceMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            limit,
            lag,
            budget: Mutex::new(Budget::new(Instant::now())),
            metrics,
        })
    }

    /// Nobody waits.
    pub fn unlimited() -> Arc<Self> {
        Self::new(None, None, PaceMetrics::default())
    }

    /// Waits until so many bytes may be read or written. Whoever gives up waiting has taken them all the same.
    pub async fn take(&self, bytes: u64) {
        let mut lag = self.lag.clone();
        let mut turn = None;
        loop {
            let lags = lag.as_mut().is_some_and(|lag| *lag.borrow_and_update());
            let began = Instant::now();
            let Some(due) = self.due(&mut turn, bytes, lags, began) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = changed(&mut lag) => {}
            }
            self.metrics.waited(lags, began.elapsed());
        }
    }

    /// When a turn, which is taken now if it is not yet, comes; `None`: now.
    fn due(
        &self,
        turn: &mut Option<Turn>,
        bytes: u64,
        lags: bool,
        now: Instant,
    ) -> Option<Instant> {
        let rate = match lags {
            true => Some(self.limit.map_or(TRICKLE, |limit| limit.min(TRICKLE))),
            false => self.limit,
        };
        let mut budget = self.budget.lock();
        budget.set_rate(rate, now);
        let turn = turn.get_or_insert_with(|| budget.take(bytes));
        budget.due(*turn, now)
    }
}

/// Whoever uploads may be gone: then nothing changes any more.
async fn changed(lag: &mut Option<watch::Receiver<bool>>) {
    if let Some(lag) = lag
        && lag.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

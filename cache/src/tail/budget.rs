//! One limit for the memory of all tails together.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use alluvium_common::offset::Offset;
use parking_lot::Mutex;

use super::PartitionTail;
use crate::metrics::TailMetrics;

/// Default of [`TailBudget::new`], in bytes: a second of 64 MB/s, which keeps consumers that follow
/// closely in memory. Nothing of it is taken before records arrive.
pub const TAIL_BUDGET_BYTES_DEFAULT: usize = 64 << 20;

/// Bytes that all tails of a broker may hold in memory. Above it, the batches that were uploaded
/// first leave first; when none is left, those that the write-ahead log holds are spilled.
/// Batches that are in neither place stay: the write path's own budget bounds them.
pub struct TailBudget {
    limit_bytes: usize,
    resident_bytes: AtomicUsize,
    queues: Mutex<Queues>,
    metrics: TailMetrics,
}

/// Tails asked to spill in one go. More would let one append pay for thousands of idle partitions.
const SPILL_CANDIDATES_MAX: usize = 16;

/// Length of the uploaded queue from which stale elements are looked for.
const PRUNE_LENGTH_MIN: usize = 1024;

/// Who can give memory back, oldest first. Both are bounded: `uploaded` by twice the batches in
/// memory (each element stands for at least one when it is added; stale ones are pruned whenever the
/// queue has doubled), `spillable` by the number of tails.
#[derive(Default)]
struct Queues {
    uploaded: VecDeque<(Weak<PartitionTail>, Offset)>,
    prune_length: usize,
    spillable: VecDeque<Weak<PartitionTail>>,
}

impl Queues {
    /// Takes out what was dropped by other means: log start moves, closed and deleted partitions.
    fn prune(&mut self) {
        if self.uploaded.len() < self.prune_length.max(PRUNE_LENGTH_MIN) {
            return;
        }
        self.uploaded
            .retain(|(tail, below)| tail.upgrade().is_some_and(|tail| tail.holds_below(*below)));
        self.prune_length = 2 * self.uploaded.len();
    }
}

impl TailBudget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize, metrics: TailMetrics) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            resident_bytes: AtomicUsize::new(0),
            queues: Mutex::default(),
            metrics,
        })
    }

    /// Bytes of batches in memory now.
    pub fn resident_bytes(&self) -> usize {
        self.resident_bytes.load(Ordering::Relaxed)
    }

    /// The limit in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub(super) fn charge(&self, bytes: usize) {
        let now = self.resident_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.metrics.resident_bytes.set(now as i64);
    }

    pub(super) fn release(&self, bytes: usize) {
        if bytes > 0 {
            let before = self.resident_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.metrics.resident_bytes.set((before - bytes) as i64);
        }
    }

    pub(super) fn offer_to_evict(&self, tail: &Arc<PartitionTail>, below: Offset) {
        let mut queues = self.queues.lock();
        queues.prune();
        queues.uploaded.push_back((Arc::downgrade(tail), below));
    }

    pub(super) fn offer_to_spill(&self, tail: &Arc<PartitionTail>) {
        self.queues.lock().spillable.push_back(Arc::downgrade(tail));
    }

    /// Gives memory back until the limit holds or nobody can give any. Called without any tail's
    /// lock.
    pub(super) fn evict(&self) {
        loop {
            let needed = self.resident_bytes().saturating_sub(self.limit_bytes);
            if needed == 0 || !(self.evict_oldest_uploaded(needed) || self.spill_some(needed)) {
                return;
            }
        }
    }

    /// False when there is none.
    fn evict_oldest_uploaded(&self, needed: usize) -> bool {
        let Some((candidate, below)) = self.queues.lock().uploaded.pop_front() else {
            return false;
        };
        if let Some(tail) = candidate.upgrade() {
            let (bytes, again) = tail.evict_uploaded(below, needed);
            self.metrics.evicted_bytes.inc_by(bytes as u64);
            if again {
                self.queues.lock().uploaded.push_front((candidate, below));
            }
        }
        true
    }

    /// Asks candidates, oldest first, until one gives memory. False when none does: what they hold
    /// is not durable yet, and they stay candidates.
    fn spill_some(&self, needed: usize) -> bool {
        for _ in 0..SPILL_CANDIDATES_MAX {
            let Some(candidate) = self.queues.lock().spillable.pop_front() else {
                return false;
            };
            let Some(tail) = candidate.upgrade() else {
                continue;
            };
            let (bytes, again) = tail.spill(needed);
            if again {
                self.queues.lock().spillable.push_back(candidate);
            }
            if bytes > 0 {
                self.metrics.spilled_bytes.inc_by(bytes as u64);
                return true;
            }
        }
        false
    }
}

impl std::fmt::Debug for TailBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TailBudget")
            .field("limit_bytes", &self.limit_bytes)
            .field("resident_bytes", &self.resident_bytes())
            .finish_non_exhaustive()
    }
}

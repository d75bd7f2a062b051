//! What becomes durable, and who is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use alluvium_cache::tail::CloseReason;
use alluvium_common::error::Outcome;
use alluvium_common::offset::Offset;

use super::{Closed, LeaderPartition, State};
use crate::error::AppendError;

/// Told by the write-ahead log what became of one batch.
#[derive(Debug)]
pub struct WalDone {
    partition: Arc<LeaderPartition>,
    next_offset: Offset,
}

impl WalDone {
    pub(crate) fn new(partition: Arc<LeaderPartition>, next_offset: Offset) -> Self {
        Self {
            partition,
            next_offset,
        }
    }

    /// The batches are synced. Neighbours of one partition are settled together, so that a group
    /// commit moves a busy partition's high watermark once. Empties `done`.
    pub fn synced(done: &mut Vec<WalDone>) {
        for run in done.chunk_by(|a, b| Arc::ptr_eq(&a.partition, &b.partition)) {
            run[0].partition.synced(run);
        }
        done.clear();
    }

    /// The batches are not known to be synced, and never will be. They are not lost: they are still
    /// in memory and on their way to object storage, whose commit acknowledges them. Empties `done`.
    pub fn failed(done: &mut Vec<WalDone>) {
        if let Some(first) = done.first() {
            first.partition.stages.on_wal_failure();
        }
        done.clear();
    }
}

impl LeaderPartition {
    fn synced(&self, run: &[WalDone]) {
        let mut state = self.state.lock();
        let mut grew = false;
        for done in run {
            grew |= state.durable.synced(done.next_offset);
        }
        if grew {
            self.settle(&mut state);
        }
    }

    /// A commit covers everything below `upto`, and the segment index knows it.
    pub(crate) fn committed(&self, upto: Offset) {
        let mut state = self.state.lock();
        if state.durable.committed(upto) {
            self.settle(&mut state);
        }
    }

    /// What became durable while the session could not be proved alive becomes visible after all.
    pub(crate) fn settle_again(&self) {
        self.settle(&mut self.state.lock());
    }

    /// Moves the high watermark over what is durable and answers the producers below it, if this
    /// broker may still speak for the partition (F3).
    pub(super) fn settle(&self, state: &mut State) {
        if state.closed.is_some() {
            return;
        }
        let durable = state.durable.durable();
        if !self.stages.session.is_alive() {
            let failed = state
                .acks
                .fail_all(&AppendError::NotLeader(Outcome::Unknown));
            self.stages.metrics.unknown_outcomes.inc_by(failed as u64);
            self.stages.settle_later();
            return;
        }
        self.high_watermark.store(durable.get(), Ordering::Release);
        self.log.tail.advance_high_watermark(durable);
        if !state.acks.is_empty() {
            let log_start = self.log.tail.offsets().log_start;
            state.acks.acknowledge(durable, log_start);
        }
    }

    /// Takes no more batches, or takes them again. What was taken is acknowledged as ever.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.state.lock().draining = draining;
    }

    /// Another broker may take the partition over from now on, or will not.
    pub(crate) fn set_leaving(&self, leaving: bool) {
        self.log.set_leaving(leaving);
    }

    /// Takes no more batches. Whoever waits is told that the outcome is unknown: what was appended
    /// may be in the write-ahead log, or on its way to object storage.
    pub(crate) fn close(&self, closed: Closed) {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(closed);
        let failed = state.acks.fail_all(&closed.error(Outcome::Unknown));
        drop(state);
        self.stages.metrics.unknown_outcomes.inc_by(failed as u64);
        self.log.tail.close(match closed {
            Closed::Deleted => CloseReason::Deleted,
            Closed::NotLeader => CloseReason::NotLeader,
        });
    }
}

//! What a tail's mutex guards. Pure: no locks, no budget, no waiting.

use std::collections::VecDeque;
use std::sync::Arc;

use alluvium_common::clock::TimestampMs;
use alluvium_common::offset::{LogOffsets, Offset};
use alluvium_segment::record_batch::StoredBatch;

use super::{AppendRefused, CloseReason, ReadWaiter, SpilledBatch, TailBatch, TailRead};

/// Registrations kept allocated by a tail without waiters. One consumer group re-registers with
/// every poll; more room than for a few groups is given back.
const IDLE_WAITERS_MAX: usize = 4;

/// One batch. At least one of `batch` and `spill` is there.
struct Entry {
    base: Offset,
    next: Offset,
    max_timestamp: TimestampMs,
    size: usize,
    batch: Option<StoredBatch>,
    spill: Option<Arc<dyn SpilledBatch>>,
}

impl Entry {
    fn found(&self) -> TailBatch {
        match (&self.batch, &self.spill) {
            (Some(batch), _) => TailBatch::Memory(batch.clone()),
            (None, Some(spill)) => TailBatch::Spilled(Arc::clone(spill)),
            (None, None) => unreachable!("a batch leaves memory only when its spill remains"),
        }
    }

    fn resident_bytes(&self) -> usize {
        if self.batch.is_some() { self.size } else { 0 }
    }
}

struct Waiting {
    waiter: Arc<ReadWaiter>,
    key: u32,
}

/// What an operation took out of memory. It is handed out so that memory is given back after the
/// tail's mutex is released.
#[derive(Default)]
pub(super) struct Dropped {
    bytes: usize,
    #[allow(dead_code, reason = "held only to be dropped later")]
    entries: Vec<Entry>,
    #[allow(dead_code, reason = "held only to be dropped later")]
    batches: Vec<StoredBatch>,
    #[allow(dead_code, reason = "held only to be dropped later")]
    spills: Vec<Arc<dyn SpilledBatch>>,
}

impl Dropped {
    pub(super) fn resident_bytes(&self) -> usize {
        self.bytes
    }
}

/// Whose registration ends.
pub(super) struct Unregister<'a> {
    pub(super) waiter: &'a Arc<ReadWaiter>,
    pub(super) key: u32,
}

pub(super) struct State {
    log_start: Offset,
    high_watermark: Offset,
    log_end: Offset,
    uploaded: Offset,
    entries: VecDeque<Entry>,
    waiting: Vec<Waiting>,
    closed: Option<CloseReason>,
    /// The budget's spill queue names this tail. Kept here so that it is named once.
    offered_to_spill: bool,
}

impl State {
    pub(super) fn new(log_start: Offset, next_offset: Offset) -> Self {
        Self {
            log_start,
            high_watermark: next_offset,
            log_end: next_offset,
            uploaded: next_offset,
            entries: VecDeque::new(),
            waiting: Vec::new(),
            closed: None,
            offered_to_spill: false,
        }
    }

    /// Whether the tail has become a candidate for spilling by this batch.
    pub(super) fn append(
        &mut self,
        batch: StoredBatch,
        spill: Option<Arc<dyn SpilledBatch>>,
    ) -> Result<bool, AppendRefused> {
        if let Some(reason) = self.closed {
            return Err(AppendRefused::Closed(reason));
        }
        let base = batch.base_offset();
        if base != self.log_end {
            return Err(AppendRefused::NotAtEnd {
                base,
                log_end: self.log_end,
            });
        }
        let newly_spillable = spill.is_some() && !self.offered_to_spill;
        self.offered_to_spill |= newly_spillable;
        self.log_end = batch.next_offset();
        self.entries.push_back(Entry {
            base,
            next: self.log_end,
            max_timestamp: batch.max_timestamp(),
            size: batch.size_bytes(),
            batch: Some(batch),
            spill,
        });
        Ok(newly_spillable)
    }

    pub(super) fn advance_high_watermark(&mut self, to: Offset) {
        let to = to.min(self.log_end);
        if to <= self.high_watermark || self.closed.is_some() {
            return;
        }
        let from = std::mem::replace(&mut self.high_watermark, to);
        if !self.waiting.is_empty() {
            let bytes = self.bytes_between(from, to);
            for waiting in &self.waiting {
                waiting.waiter.mark(waiting.key, bytes);
            }
        }
    }

    /// Bytes of the batches that begin in `from..to`. Batches that were uploaded and evicted before
    /// they became readable cannot be weighed any more; they count as enough for anybody.
    fn bytes_between(&self, from: Offset, to: Offset) -> usize {
        if from < self.tail_start() {
            return usize::MAX;
        }
        let first = self.entries.partition_point(|entry| entry.base < from);
        self.entries
            .range(first..)
            .take_while(|entry| entry.base < to)
            .map(|entry| entry.size)
            .sum()
    }

    pub(super) fn set_log_start(&mut self, to: Offset) -> (Offset, Dropped) {
        let to = to.min(self.high_watermark);
        if to <= self.log_start || self.closed.is_some() {
            return (self.log_start, Dropped::default());
        }
        self.log_start = to;
        // Readers below the new start must learn that they are out of range.
        for waiting in &self.waiting {
            waiting.waiter.mark_now(waiting.key);
        }
        let gone = self.entries.partition_point(|entry| entry.next <= to);
        (to, self.drop_front(gone))
    }

    /// Moves the end to `to` without batches; what was held is dropped. `None` when the end is not below `to`.
    pub(super) fn skip_to(&mut self, to: Offset) -> Option<Dropped> {
        if to <= self.log_end || self.closed.is_some() {
            return None;
        }
        let dropped = self.drop_front(self.entries.len());
        self.log_end = to;
        self.uploaded = to;
        Some(dropped)
    }

    /// Whether the mark moved, and what no longer need be remembered.
    pub(super) fn set_uploaded(&mut self, to: Offset) -> (bool, Dropped) {
        let to = to.min(self.log_end);
        if to <= self.uploaded || self.closed.is_some() {
            return (false, Dropped::default());
        }
        self.uploaded = to;
        let below = self.entries.partition_point(|entry| entry.next <= to);
        // A spilled batch has nothing to offer any more, and its log file waits to be recycled. The
        // tail stays contiguous, so what is older goes with it; the index has all of it.
        let spilled = self
            .entries
            .range(..below)
            .rposition(|entry| entry.batch.is_none())
            .map_or(0, |last| last + 1);
        let mut dropped = self.drop_front(spilled);
        let resident = below - spilled;
        dropped.spills.extend(
            self.entries
                .range_mut(..resident)
                .filter_map(|entry| entry.spill.take()),
        );
        (resident > 0, dropped)
    }

    /// Drops uploaded batches below `to`, oldest first, until `needed` bytes are given back. Also
    /// says whether more remain.
    pub(super) fn evict_uploaded(&mut self, to: Offset, needed: usize) -> (Dropped, bool) {
        let to = to.min(self.uploaded);
        let below = self.entries.partition_point(|entry| entry.next <= to);
        let mut bytes = 0;
        let mut gone = 0;
        while gone < below && bytes < needed {
            bytes += self.entries[gone].resident_bytes();
            gone += 1;
        }
        (self.drop_front(gone), gone < below)
    }

    /// Drops uploaded batches that begin below `to`.
    pub(super) fn give_up_below(&mut self, to: Offset) -> Dropped {
        let uploaded = self.uploaded;
        let gone = self
            .entries
            .partition_point(|entry| entry.base < to && entry.next <= uploaded);
        self.drop_front(gone)
    }

    /// Takes durable batches that the write-ahead log holds out of memory, oldest first, until
    /// `needed` bytes are given back. Also says whether more may be had, now or once they are
    /// durable.
    pub(super) fn spill(&mut self, needed: usize) -> (Dropped, bool) {
        let mut dropped = Dropped::default();
        let mut again = false;
        for entry in &mut self.entries {
            if entry.spill.is_none() || entry.batch.is_none() {
                continue;
            }
            if entry.next > self.high_watermark || dropped.bytes >= needed {
                again = true;
                break;
            }
            dropped.bytes += entry.size;
            dropped.batches.extend(entry.batch.take());
        }
        self.offered_to_spill = again;
        (dropped, again)
    }

    fn drop_front(&mut self, count: usize) -> Dropped {
        let entries: Vec<Entry> = self.entries.drain(..count).collect();
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        Dropped {
            bytes: entries.iter().map(Entry::resident_bytes).sum(),
            entries,
            ..Dropped::default()
        }
    }

    pub(super) fn offsets(&self) -> LogOffsets {
        LogOffsets {
            log_start: self.log_start,
            last_stable: self.high_watermark,
            high_watermark: self.high_watermark,
            log_end: self.log_end,
        }
    }

    pub(super) fn uploaded(&self) -> Offset {
        self.uploaded
    }

    pub(super) fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    pub(super) fn resident_bytes(&self) -> usize {
        self.entries.iter().map(Entry::resident_bytes).sum()
    }

    pub(super) fn unuploaded_bytes(&self) -> u64 {
        let first = self
            .entries
            .partition_point(|entry| entry.next <= self.uploaded);
        self.entries
            .range(first..)
            .map(|entry| entry.size as u64)
            .sum()
    }

    pub(super) fn tail_start(&self) -> Offset {
        self.entries
            .front()
            .map_or(self.log_end, |entry| entry.base)
    }

    pub(super) fn read(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        min_one_batch: bool,
    ) -> TailRead {
        if let Some(reason) = self.closed {
            return TailRead::Closed(reason);
        }
        let tail_start = self.tail_start();
        if from < tail_start {
            return TailRead::Below { tail_start };
        }
        let first = self.entries.partition_point(|entry| entry.next <= from);
        let mut batches = Vec::new();
        let mut size_bytes = 0;
        for entry in self.entries.range(first..) {
            let fits =
                size_bytes + entry.size <= max_bytes || (min_one_batch && batches.is_empty());
            if entry.next > upto || !fits {
                break;
            }
            size_bytes += entry.size;
            batches.push(entry.found());
        }
        TailRead::Batches {
            batches,
            size_bytes,
        }
    }

    pub(super) fn first_at_or_after(
        &self,
        timestamp: TimestampMs,
        from: Offset,
        upto: Offset,
    ) -> (Offset, Option<TailBatch>) {
        let first = self.entries.partition_point(|entry| entry.next <= from);
        let found = self
            .entries
            .range(first..)
            .take_while(|entry| entry.next <= upto)
            .find(|entry| entry.max_timestamp >= timestamp)
            .map(Entry::found);
        (self.tail_start(), found)
    }

    pub(super) fn largest_timestamp(
        &self,
        upto: Offset,
        below: TimestampMs,
    ) -> Option<TimestampMs> {
        self.entries
            .iter()
            .take_while(|entry| entry.next <= upto)
            .map(|entry| entry.max_timestamp)
            .filter(|claim| *claim < below)
            .max()
    }

    pub(super) fn register(&mut self, waiter: &Arc<ReadWaiter>, key: u32, seen: LogOffsets) {
        let now = self.offsets();
        if self.closed.is_some() || now.log_start != seen.log_start {
            waiter.mark_now(key);
        } else if now.high_watermark > seen.high_watermark {
            waiter.mark(
                key,
                self.bytes_between(seen.high_watermark, now.high_watermark),
            );
        }
        self.waiting.push(Waiting {
            waiter: Arc::clone(waiter),
            key,
        });
    }

    pub(super) fn unregister(&mut self, gone: Unregister<'_>) {
        let found = self.waiting.iter().position(|waiting| {
            waiting.key == gone.key && Arc::ptr_eq(&waiting.waiter, gone.waiter)
        });
        if let Some(position) = found {
            self.waiting.swap_remove(position);
        }
        if self.waiting.is_empty() && self.waiting.capacity() > IDLE_WAITERS_MAX {
            self.waiting = Vec::new();
        }
    }

    pub(super) fn close(&mut self, reason: CloseReason) -> Dropped {
        if self.closed.is_some() {
            return Dropped::default();
        }
        self.closed = Some(reason);
        for waiting in &self.waiting {
            waiting.waiter.mark_now(waiting.key);
        }
        self.drop_front(self.entries.len())
    }
}

//! The open segment: batches of every partition this broker leads, until it is sealed.
//!
//! Batches are pushed while their partition's lock is held (lock order: partition, then open segment),
//! so the order here agrees with the order of offsets. The lock is held for a push onto a vector.

use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_segment::record_batch::StoredBatch;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backpressure::FramePermit;
use crate::partition::LeaderPartition;
use crate::seal::{OpenView, SealLimits};
use crate::seams::WalCopy;

/// A batch on its way into a segment.
pub(crate) struct SegmentItem {
    pub(crate) partition: Arc<LeaderPartition>,
    pub(crate) next_offset: Offset,
    pub(crate) size_bytes: usize,
    pub(crate) body: ItemBody,
    /// The write-ahead log's copy, released after the commit.
    pub(crate) wal: Option<Arc<dyn WalCopy>>,
}

/// Where a batch's bytes are.
pub(crate) enum ItemBody {
    /// In memory, accounted for by the frame they came in.
    Memory {
        batch: StoredBatch,
        // Held, not read: dropping it gives the bytes back.
        _permit: FramePermit,
    },
    /// In the write-ahead log only.
    Spilled,
}

impl SegmentItem {
    /// Leaves the batch to the write-ahead log alone, if that is known to have it. Returns whether
    /// memory was given back.
    pub(crate) fn spill(&mut self) -> bool {
        let in_memory = matches!(self.body, ItemBody::Memory { .. });
        // Below the high watermark and not committed means synced.
        let synced = self.wal.is_some() && self.next_offset <= self.partition.high_watermark();
        if in_memory && synced {
            self.body = ItemBody::Spilled;
        }
        in_memory && synced
    }
}

/// All that was in the open segment when it was sealed.
pub(crate) struct Contents {
    pub(crate) items: Vec<SegmentItem>,
    pub(crate) bytes: usize,
    /// Whether producers wait for the commit of something in here.
    pub(crate) has_waiter: bool,
    /// Batches ever pushed, up to the last one in here.
    pub(crate) pushed: u64,
}

/// See the module's documentation.
pub(crate) struct OpenSegment {
    limits: SealLimits,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    items: Vec<SegmentItem>,
    bytes: usize,
    first_at: Option<Instant>,
    waiter_at: Option<Instant>,
    flush: bool,
    pressed: bool,
    pushed: u64,
}

/// Places kept for the next segment, so that it need not grow from nothing under load.
const CAPACITY_KEPT: usize = 256;

impl OpenSegment {
    pub(crate) fn new(limits: SealLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn limits(&self) -> &SealLimits {
        &self.limits
    }

    /// Adds a batch. `waits` says that only a commit can answer its producer.
    pub(crate) fn push(&self, item: SegmentItem, waits: bool) {
        let mut state = self.state.lock();
        let before = state.bytes;
        state.bytes += item.size_bytes;
        state.items.push(item);
        state.pushed += 1;
        // The sealing rules look anew only when their answer may have changed.
        let mut changed = crosses(self.limits.bytes_max, before, state.bytes);
        if state.first_at.is_none() {
            state.first_at = Some(Instant::now());
            changed = true;
        }
        if waits && state.waiter_at.is_none() {
            state.waiter_at = Some(Instant::now());
            changed = true;
        }
        if state.waiter_at.is_some() {
            changed |= crosses(self.limits.bytes_with_waiter, before, state.bytes);
        }
        drop(state);
        if changed {
            self.changed.notify_one();
        }
    }

    /// From now on somebody waits for the commit of what is in here: the write-ahead log failed.
    pub(crate) fn expedite(&self) {
        let mut state = self.state.lock();
        if !state.items.is_empty() && state.waiter_at.is_none() {
            state.waiter_at = Some(Instant::now());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Memory or disk run short: seal as soon as it can be sent.
    pub(crate) fn press(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.pressed, true) {
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Seals what is in here. Returns how many batches were ever pushed: the flush is complete when
    /// as many are committed.
    pub(crate) fn flush(&self) -> u64 {
        let mut state = self.state.lock();
        state.flush = !state.items.is_empty();
        let pushed = state.pushed;
        drop(state);
        self.changed.notify_one();
        pushed
    }

    /// Batches ever pushed.
    pub(crate) fn pushed(&self) -> u64 {
        self.state.lock().pushed
    }

    /// What the sealing rules look at; `None` when it is empty.
    pub(crate) fn view(&self) -> Option<OpenView> {
        let mut state = self.state.lock();
        let Some(first_at) = state.first_at else {
            state.pressed = false;
            return None;
        };
        Some(OpenView {
            bytes: state.bytes,
            first_at,
            waiter_at: state.waiter_at,
            flush: state.flush,
            pressed: state.pressed,
        })
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> Contents {
        let mut state = self.state.lock();
        let capacity = state.items.len().min(CAPACITY_KEPT);
        let pushed = state.pushed;
        let taken = std::mem::replace(
            &mut *state,
            State {
                pushed,
                ..State::default()
            },
        );
        state.items.reserve(capacity);
        Contents {
            items: taken.items,
            bytes: taken.bytes,
            has_waiter: taken.waiter_at.is_some(),
            pushed,
        }
    }

    /// Makes whoever waits for [`Self::changed`] look again.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Resolves when the sealing rules should look again. One caller only.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn crosses(limit: usize, before: usize, after: usize) -> bool {
    before < limit && after >= limit
}

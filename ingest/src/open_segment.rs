//! The open segment: batches of every partition this broker leads, until it is sealed.
//!
//! Batches are pushed while their partition's lock is held (lock order: partition, then open segment),
//! so the order here agrees with the order of offsets. The lock is held for a push onto a vector.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::record_batch::StoredBatch;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backpressure::FramePermit;
use crate::partition::LeaderPartition;
use crate::seal::{OpenView, SealLimits};
use crate::seams::WalCopy;
use crate::validate::LocalRetention;

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

/// Who wants a batch to be committed, and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Only a commit can answer its producer.
    ByProducer,
    /// Nobody waits, but no more of its partition than that may wait.
    Within(LocalRetention),
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
    due_at: Option<Instant>,
    waiter_at: Option<Instant>,
    flush: bool,
    pressed: bool,
    /// A partition has more in here than it may.
    crowded: bool,
    /// Bytes of partitions that may have only so many in here. Not more of them than the segment has batches.
    limited: HashMap<TopicPartition, u64>,
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

    /// Adds a batch.
    pub(crate) fn push(&self, item: SegmentItem, wanted: Wanted) {
        let mut state = self.state.lock();
        let before = state.bytes;
        state.bytes += item.size_bytes;
        let limits = match wanted {
            Wanted::ByProducer => LocalRetention::default(),
            Wanted::Within(limits) => limits,
        };
        // The sealing rules look anew only when their answer may have changed.
        let mut changed = crosses(self.limits.bytes_max, before, state.bytes);
        changed |= state.limit_age(limits, self.limits.age_max);
        changed |= state.limit_bytes(limits, &item);
        if wanted == Wanted::ByProducer && state.waiter_at.is_none() {
            state.waiter_at = Some(Instant::now());
            changed = true;
        }
        if state.waiter_at.is_some() {
            changed |= crosses(self.limits.bytes_with_waiter, before, state.bytes);
        }
        state.items.push(item);
        state.pushed += 1;
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
        let Some(due_at) = state.due_at else {
            state.pressed = false;
            return None;
        };
        Some(OpenView {
            bytes: state.bytes,
            due_at,
            waiter_at: state.waiter_at,
            flush: state.flush,
            pressed: state.pressed,
            crowded: state.crowded,
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

impl State {
    /// Takes in by when a batch that comes now must be sealed. Whether that is sooner than was known.
    fn limit_age(&mut self, limits: LocalRetention, age_max: Duration) -> bool {
        let age_max = limits.age_max.map_or(age_max, |limit| limit.min(age_max));
        // Of the batches that have no limit of their own the first decides: no clock is read for the others.
        if self.due_at.is_some() && limits.age_max.is_none() {
            return false;
        }
        let due_at = Instant::now() + age_max;
        let is_sooner = self.due_at.is_none_or(|known| due_at < known);
        if is_sooner {
            self.due_at = Some(due_at);
        }
        is_sooner
    }

    /// Takes in a batch of a partition that may have only so many bytes in here. Whether it has more now, and had not.
    fn limit_bytes(&mut self, limits: LocalRetention, item: &SegmentItem) -> bool {
        let Some(bytes_max) = limits.bytes_max else {
            return false;
        };
        let bytes = self.limited.entry(item.partition.tp()).or_default();
        *bytes += item.size_bytes as u64;
        let is_over = *bytes > bytes_max;
        is_over && !std::mem::replace(&mut self.crowded, true)
    }
}

fn crosses(limit: usize, before: usize, after: usize) -> bool {
    before < limit && after >= limit
}

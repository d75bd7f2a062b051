//! Long polls: woken by the tails they are registered with.

use std::sync::Arc;

use alluvium_common::offset::LogOffsets;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::PartitionTail;
use super::state::Unregister;

/// One long poll over any number of partitions, each known by its `key` from 0 on. Tails mark the
/// keys whose partitions moved; the poll wakes once enough bytes came together, then looks only at
/// the marked ones. A mark costs one bit, however often it is made.
pub struct ReadWaiter {
    notify: Notify,
    marks: Mutex<Marks>,
}

struct Marks {
    /// A bit for each key.
    bits: Box<[u64]>,
    /// Bytes that became readable since the last [`ReadWaiter::take`].
    bytes: usize,
    /// Bytes that are worth waking for.
    wanted: usize,
    /// Something other than bytes happened (closed, log start moved): wake whatever the bytes.
    now: bool,
}

impl Marks {
    fn set(&mut self, key: u32) {
        if let Some(word) = self.bits.get_mut(key as usize / 64) {
            *word |= 1 << (key % 64);
        }
    }

    fn is_due(&self) -> bool {
        self.now || self.bytes >= self.wanted.max(1)
    }
}

impl ReadWaiter {
    /// A poll over `partitions` partitions that wakes when `wanted` bytes became readable.
    pub fn new(partitions: usize, wanted: usize) -> Arc<Self> {
        Arc::new(Self {
            notify: Notify::new(),
            marks: Mutex::new(Marks {
                bits: vec![0; partitions.div_ceil(64)].into_boxed_slice(),
                bytes: 0,
                wanted,
                now: false,
            }),
        })
    }

    /// `bytes` more are readable in the partition `key`.
    pub(super) fn mark(&self, key: u32, bytes: usize) {
        let due = {
            let mut marks = self.marks.lock();
            marks.set(key);
            marks.bytes = marks.bytes.saturating_add(bytes);
            marks.is_due()
        };
        if due {
            self.notify.notify_one();
        }
    }

    /// The partition `key` must be looked at, whatever there is to read.
    pub(super) fn mark_now(&self, key: u32) {
        {
            let mut marks = self.marks.lock();
            marks.set(key);
            marks.now = true;
        }
        self.notify.notify_one();
    }

    /// Returns when enough has become readable since the last [`ReadWaiter::take`]. Cancel-safe.
    pub async fn ready(&self) {
        loop {
            let notified = self.notify.notified();
            if self.marks.lock().is_due() {
                return;
            }
            notified.await;
        }
    }

    /// Changes how many more bytes the poll wants, without forgetting what was marked.
    pub fn want(&self, wanted: usize) {
        self.marks.lock().wanted = wanted;
    }

    /// The keys marked since the last call, ascending. From now on the poll wants `wanted` more
    /// bytes.
    pub fn take(&self, wanted: usize) -> Vec<u32> {
        let mut marks = self.marks.lock();
        marks.bytes = 0;
        marks.now = false;
        marks.wanted = wanted;
        let mut keys = Vec::new();
        for (word, bits) in marks.bits.iter_mut().enumerate() {
            let mut left = std::mem::take(bits);
            while left != 0 {
                keys.push(word as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        keys
    }
}

/// A poll's place in one tail; dropping it ends it.
pub struct Registration {
    tail: Arc<PartitionTail>,
    waiter: Arc<ReadWaiter>,
    key: u32,
}

impl Registration {
    pub(super) fn new(tail: Arc<PartitionTail>, waiter: Arc<ReadWaiter>, key: u32) -> Self {
        Self { tail, waiter, key }
    }

    /// The tail it belongs to.
    pub fn tail(&self) -> &Arc<PartitionTail> {
        &self.tail
    }

    /// The partition's offsets now.
    pub fn offsets(&self) -> LogOffsets {
        self.tail.offsets()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.tail.unregister(Unregister {
            waiter: &self.waiter,
            key: self.key,
        });
    }
}

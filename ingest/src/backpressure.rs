//! Back-pressure: one byte budget for everything a produce request keeps in memory.
//!
//! The server takes a [`FramePermit`] for the whole frame *before* it reads the frame's body, so a
//! full budget delays reads from sockets and never grows memory (I25). Clones of the permit travel
//! with the frame's batches until they are uploaded, or until the write-ahead log is their only
//! copy; the last clone to go gives the bytes back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Smallest budget: below it a single frame of Kafka's default size would not fit.
pub const BUDGET_BYTES_MIN: usize = 2 * 1024 * 1024;
/// Largest budget. Permits are counted in a `u32` by the semaphore below.
pub const BUDGET_BYTES_MAX: usize = 1 << 31;

/// Bytes that produce requests may hold in memory, shared by all connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    bytes: Arc<Semaphore>,
    capacity: usize,
    gate: Arc<watch::Sender<bool>>,
}

/// A share of the budget, for one frame. Clones share it.
#[derive(Debug, Clone)]
pub struct FramePermit {
    held: Arc<OwnedSemaphorePermit>,
}

impl ByteBudget {
    /// A budget of `capacity_bytes`, moved into `BUDGET_BYTES_MIN..=BUDGET_BYTES_MAX`.
    pub fn new(capacity_bytes: usize) -> Self {
        let capacity = capacity_bytes.clamp(BUDGET_BYTES_MIN, BUDGET_BYTES_MAX);
        Self {
            bytes: Arc::new(Semaphore::new(capacity)),
            capacity,
            gate: Arc::new(watch::Sender::new(true)),
        }
    }

    /// Waits, first come first served, until `bytes` are free and the gate is open. A frame larger
    /// than the whole budget gets all of it: frames have a limit of their own, and one at a time
    /// must be able to pass.
    pub async fn acquire(&self, bytes: usize) -> FramePermit {
        let mut gate = self.gate.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = gate.wait_for(|open| *open).await;
        let share = self.share_of(bytes);
        let held = Arc::clone(&self.bytes)
            .acquire_many_owned(share)
            .await
            .expect("the semaphore is never closed");
        FramePermit {
            held: Arc::new(held),
        }
    }

    /// As [`Self::acquire`], for callers that can do something else: `None` when it would wait.
    pub fn try_acquire(&self, bytes: usize) -> Option<FramePermit> {
        if !*self.gate.borrow() {
            return None;
        }
        let share = self.share_of(bytes);
        let held = Arc::clone(&self.bytes).try_acquire_many_owned(share).ok()?;
        Some(FramePermit {
            held: Arc::new(held),
        })
    }

    /// Shuts or opens the gate. Shut, nothing new is acquired: used while the write-ahead log's disk
    /// is full of records that wait for the bucket.
    pub fn set_open(&self, open: bool) {
        self.gate
            .send_if_modified(|gate| std::mem::replace(gate, open) != open);
    }

    /// Bytes that are taken.
    pub fn used_bytes(&self) -> usize {
        self.capacity - self.bytes.available_permits()
    }

    /// Bytes in all.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity
    }

    /// From here on memory is given back by leaving batches to the write-ahead log alone.
    pub fn above_half(&self) -> bool {
        self.used_bytes() > self.capacity / 2
    }

    fn share_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.capacity)).expect("capacity is at most 2^31")
    }
}

impl FramePermit {
    /// A permit that holds nothing, for records that did not come from a socket.
    pub fn unaccounted() -> Self {
        let none = Arc::new(Semaphore::new(0));
        let held = none
            .try_acquire_many_owned(0)
            .expect("zero permits are always free");
        Self {
            held: Arc::new(held),
        }
    }

    /// Bytes held by this permit and its clones together.
    pub fn bytes(&self) -> usize {
        self.held.num_permits()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn the_last_clone_gives_the_bytes_back() {
        let budget = ByteBudget::new(4 * MIB);
        let permit = budget.acquire(3 * MIB).await;
        let clone = permit.clone();
        assert_eq!(budget.used_bytes(), 3 * MIB);
        assert!(budget.above_half());
        drop(permit);
        assert_eq!(budget.used_bytes(), 3 * MIB);
        drop(clone);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_full_budget_delays_and_wakes_in_order() {
        let budget = ByteBudget::new(4 * MIB);
        let first = budget.acquire(4 * MIB).await;
        let mut second = Box::pin(budget.acquire(MIB));
        assert!((&mut second).now_or_never().is_none());
        assert!(budget.try_acquire(1).is_none());
        drop(first);
        assert_eq!(second.await.bytes(), MIB);
    }

    #[tokio::test]
    async fn a_frame_larger_than_the_budget_takes_all_of_it() {
        let budget = ByteBudget::new(2 * MIB);
        let all = budget.acquire(100 * MIB).await;
        assert_eq!(all.bytes(), 2 * MIB);
        assert!(budget.try_acquire(1).is_none());
    }

    #[tokio::test]
    async fn a_shut_gate_stops_newcomers_only() {
        let budget = ByteBudget::new(4 * MIB);
        let held = budget.acquire(MIB).await;
        budget.set_open(false);
        let mut waiting = Box::pin(budget.acquire(MIB));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(held.bytes(), MIB);
        budget.set_open(true);
        assert_eq!(waiting.await.bytes(), MIB);
    }
}

//! Times leases on the monotonic clock and revokes those that were not kept alive.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Backing;
use crate::store::engine::Command;
use crate::store::types::LeaseId;

/// The leases that live, with their deadlines. A lease that is not in here any more can not be kept
/// alive, even if its keys are still to be deleted.
#[derive(Debug, Default)]
pub(super) struct LeaseClock {
    leases: Mutex<BTreeMap<LeaseId, Timed>>,
    started: AtomicBool,
    stopped: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Timed {
    ttl: Duration,
    deadline: Instant,
}

impl LeaseClock {
    /// Starts the task that revokes, once. It ends with the store.
    pub(super) fn start<B: Backing>(self: &Arc<Self>, backing: &Arc<B>) {
        if !self.started.swap(true, Ordering::AcqRel) {
            tokio::spawn(revoke_expired(self.clone(), Arc::downgrade(backing)));
        }
    }

    /// Ends that task.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub(super) fn insert(&self, lease: LeaseId, ttl: Duration) {
        let timed = Timed {
            ttl,
            deadline: Instant::now() + ttl,
        };
        self.leases.lock().insert(lease, timed);
        self.changed.notify_one();
    }

    /// Moves the deadline; `None` when it has passed.
    pub(super) fn keep_alive(&self, lease: LeaseId) -> Option<Duration> {
        let now = Instant::now();
        let mut leases = self.leases.lock();
        let timed = leases
            .get_mut(&lease)
            .filter(|timed| timed.deadline > now)?;
        timed.deadline = now + timed.ttl;
        Some(timed.ttl)
    }

    /// Stops timing a lease; whether it lived.
    pub(super) fn remove(&self, lease: LeaseId) -> bool {
        self.leases.lock().remove(&lease).is_some()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.leases
            .lock()
            .values()
            .map(|timed| timed.deadline)
            .min()
    }

    fn take_expired(&self, now: Instant) -> Vec<LeaseId> {
        let mut leases = self.leases.lock();
        leases
            .extract_if(.., |_, timed| timed.deadline <= now)
            .map(|(lease, _)| lease)
            .collect()
    }
}

async fn revoke_expired<B: Backing>(clock: Arc<LeaseClock>, backing: Weak<B>) {
    while !clock.stopped.load(Ordering::Acquire) {
        match clock.next_deadline() {
            Some(deadline) => tokio::select! {
                () = sleep_until(deadline) => {}
                () = clock.changed.notified() => continue,
            },
            None => {
                clock.changed.notified().await;
                continue;
            }
        }
        for lease in clock.take_expired(Instant::now()) {
            let Some(backing) = backing.upgrade() else {
                return;
            };
            tracing::debug!(%lease, "lease expired");
            if let Err(error) = backing.submit(Command::Revoke { lease }).await {
                // The store has failed for good: nothing can be written any more, and leases that live at
                // its next start end there.
                tracing::warn!(%lease, %error, "expired lease not revoked");
            }
        }
    }
}

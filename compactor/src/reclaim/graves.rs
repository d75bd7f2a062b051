//! Objects that nothing names any more, until they are deleted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use alluvium_segment::object_key::ObjectKey;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tracing::{debug, warn};

/// Objects that wait, at most: some 20 MiB of names. What is beyond is found by a sweep once its session is over.
const WAITING_MAX: usize = 200_000;

/// Deletions at the same time, and in one go. Deletions are free of charge and not urgent.
const DELETES_PARALLEL: usize = 8;
const DELETES_PER_GO: usize = 500;

/// Pause between two goes: at most 500 deletions in it.
const GO_PAUSE: Duration = Duration::from_secs(5);

/// What is counted of deletions.
#[derive(Debug, Clone, Default)]
pub struct GravesMetrics {
    deleted: Counter,
    errors: Counter,
    aborted_uploads: Counter,
    waiting: Gauge,
}

impl GravesMetrics {
    /// Registers the metrics, all beginning with `reclaim_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("reclaim");
        registry.register(
            "deleted_objects",
            "Objects deleted that nothing named any more",
            metrics.deleted.clone(),
        );
        registry.register(
            "errors",
            "Deletions that failed; the objects are found again by a sweep",
            metrics.errors.clone(),
        );
        registry.register(
            "aborted_uploads",
            "Uploads in parts aborted that nobody would have completed",
            metrics.aborted_uploads.clone(),
        );
        registry.register(
            "waiting_objects",
            "Objects that nothing names, waiting to be deleted",
            metrics.waiting.clone(),
        );
        metrics
    }
}

/// See the module's documentation. Time is monotonic: a clock that jumps deletes nothing early.
pub struct Graves {
    objects: Arc<dyn ObjectStore>,
    grace: Duration,
    waiting: Mutex<VecDeque<(Instant, ObjectKey)>>,
    metrics: GravesMetrics,
}

impl Graves {
    /// Deletes from `objects`, `grace` after something is buried: longer than any reader may have it in hand.
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        grace: Duration,
        metrics: GravesMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            objects,
            grace,
            waiting: Mutex::default(),
            metrics,
        })
    }

    /// How long what is buried stays.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// From now on nothing names these, and nothing will.
    pub fn bury(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        let due = Instant::now() + self.grace;
        let mut waiting = self.waiting.lock();
        for key in keys {
            if waiting.len() < WAITING_MAX {
                waiting.push_back((due, key));
            }
        }
        self.metrics.waiting.set(waiting.len() as i64);
    }

    /// An upload in parts was aborted.
    pub(super) fn count_aborted_upload(&self) {
        self.metrics.aborted_uploads.inc();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Deletes what is due, as much as one go may. How many objects are gone.
    pub async fn delete_due(&self) -> usize {
        self.delete(self.take_due()).await
    }

    /// Deletes these now: a whole grace ago nothing named them any more. How many are gone.
    pub async fn delete(&self, keys: Vec<ObjectKey>) -> usize {
        let deleted = futures::stream::iter(keys)
            .map(|key| async move {
                let path = Path::from(key.as_str());
                match self.objects.delete(&path).await {
                    // Gone already: deleted by an attempt whose reply was lost.
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {
                        debug!(%key, "deleted");
                        true
                    }
                    Err(error) => {
                        warn!(%key, %error, "an object that nothing needs cannot be deleted; a sweep will find it");
                        false
                    }
                }
            })
            .buffer_unordered(DELETES_PARALLEL)
            .fold((0, 0), |(done, failed), ok| async move {
                (done + usize::from(ok), failed + usize::from(!ok))
            });
        let (done, failed) = deleted.await;
        self.metrics.deleted.inc_by(done as u64);
        self.metrics.errors.inc_by(failed as u64);
        done
    }

    fn take_due(&self) -> Vec<ObjectKey> {
        let now = Instant::now();
        let mut waiting = self.waiting.lock();
        let due = waiting.iter().take(DELETES_PER_GO);
        let due = due.take_while(|(due, _)| *due <= now).count();
        let taken = waiting.drain(..due).map(|(_, key)| key).collect();
        self.metrics.waiting.set(waiting.len() as i64);
        taken
    }

    /// The task. Never ends; drop it to end it.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(GO_PAUSE.min(self.grace)).await;
            self.delete_due().await;
        }
    }
}

//! Metadata snapshots in the bucket: what `alluvium restore` begins with when etcd is lost.
//!
//! The controller makes one every so often, if anything has changed, and deletes the oldest beyond a number kept. The
//! number in a snapshot's name is larger than those of all before it: the time, or one more than the last where a clock
//! went back. So the last name is the newest, whatever clocks do. Two controllers at once, of which one does not know
//! yet that it is none, may make one each; both are true.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::SharedClock;
use alluvium_common::rand::SharedRandom;
use alluvium_metadata::controller::ControllerStatus;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::snapshot::{Captured, capture};
use alluvium_metadata::store::{MetadataStore, StoreError};
use alluvium_segment::FormatError;
use alluvium_segment::object_key::{ObjectKey, SnapshotName};
use alluvium_segment::parted::EncodedObject;
use alluvium_segment::snapshot_object::SnapshotBuilder;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use crate::put::{PutError, put};

/// Deletions of one round, at most. There are as many as snapshots are made, so more are left over from a time in which
/// more were kept; those are gone after some rounds.
const DELETES_PER_ROUND: usize = 10;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The metadata could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The snapshot could not be made.
    #[error("a snapshot cannot be made: {0}")]
    Encode(#[from] FormatError),
    /// The snapshot could not be put.
    #[error(transparent)]
    Put(#[from] PutError),
    /// Snapshots could not be listed or deleted.
    #[error("the object store: {0}")]
    Objects(#[from] object_store::Error),
}

/// What making snapshots does.
#[derive(Debug, Clone, Default)]
pub struct SnapshotMetrics {
    made: Counter,
    errors: Counter,
    last_ms: Gauge,
}

impl SnapshotMetrics {
    /// Registers the metrics, all beginning with `metadata_snapshot_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("metadata_snapshot");
        registry.register("made", "Metadata snapshots put", metrics.made.clone());
        registry.register(
            "errors",
            "Metadata snapshots that failed and are tried again",
            metrics.errors.clone(),
        );
        registry.register(
            "last_timestamp_ms",
            "When this process last made sure that the newest snapshot is up to date, in ms since the epoch; 0: not yet",
            metrics.last_ms.clone(),
        );
        metrics
    }
}

/// Makes snapshots.
#[derive(Debug)]
pub struct SnapshotKeeper {
    /// Metadata.
    pub store: Arc<dyn MetadataStore>,
    /// Its keys.
    pub keys: Keys,
    /// The cluster.
    pub cluster_id: Uuid,
    /// The bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// For names and dates.
    pub clock: SharedClock,
    /// For names.
    pub random: SharedRandom,
    /// Snapshots to keep, at least one.
    pub kept: usize,
    /// What is counted.
    pub metrics: SnapshotMetrics,
}

impl SnapshotKeeper {
    /// A snapshot every `pause` while this process is the controller, the first as soon as it is elected. Ends with the
    /// controller; drop it to end it before.
    pub async fn run(self, pause: Duration, mut controller: watch::Receiver<ControllerStatus>) {
        let (mut last, mut made_in) = (None, None);
        loop {
            let elected = controller.wait_for(|status| status.elected.is_some());
            let Ok(term) = elected.await.map(|status| status.elected) else {
                return;
            };
            // What is seen last stays, also of a controller that is gone.
            if controller.has_changed().is_err() {
                return;
            }
            if made_in != term {
                // Another may have made snapshots meanwhile.
                (last, made_in) = (None, term);
            }
            match self.round(&mut last).await {
                Ok(Some(key)) => info!(%key, "put a snapshot of the metadata"),
                Ok(None) => {}
                Err(error) => {
                    self.metrics.errors.inc();
                    warn!(%error, "no snapshot of the metadata could be made; it is tried again");
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes a snapshot unless nothing has changed since `last`, the checksum of the one before.
    pub async fn round(&self, last: &mut Option<u32>) -> Result<Option<ObjectKey>, SnapshotError> {
        let now_ms = self.clock.now_ms();
        let captured = capture(&*self.store, &self.keys, self.cluster_id, now_ms).await?;
        let checksum = captured.checksum();
        if *last == Some(checksum) {
            self.metrics.last_ms.set(now_ms);
            return Ok(None);
        }
        let mut existing = self.existing().await?;
        let newest = existing.last().map_or(0, |name| name.number);
        let name = SnapshotName {
            cluster_id: self.cluster_id,
            number: newest.saturating_add(1).max(now_ms.unsigned_abs()),
            id: self.random.uuid(),
        };
        let key = ObjectKey::snapshot(&name);
        put(&*self.objects, &key, encode(captured)?).await?;
        *last = Some(checksum);
        self.metrics.made.inc();
        self.metrics.last_ms.set(now_ms);
        existing.push(name);
        self.delete_oldest(&existing).await?;
        Ok(Some(key))
    }

    /// The snapshots of this cluster, oldest first.
    async fn existing(&self) -> Result<Vec<SnapshotName>, SnapshotError> {
        let folder = Path::from(ObjectKey::snapshots_of(self.cluster_id));
        let mut names: Vec<_> = self
            .objects
            .list(Some(&folder))
            .try_filter_map(|object| async move {
                let key = ObjectKey::parse(object.location.as_ref()).ok();
                Ok(key.and_then(|key| key.snapshot_name()))
            })
            .try_collect()
            .await?;
        names.sort_unstable();
        Ok(names)
    }

    async fn delete_oldest(&self, names: &[SnapshotName]) -> Result<(), SnapshotError> {
        let excess = names.len().saturating_sub(self.kept.max(1));
        for name in names.iter().take(excess.min(DELETES_PER_ROUND)) {
            let path = Path::from(ObjectKey::snapshot(name).as_str());
            match self.objects.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn encode(captured: Captured) -> Result<EncodedObject, FormatError> {
    let mut builder = SnapshotBuilder::new(captured.head);
    for (key, value) in &captured.keys {
        builder.push(key, value)?;
    }
    builder.finish()
}

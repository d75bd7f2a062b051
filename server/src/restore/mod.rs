//! Rebuilds the metadata of a cluster from its bucket alone, into an empty metadata store.
//!
//! Nouns: a **span** is what a segment holds of a partition; a partition's **chain** is the spans that follow each other
//! from its log start, or from where what is published ends; a **candidate** is a segment that the snapshot does not name but that may have been committed
//! after it.
//!
//! Flow: `scan` reads the newest readable snapshot and the footers of candidates; `chain` decides per partition
//! which spans continue what the snapshot knows; `order` puts the segments that are in use into commit logs; [`write`]
//! writes it all. Everything between the two is pure.
//!
//! **What is committed and what is not.** Whether a segment was committed stands only in the metadata that is lost, so
//! a candidate that fits counts: its records were sent, and may have been acknowledged. Of sessions that were over at
//! the snapshot nothing was committed later (F2): their unnamed segments are orphans. No offset is invented: where the next
//! span is missing the chain ends, and what lies behind is told and left.
//!
//! **What is published.** Records below a topic's published end are in its table files and need no segments, which may have
//! been deleted: chains begin there. `manifests` finds the manifest that says so.
//!
//! **Commit logs.** All segments go into logs of broker [`RESTORED_BROKER`], which never was one, under broker epochs
//! from -1 downwards: revisions of a new etcd begin at 1, so these logs are older than every session to come, and no
//! session can ever write to them.
//!
//! **Leaders.** One broker is given all partitions, and the controller of the new cluster moves them on. A partition of
//! which the snapshot says that a write-ahead log may hold more stays with the broker that had that log, because only
//! its start puts back what is in it. Leader epochs go on far beyond those known: there may have been others, under which
//! batches in write-ahead logs were written, and which clients have seen.

mod chain;
mod manifests;
mod order;
mod partition;
mod plan;
mod scan;
mod write;

use std::sync::Arc;

use alluvium_common::clock::SharedClock;
use alluvium_common::epoch::BrokerId;
use alluvium_common::rand::SharedRandom;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::store::{MetadataStore, RangeRequest};
use object_store::ObjectStore;
use uuid::Uuid;

pub use plan::{Plan, RestoredPartition};

/// Whose the restored commit logs are. Brokers have numbers from 0 on.
pub const RESTORED_BROKER: BrokerId = BrokerId(-1);

/// Where to restore from and to.
pub struct Restore {
    /// An empty metadata store.
    pub store: Arc<dyn MetadataStore>,
    /// The keys of the cluster in it.
    pub keys: Keys,
    /// The bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// For dates.
    pub clock: SharedClock,
    /// For names.
    pub random: SharedRandom,
    /// Who shall lead at first, but for partitions that a write-ahead log may hold more of.
    pub leader: BrokerId,
    /// Which cluster, where the bucket has snapshots of several.
    pub cluster_id: Option<Uuid>,
}

impl Restore {
    /// Finds out what can be restored; writes nothing.
    pub async fn plan(&self, progress: impl FnMut(u64, u64)) -> anyhow::Result<Plan> {
        self.refuse_unless_empty().await?;
        let found = scan::scan(&*self.objects, &self.keys, self.cluster_id, progress).await?;
        plan::plan(found, self.leader, self.clock.now_ms())
    }

    /// Writes what was planned.
    pub async fn write(&self, plan: &Plan) -> anyhow::Result<()> {
        self.refuse_unless_empty().await?;
        write::write(self, plan).await
    }

    async fn refuse_unless_empty(&self) -> anyhow::Result<()> {
        let any = RangeRequest::new(self.keys.all()).limit(1);
        let found = self.store.range(any).await?;
        if let Some(kv) = found.kvs.first() {
            anyhow::bail!(
                "the metadata store holds keys of this cluster already, such as {}: a restore writes into an empty one \
                 only. If they are of a restore that was interrupted, delete all keys of the cluster (or the embedded \
                 store's file) and start again",
                String::from_utf8_lossy(&kv.key)
            );
        }
        Ok(())
    }
}

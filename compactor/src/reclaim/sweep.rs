//! Looks through the bucket for objects that nothing names: what processes that ended, and uploads that failed, left.
//!
//! Only objects of sessions that are over are looked at: a session that lasts may be about to commit what it has put (F2).
//! What nothing names then, and a whole grace later still does not, is never named again. Both looks are of one process,
//! by its monotonic clock; one that starts anew begins anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::TopicId;
use alluvium_metadata::commit_log::{LogEntry, ReadCommitsError};
use alluvium_metadata::compaction::{PublicationWriter, ReadPublishedError};
use alluvium_metadata::fold::{LogId, commit_logs, read_log};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::store::{MetadataStore, MetadataStoreExt, StoreError};
use alluvium_segment::manifest::LeafEntry;
use alluvium_segment::object_key::{
    FOLDS_PREFIX, MANIFESTS_PREFIX, ObjectKey, SEGMENTS_PREFIX, SegmentName, TABLES_PREFIX,
};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Graves, UploadSweeper};
use crate::fold::{ReadError, commits_of};
use crate::leaves::read_leaf;
use crate::manifests::Manifests;

/// Objects that are remembered between two looks, at most: some 20 MiB of names. The rest is found another time.
const SUSPECTS_MAX: usize = 200_000;

/// Leaves of a manifest read at the same time.
const LEAVES_PARALLEL: usize = 8;

/// Why a sweep came to no end. Nothing is deleted then.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The metadata could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// How far topics are published cannot be read.
    #[error(transparent)]
    Published(#[from] ReadPublishedError),
    /// A commit log could not be read.
    #[error(transparent)]
    Log(#[from] ReadCommitsError),
    /// A fold, a manifest or a leaf could not be read: what it names is unknown.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The bucket could not be listed.
    #[error("the object store: {0}")]
    Objects(#[from] object_store::Error),
}

/// See the module's documentation.
pub struct Sweeper {
    /// Metadata.
    pub store: Arc<dyn MetadataStore>,
    /// Its keys.
    pub keys: Keys,
    /// The bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// What is published.
    pub manifests: Arc<Manifests>,
    /// Where what nothing names goes.
    pub graves: Arc<Graves>,
    /// When something was first seen that nothing names.
    suspects: HashMap<ObjectKey, Instant>,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectsSeen {
    /// Objects that nothing names, and that are looked at again.
    pub suspects: usize,
    /// Objects that nothing has named for a whole grace, and nothing ever will.
    pub orphans: Vec<ObjectKey>,
}

impl Sweeper {
    /// Suspects nothing yet.
    pub fn new(
        (store, keys): (Arc<dyn MetadataStore>, Keys),
        objects: Arc<dyn ObjectStore>,
        manifests: Arc<Manifests>,
        graves: Arc<Graves>,
    ) -> Self {
        Self {
            store,
            keys,
            objects,
            manifests,
            graves,
            suspects: HashMap::new(),
        }
    }

    /// Looks through the bucket once, and has deleted what nothing names. How many objects that is.
    ///
    /// # Errors
    /// Something could not be read: then nothing is decided.
    pub async fn sweep(&mut self) -> Result<usize, SweepError> {
        let orphans = self.look().await?.orphans;
        let count = orphans.len();
        // A second grace does no harm.
        self.graves.bury(orphans);
        Ok(count)
    }

    /// Looks through the bucket once, and deletes nothing.
    ///
    /// # Errors
    /// Something could not be read: then nothing is decided.
    pub async fn look(&mut self) -> Result<ObjectsSeen, SweepError> {
        // First what is there, then who lives, then what is named: what is put, committed or named meanwhile is not
        // taken for garbage.
        let listed = self.list().await?;
        let alive = live_sessions(&*self.store, &self.keys).await?;
        let named = self.named().await?;
        let live_topics = self.live_topics().await?;
        let mut unnamed = HashMap::new();
        for (key, written, topic_id) in listed {
            let is_deleted = topic_id.is_some_and(|id| !live_topics.contains(&id));
            let may_be_named = alive.contains(&log_of(&written)) && !is_deleted;
            if may_be_named || named.contains(&key) || unnamed.len() >= SUSPECTS_MAX {
                continue;
            }
            let since = self.suspects.get(&key).copied();
            unnamed.insert(key, since.unwrap_or_else(Instant::now));
        }
        let grace = self.graves.grace();
        let (orphans, suspects): (HashMap<_, _>, HashMap<_, _>) = unnamed
            .into_iter()
            .partition(|(_, since)| since.elapsed() >= grace);
        self.suspects = suspects;
        Ok(ObjectsSeen {
            suspects: self.suspects.len(),
            orphans: orphans.into_keys().collect(),
        })
    }

    async fn list(&self) -> Result<Vec<(ObjectKey, SegmentName, Option<TopicId>)>, SweepError> {
        let mut listed = Vec::new();
        for prefix in [
            SEGMENTS_PREFIX,
            FOLDS_PREFIX,
            TABLES_PREFIX,
            MANIFESTS_PREFIX,
        ] {
            let prefix = Path::from(prefix);
            let mut objects = self.objects.list(Some(&prefix));
            while let Some(object) = objects.try_next().await? {
                let Ok(key) = ObjectKey::parse(object.location.as_ref()) else {
                    continue;
                };
                if let Some((written, topic_id)) = writer_of(&key) {
                    listed.push((key, written, topic_id));
                }
            }
        }
        Ok(listed)
    }

    /// What commit logs and manifests name.
    async fn named(&self) -> Result<HashSet<ObjectKey>, SweepError> {
        let mut named = HashSet::new();
        for log in commit_logs(&*self.store, &self.keys).await? {
            for entry in read_log(&*self.store, &self.keys, log).await?.entries {
                if let LogEntry::Fold(fold) = &entry {
                    named.insert(fold.object_key.clone());
                }
                let commits = commits_of(&*self.objects, &entry).await?;
                named.extend(commits.into_iter().map(|commit| commit.object_key));
            }
        }
        let published = PublicationWriter::new(Arc::clone(&self.store), self.keys.clone());
        for (topic_id, record) in published.read_all().await? {
            let manifest = self.manifests.read(topic_id, &record).await?;
            let tables = manifest.tables().iter();
            named.extend(tables.map(|table| table.object_key.clone()));
            named.insert(record.object_key);
            let leaves = manifest.leaves().iter().map(Arc::clone);
            let leaves: Vec<_> = leaves.map(|leaf| self.listed_in(topic_id, leaf)).collect();
            let mut leaves = futures::stream::iter(leaves).buffer_unordered(LEAVES_PARALLEL);
            while let Some(names) = leaves.try_next().await? {
                named.extend(names);
            }
        }
        Ok(named)
    }

    /// A leaf, and what it lists.
    async fn listed_in(
        &self,
        topic_id: TopicId,
        entry: Arc<LeafEntry>,
    ) -> Result<Vec<ObjectKey>, ReadError> {
        let leaf = read_leaf(&*self.objects, topic_id, &entry).await?;
        let tables = leaf.tables().iter().map(|table| table.object_key.clone());
        Ok(tables.chain([entry.object_key.clone()]).collect())
    }

    /// Topics of which something stands in the metadata, by a read (F6).
    async fn live_topics(&self) -> Result<HashSet<TopicId>, SweepError> {
        let (_, kvs) = self.store.list(self.keys.partitions()).await?;
        let tps = kvs
            .iter()
            .filter_map(|kv| self.keys.parse_partition(&kv.key));
        Ok(tps.map(|tp| tp.topic_id).collect())
    }

    /// Sweeps every `pause` while `is_controller`, objects and, where the store can tell of them, `uploads`. Never ends; drop
    /// it to end it.
    pub async fn run(
        mut self,
        mut uploads: Option<UploadSweeper>,
        pause: Duration,
        is_controller: impl Fn() -> bool + Send,
    ) {
        loop {
            tokio::time::sleep(pause).await;
            if !is_controller() {
                self.suspects.clear();
                uploads.iter_mut().for_each(UploadSweeper::forget);
                continue;
            }
            match self.sweep().await {
                Ok(0) => {}
                Ok(orphans) => info!(orphans, "swept the bucket"),
                Err(error) => warn!(%error, "the bucket cannot be swept; it is tried again"),
            }
            let Some(uploads) = &mut uploads else {
                continue;
            };
            match uploads.sweep().await {
                Ok(0) => {}
                Ok(aborted) => info!(
                    aborted,
                    "aborted uploads in parts that nobody would have completed"
                ),
                Err(error) => {
                    warn!(%error, "uploads that nobody completes cannot be aborted, which may need the permissions \
                        s3:ListBucketMultipartUploads and s3:AbortMultipartUpload; it is tried again");
                }
            }
        }
    }
}

/// The sessions that last.
pub(super) async fn live_sessions(
    store: &dyn MetadataStore,
    keys: &Keys,
) -> Result<HashSet<LogId>, StoreError> {
    let (_, sessions) = store.list(keys.brokers()).await?;
    let live = sessions.iter().filter_map(|kv| {
        Some(LogId {
            broker_id: keys.parse_broker(&kv.key)?,
            broker_epoch: BrokerEpoch::from(kv.create_revision),
        })
    });
    Ok(live.collect())
}

/// Which session wrote an object, and of which topic it is if it is of one.
pub(super) fn writer_of(key: &ObjectKey) -> Option<(SegmentName, Option<TopicId>)> {
    if let Some(table) = key.table_name() {
        return Some((table.written, Some(table.topic_id)));
    }
    if let Some(manifest) = key.manifest_name() {
        return Some((manifest.written, Some(manifest.topic_id)));
    }
    if let Some(leaf) = key.leaf_name() {
        return Some((leaf.written, Some(leaf.topic_id)));
    }
    let written = key.segment_name().or_else(|| key.fold_name())?;
    Some((written, None))
}

pub(super) fn log_of(written: &SegmentName) -> LogId {
    let (broker_id, broker_epoch): (BrokerId, BrokerEpoch) =
        (written.broker_id, written.broker_epoch);
    LogId {
        broker_id,
        broker_epoch,
    }
}

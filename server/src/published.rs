//! What is published of topics, as this broker's logs need it: manifests are read once each, and every log is given the
//! newest of its topic, so that it finds its history there and forgets segments that are not needed any more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::{Logs, PartitionLog};
use alluvium_common::topic::TopicId;
use alluvium_compactor::fold::ReadError;
use alluvium_compactor::publish::read_manifest;
use alluvium_metadata::view::{ClusterView, Picture};
use alluvium_segment::manifest::Manifest;
use futures::StreamExt;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tracing::warn;

use crate::followers::FollowerLogs;

/// Manifests read at the same time.
const READS_PARALLEL_MAX: usize = 16;

/// Pause between two looks, whether or not the picture changed: a log may be opened with what is old by then, and what
/// could not be read is tried again.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The newest manifests known to this process.
pub struct Manifests {
    objects: Arc<dyn ObjectStore>,
    newest: Mutex<HashMap<TopicId, Arc<Manifest>>>,
}

impl Manifests {
    /// None is known yet.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self {
            objects,
            newest: Mutex::default(),
        })
    }

    /// The manifest of a topic that counts as far as `picture` shows, or a newer one; `None`: nothing is published.
    ///
    /// # Errors
    /// The manifest cannot be read, or is damaged.
    pub async fn of(
        &self,
        picture: &Picture,
        topic_id: TopicId,
    ) -> Result<Option<Arc<Manifest>>, ReadError> {
        let Some(published) = picture.published.get(&topic_id) else {
            return Ok(None);
        };
        if let Some(known) = self.known(topic_id, published.record.version) {
            return Ok(Some(known));
        }
        let read = read_manifest(&*self.objects, topic_id, &published.record).await?;
        Ok(Some(self.keep(topic_id, read)))
    }

    /// The manifests of several topics.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub async fn of_all(
        &self,
        picture: &Picture,
        topics: impl IntoIterator<Item = TopicId>,
    ) -> Result<HashMap<TopicId, Arc<Manifest>>, ReadError> {
        let mut topics: Vec<_> = topics.into_iter().collect();
        topics.sort_unstable();
        topics.dedup();
        let mut read = futures::stream::iter(topics)
            .map(|topic_id| async move { (topic_id, self.of(picture, topic_id).await) })
            .buffer_unordered(READS_PARALLEL_MAX);
        let mut all = HashMap::new();
        while let Some((topic_id, manifest)) = read.next().await {
            if let Some(manifest) = manifest? {
                all.insert(topic_id, manifest);
            }
        }
        Ok(all)
    }

    fn known(&self, topic_id: TopicId, version: u64) -> Option<Arc<Manifest>> {
        let newest = self.newest.lock();
        let known = newest.get(&topic_id)?;
        (known.version() >= version).then(|| Arc::clone(known))
    }

    fn keep(&self, topic_id: TopicId, read: Manifest) -> Arc<Manifest> {
        let mut newest = self.newest.lock();
        match newest.get(&topic_id) {
            Some(known) if known.version() >= read.version() => Arc::clone(known),
            _ => {
                let read = Arc::new(read);
                newest.insert(topic_id, Arc::clone(&read));
                read
            }
        }
    }

    fn forget_deleted(&self, picture: &Picture) {
        let mut newest = self.newest.lock();
        newest.retain(|topic_id, _| picture.published.contains_key(topic_id));
    }

    /// Gives each of `logs` the manifest that counts, if it has an older one.
    async fn bring_up_to_date(&self, picture: &Picture, logs: Vec<Arc<PartitionLog>>) {
        let mut behind: BTreeMap<TopicId, Vec<Arc<PartitionLog>>> = BTreeMap::new();
        for log in logs {
            let counts = picture.published.get(&log.tp.topic_id);
            let has = log.published().map_or(0, |manifest| manifest.version());
            if counts.is_some_and(|counts| counts.record.version > has) {
                behind.entry(log.tp.topic_id).or_default().push(log);
            }
        }
        let given = futures::stream::iter(behind).for_each_concurrent(
            READS_PARALLEL_MAX,
            |(topic_id, logs)| async move {
                match self.of(picture, topic_id).await {
                    Ok(Some(manifest)) => logs.iter().for_each(|log| log.set_published(&manifest)),
                    Ok(None) => {}
                    Err(error) => {
                        warn!(%topic_id, %error, "what is published of a topic cannot be read; its segments are used as long as they are there")
                    }
                }
            },
        );
        given.await;
    }
}

/// Keeps the logs of this broker, and those that follow other brokers', up to date. Never ends; drop it to end it.
pub async fn keep_up_to_date(
    manifests: Arc<Manifests>,
    view: Arc<ClusterView>,
    logs: Arc<Logs>,
    followers: Option<Arc<FollowerLogs>>,
) {
    let mut changes = view.changes();
    loop {
        changes.mark_unchanged();
        let picture = view.picture();
        manifests.forget_deleted(&picture);
        let mut all = logs.all();
        all.extend(followers.iter().flat_map(|followers| followers.logs()));
        manifests.bring_up_to_date(&picture, all).await;
        // The sender lives as long as the view; a time-out is as good a reason to look.
        let _looked = tokio::time::timeout(LOOK_PAUSE, changes.changed()).await;
    }
}

//! Manifests, read once each.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::topic::TopicId;
use alluvium_metadata::model::PublishedRecord;
use alluvium_metadata::view::Picture;
use alluvium_segment::manifest::Manifest;
use futures::StreamExt;
use object_store::ObjectStore;
use parking_lot::Mutex;

use crate::fold::{ReadError, checked};

/// Manifests read at the same time.
const READS_PARALLEL_MAX: usize = 16;

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
        match picture.published.get(&topic_id) {
            Some(published) => self.read(topic_id, &published.record).await.map(Some),
            None => Ok(None),
        }
    }

    /// The manifest that `record` names, or a newer one.
    ///
    /// # Errors
    /// The manifest cannot be read, or is damaged.
    pub async fn read(
        &self,
        topic_id: TopicId,
        record: &PublishedRecord,
    ) -> Result<Arc<Manifest>, ReadError> {
        if let Some(known) = self.known(topic_id, record.version) {
            return Ok(known);
        }
        let read = read_manifest(&*self.objects, topic_id, record).await?;
        Ok(self.keep(topic_id, read))
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

    /// Forgets what is known of topics that are published no more.
    pub fn forget_deleted(&self, picture: &Picture) {
        let mut newest = self.newest.lock();
        newest.retain(|topic_id, _| picture.published.contains_key(topic_id));
    }
}

/// Reads the manifest that a record names.
pub(crate) async fn read_manifest(
    objects: &dyn ObjectStore,
    topic_id: TopicId,
    record: &PublishedRecord,
) -> Result<Manifest, ReadError> {
    let named = record.manifest(topic_id);
    let whole = 0..record.size_bytes;
    checked(objects, &record.object_key, whole, |object| {
        named.open(&object)
    })
    .await
}

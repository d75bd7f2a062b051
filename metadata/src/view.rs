//! The picture that a broker has of its cluster: topics and partitions in memory, kept by a watch.
//!
//! F6: the watch is a hint. The picture is loaded by a read at a revision and kept by the watch from behind that
//! revision; when the watch breaks or falls behind, it is loaded again. Whoever changes the store waits until the
//! picture has reached the revision of the change ([`ClusterView::reached`]), so that a broker reads its own writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::topic::{TopicId, TopicName};
use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::{error, warn};

use crate::keys::Keys;
use crate::model::TopicRecord;
use crate::store::{
    Event, KeyRange, MetadataStore, MetadataStoreExt, Revision, StoreError, WatchBatch,
    WatchRequest,
};
use crate::value::{self, ValueError};

/// Pause before a broken watch is begun anew.
const RESYNC_PAUSE: Duration = Duration::from_millis(100);

/// How long somebody who waits for a revision trusts the watch to bring it. After that the picture is read:
/// the watch may be broken, or the revision may have changed no topic at all.
const WATCH_PATIENCE: Duration = Duration::from_millis(200);

/// All topics at one revision. Cheap to share, never changed.
#[derive(Debug, Default, Clone)]
pub struct Topics {
    by_name: BTreeMap<TopicName, Arc<TopicRecord>>,
    by_id: BTreeMap<TopicId, Arc<TopicRecord>>,
}

impl Topics {
    /// The topic of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<TopicRecord>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn with_id(&self, topic_id: TopicId) -> Option<&Arc<TopicRecord>> {
        self.by_id.get(&topic_id)
    }

    /// All, ordered by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<TopicRecord>> {
        self.by_name.values()
    }

    /// A topic whose name differs from `name` only in dots against underscores.
    pub fn colliding(&self, name: &TopicName) -> Option<&TopicName> {
        let key = name.collision_key();
        if key == name.as_str() && !name.as_str().contains('_') {
            return None;
        }
        self.by_name
            .keys()
            .find(|other| *other != name && other.collision_key() == key)
    }

    fn put(&mut self, record: TopicRecord) {
        self.remove(&record.name);
        let record = Arc::new(record);
        self.by_id.insert(record.topic_id, Arc::clone(&record));
        self.by_name.insert(record.name.clone(), record);
    }

    fn remove(&mut self, name: &TopicName) {
        if let Some(old) = self.by_name.remove(name) {
            self.by_id.remove(&old.topic_id);
        }
    }
}

/// Why the picture could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A topic's record is unreadable. Nothing is skipped silently.
    #[error("record of {key}: {source}")]
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        source: ValueError,
    },
}

/// The picture, and the task that keeps it.
#[derive(Debug)]
pub struct ClusterView {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    shared: Arc<Shared>,
    follower: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// With the revision as of which it is right.
    picture: RwLock<(Revision, Arc<Topics>)>,
    revision: watch::Sender<Revision>,
}

impl ClusterView {
    /// Loads the picture and keeps it from then on.
    pub async fn open(store: Arc<dyn MetadataStore>, keys: Keys) -> Result<Self, ViewError> {
        let (revision, topics) = load(&*store, &keys).await?;
        let shared = Arc::new(Shared {
            picture: RwLock::new((revision, Arc::new(topics))),
            revision: watch::Sender::new(revision),
        });
        let follower = tokio::spawn(follow(
            Arc::clone(&store),
            keys.clone(),
            Arc::clone(&shared),
        ));
        Ok(Self {
            store,
            keys,
            shared,
            follower,
        })
    }

    /// The topics as known now.
    pub fn topics(&self) -> Arc<Topics> {
        Arc::clone(&self.shared.picture.read().1)
    }

    /// Waits until the picture shows what was written at `revision`, which need not have changed a topic.
    pub async fn reached(&self, revision: Revision) {
        let mut reached = self.shared.revision.subscribe();
        loop {
            // The sender lives as long as `self`, so the only other end of the wait is its time-out.
            let waiting = reached.wait_for(|known| *known >= revision);
            if tokio::time::timeout(WATCH_PATIENCE, waiting).await.is_ok() {
                return;
            }
            match load(&*self.store, &self.keys).await {
                Ok((revision, topics)) => self.shared.replace(revision, topics),
                Err(error) => warn!(%error, "the picture of the cluster is out of date"),
            }
        }
    }

    /// Tells of every change of the picture; what changed is found by comparing two pictures.
    pub fn changes(&self) -> watch::Receiver<Revision> {
        self.shared.revision.subscribe()
    }
}

impl Drop for ClusterView {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

async fn load(store: &dyn MetadataStore, keys: &Keys) -> Result<(Revision, Topics), ViewError> {
    let (revision, kvs) = store.list(keys.topics()).await?;
    let mut topics = Topics::default();
    for kv in kvs {
        let record = value::decode(&kv.value).map_err(|source| unreadable(&kv.key, source))?;
        topics.put(record);
    }
    Ok((revision, topics))
}

fn unreadable(key: &[u8], source: ValueError) -> ViewError {
    ViewError::Unreadable {
        key: String::from_utf8_lossy(key).into_owned(),
        source,
    }
}

/// Never ends by itself: whatever breaks, the picture is loaded anew.
async fn follow(store: Arc<dyn MetadataStore>, keys: Keys, shared: Arc<Shared>) {
    loop {
        let known = *shared.revision.borrow();
        if let Err(why) = follow_watch(&*store, keys.topics(), &keys, &shared, known).await {
            warn!(%why, "the picture of the cluster is loaded anew");
        }
        loop {
            tokio::time::sleep(RESYNC_PAUSE).await;
            match load(&*store, &keys).await {
                Ok((revision, topics)) => {
                    shared.replace(revision, topics);
                    break;
                }
                Err(error) => error!(%error, "the picture of the cluster is out of date"),
            }
        }
    }
}

async fn follow_watch(
    store: &dyn MetadataStore,
    range: KeyRange,
    keys: &Keys,
    shared: &Shared,
    known: Revision,
) -> Result<(), String> {
    let request = WatchRequest::new(range).from(known.next());
    let mut watch = store
        .watch(request)
        .await
        .map_err(|error| error.to_string())?;
    loop {
        let batch = watch.next().await.map_err(|error| error.to_string())?;
        shared.apply(keys, batch)?;
    }
}

fn apply(topics: &mut Topics, keys: &Keys, event: &Event) -> Result<(), String> {
    match event {
        Event::Put(kv) => {
            let record = value::decode(&kv.value)
                .map_err(|source| unreadable(&kv.key, source).to_string())?;
            topics.put(record);
        }
        Event::Delete { key, .. } => {
            if let Some(name) = keys.parse_topic(key) {
                topics.remove(&name);
            }
        }
    }
    Ok(())
}

impl Shared {
    /// A whole picture, unless a newer one is there.
    fn replace(&self, revision: Revision, topics: Topics) {
        let mut picture = self.picture.write();
        if revision > picture.0 {
            *picture = (revision, Arc::new(topics));
            self.revision.send_replace(revision);
        }
    }

    /// The events behind the picture, unless it shows them already.
    fn apply(&self, keys: &Keys, batch: WatchBatch) -> Result<(), String> {
        let mut picture = self.picture.write();
        if batch.revision > picture.0 {
            let mut topics = Topics::clone(&picture.1);
            for event in &batch.events {
                apply(&mut topics, keys, event)?;
            }
            *picture = (batch.revision, Arc::new(topics));
            self.revision.send_replace(batch.revision);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

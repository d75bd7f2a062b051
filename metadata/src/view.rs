//! The picture that a broker has of its cluster: brokers, controller, topics and partitions in memory, kept by a watch.
//!
//! F6: the watch is a hint. The picture is loaded by a read at a revision and kept by the watch from behind that
//! revision; when the watch breaks or falls behind, it is loaded again. Whoever changes the store waits until the
//! picture has reached the revision of the change ([`ClusterView::reached`]), so that a broker reads its own writes.

mod brokers;
mod partitions;
mod picture;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::{error, warn};

use crate::keys::Keys;
use crate::store::{
    MetadataStore, MetadataStoreExt, Revision, StoreError, WatchBatch, WatchRequest,
};
use crate::value::ValueError;

pub use brokers::{Brokers, Controller, LiveBroker};
pub use partitions::{Partitions, Placed};
pub use picture::{Claim, Coordinator, Picture, Published};
pub use topics::Topics;

/// Pause before a broken watch is begun anew.
const RESYNC_PAUSE: Duration = Duration::from_millis(100);

/// How long somebody who waits for a revision trusts the watch to bring it. After that the picture is read:
/// the watch may be broken, or the revision may have changed nothing of the picture at all.
const WATCH_PATIENCE: Duration = Duration::from_millis(200);

/// Why the picture could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is unreadable. Nothing is skipped silently.
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
    picture: RwLock<Arc<Picture>>,
    revision: watch::Sender<Revision>,
}

impl ClusterView {
    /// Loads the picture and keeps it from then on.
    pub async fn open(store: Arc<dyn MetadataStore>, keys: Keys) -> Result<Self, ViewError> {
        let picture = load(&*store, &keys).await?;
        let shared = Arc::new(Shared {
            revision: watch::Sender::new(picture.revision),
            picture: RwLock::new(Arc::new(picture)),
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

    /// The cluster as known now.
    pub fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.shared.picture.read())
    }

    /// The topics as known now.
    pub fn topics(&self) -> Arc<Topics> {
        Arc::clone(&self.shared.picture.read().topics)
    }

    /// Waits until the picture shows what was written at `revision`, which need not have changed anything of it.
    pub async fn reached(&self, revision: Revision) {
        let mut reached = self.shared.revision.subscribe();
        loop {
            // The sender lives as long as `self`, so the only other end of the wait is its time-out.
            let waiting = reached.wait_for(|known| *known >= revision);
            if tokio::time::timeout(WATCH_PATIENCE, waiting).await.is_ok() {
                return;
            }
            match load(&*self.store, &self.keys).await {
                Ok(picture) => self.shared.replace(picture),
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

async fn load(store: &dyn MetadataStore, keys: &Keys) -> Result<Picture, ViewError> {
    let (revision, kvs) = store.list(keys.picture()).await?;
    let mut picture = Picture {
        revision,
        ..Picture::default()
    };
    for kv in kvs {
        picture.put(keys, &kv)?;
    }
    Ok(picture)
}

/// Never ends by itself: whatever breaks, the picture is loaded anew.
async fn follow(store: Arc<dyn MetadataStore>, keys: Keys, shared: Arc<Shared>) {
    loop {
        let known = *shared.revision.borrow();
        if let Err(why) = follow_watch(&*store, &keys, &shared, known).await {
            warn!(%why, "the picture of the cluster is loaded anew");
        }
        loop {
            tokio::time::sleep(RESYNC_PAUSE).await;
            match load(&*store, &keys).await {
                Ok(picture) => {
                    shared.replace(picture);
                    break;
                }
                Err(error) => error!(%error, "the picture of the cluster is out of date"),
            }
        }
    }
}

async fn follow_watch(
    store: &dyn MetadataStore,
    keys: &Keys,
    shared: &Shared,
    known: Revision,
) -> Result<(), String> {
    let request = WatchRequest::new(keys.picture()).from(known.next());
    let mut watch = store
        .watch(request)
        .await
        .map_err(|error| error.to_string())?;
    loop {
        let batch = watch.next().await.map_err(|error| error.to_string())?;
        shared.apply(keys, batch)?;
    }
}

impl Shared {
    /// A whole picture, unless a newer one is there.
    fn replace(&self, new: Picture) {
        let mut picture = self.picture.write();
        if new.revision > picture.revision {
            self.publish(&mut picture, new);
        }
    }

    /// The events behind the picture, unless it shows them already.
    fn apply(&self, keys: &Keys, batch: WatchBatch) -> Result<(), String> {
        let mut picture = self.picture.write();
        if batch.revision > picture.revision {
            let mut new = Picture::clone(&picture);
            for event in &batch.events {
                new.apply(keys, event).map_err(|error| error.to_string())?;
            }
            new.revision = batch.revision;
            self.publish(&mut picture, new);
        }
        Ok(())
    }

    fn publish(&self, picture: &mut Arc<Picture>, new: Picture) {
        let revision = new.revision;
        *picture = Arc::new(new);
        self.revision.send_replace(revision);
    }
}

#[cfg(test)]
mod tests;

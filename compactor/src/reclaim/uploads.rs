//! Drops the parts of uploads that nobody will complete: a compactor that died in the middle of a table file leaves them, no
//! listing of objects shows them, and the bucket bills them.
//!
//! The rule is that of the sweep: the name that the object was to have says which session writes it. A session that lasts may
//! complete it; one that is over may not make what it puts count any more (F2). It is aborted a whole grace after it was first
//! seen so, by the monotonic clock of one process.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::object_store::{UnfinishedUpload, UnfinishedUploads};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::store::MetadataStore;
use alluvium_segment::object_key::{ObjectKey, TABLES_PREFIX};
use object_store::path::Path;
use tokio::time::Instant;
use tracing::debug;

use super::Graves;
use super::sweep::{SweepError, live_sessions, log_of, writer_of};

/// Pages of a listing, at most: ten thousand uploads. The rest is found when these are gone.
const PAGES_MAX: usize = 10;

/// See the module's documentation.
pub struct UploadSweeper {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    uploads: Arc<dyn UnfinishedUploads>,
    graves: Arc<Graves>,
    /// When an upload was first seen whose session is over.
    suspects: HashMap<UnfinishedUpload, Instant>,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadsSeen {
    /// Uploads of sessions that are over, which are looked at again.
    pub suspects: usize,
    /// Those that have been so for a whole grace.
    pub stale: Vec<UnfinishedUpload>,
}

impl UploadSweeper {
    /// Suspects nothing yet. The grace is that of `graves`, which counts what is aborted.
    pub fn new(
        (store, keys): (Arc<dyn MetadataStore>, Keys),
        uploads: Arc<dyn UnfinishedUploads>,
        graves: Arc<Graves>,
    ) -> Self {
        Self {
            store,
            keys,
            uploads,
            graves,
            suspects: HashMap::new(),
        }
    }

    /// Looks once, and aborts nothing.
    ///
    /// # Errors
    /// Something could not be read: then nothing is decided.
    pub async fn look(&mut self) -> Result<UploadsSeen, SweepError> {
        // First what is there, then who lives: what a new session begins meanwhile is not taken for garbage.
        let listed = self.list().await?;
        let alive = live_sessions(&*self.store, &self.keys).await?;
        let mut suspects = HashMap::new();
        for upload in listed {
            let Ok(key) = ObjectKey::parse(upload.location.as_ref()) else {
                continue;
            };
            let writer = writer_of(&key).map(|(written, _)| log_of(&written));
            if writer.is_none_or(|session| alive.contains(&session)) {
                continue;
            }
            let since = self.suspects.get(&upload).copied();
            suspects.insert(upload, since.unwrap_or_else(Instant::now));
        }
        self.suspects = suspects;
        let grace = self.graves.grace();
        let stale = self.suspects.iter();
        let stale = stale.filter(|(_, since)| since.elapsed() >= grace);
        let stale: Vec<_> = stale.map(|(upload, _)| upload.clone()).collect();
        Ok(UploadsSeen {
            suspects: self.suspects.len() - stale.len(),
            stale,
        })
    }

    /// Looks once, and aborts what is stale. How many that were.
    ///
    /// # Errors
    /// Something could not be read or aborted. What is left is found again.
    pub async fn sweep(&mut self) -> Result<usize, SweepError> {
        let stale = self.look().await?.stale;
        for upload in &stale {
            self.abort(upload).await?;
        }
        Ok(stale.len())
    }

    /// Aborts one that is stale.
    ///
    /// # Errors
    /// The bucket did not, or it is unknown whether it did: then it is found again.
    pub async fn abort(&mut self, upload: &UnfinishedUpload) -> Result<(), SweepError> {
        self.uploads.abort(upload).await?;
        self.suspects.remove(upload);
        self.graves.count_aborted_upload();
        debug!(object = %upload.location, "aborted an upload whose session is over");
        Ok(())
    }

    /// Forgets what was seen.
    pub fn forget(&mut self) {
        self.suspects.clear();
    }

    async fn list(&self) -> Result<Vec<UnfinishedUpload>, SweepError> {
        // All that is put in parts.
        let prefix = Path::from(TABLES_PREFIX);
        let (mut listed, mut after) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.uploads.list(&prefix, after).await?;
            listed.extend(page.uploads);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(listed)
    }
}

//! Watches: history from a revision, then what is written, without a seam between the two.
//!
//! A watch pulls. It holds a position, not a queue that writers fill, so a slow watcher costs the store
//! nothing. One that falls behind what compaction keeps gets [`WatchError::Compacted`] and must
//! resynchronise: read the range, then watch from behind the revision of that read.

use std::fmt;

use async_trait::async_trait;

use super::error::StoreError;
use super::range::KeyRange;
use super::types::{Event, Revision};

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which keys.
    pub range: KeyRange,
    /// First revision of interest, past or future; `None`: the one after the newest.
    pub from: Option<Revision>,
}

impl WatchRequest {
    /// Watches what is written from now on.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self { range, from: None }
    }

    /// Starts with the events of `revision`.
    #[must_use]
    pub fn from(mut self, revision: Revision) -> Self {
        self.from = Some(revision);
        self
    }
}

/// All matching events of one revision. Never empty; the keys differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision.
    pub revision: Revision,
    /// Its events, in the order of the transaction's operations.
    pub events: Vec<Event>,
}

/// Why a watch ended. It stays ended: start another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Events were forgotten before they were delivered: the start lay too far back, or the watcher was
    /// too slow. Resynchronise by a read.
    #[error("watch fell behind: revision {requested} was compacted, the oldest is {compacted}")]
    Compacted {
        /// The next revision the watch would have delivered.
        requested: Revision,
        /// The oldest that can still be watched.
        compacted: Revision,
    },
    /// The store failed. Watch again from behind the last delivered revision.
    #[error("watch ended: {0}")]
    Ended(#[from] StoreError),
}

/// Where a watch's events come from; each kind of store has one.
#[async_trait]
pub trait WatchSource: Send + fmt::Debug {
    /// The next batch. Cancel-safe: a dropped future loses no batch.
    ///
    /// # Errors
    /// See [`WatchError`].
    async fn next(&mut self) -> Result<WatchBatch, WatchError>;
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    source: Box<dyn WatchSource>,
    ended: Option<WatchError>,
}

impl Watch {
    /// A watch over a source; for implementations of the store.
    #[must_use]
    pub fn new(source: impl WatchSource + 'static) -> Self {
        Self {
            source: Box::new(source),
            ended: None,
        }
    }

    /// Waits for the next revision with matching events. Cancel-safe.
    ///
    /// # Errors
    /// Why the watch ended; the same error on every later call.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let next = self.source.next().await;
        if let Err(error) = &next {
            self.ended = Some(error.clone());
        }
        next
    }
}

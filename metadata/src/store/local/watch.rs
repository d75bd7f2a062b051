//! Watches of a local store: a position in history that follows the newest durable revision.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use tokio::sync::watch;

use super::Backing;
use super::backing::stopped;
use crate::store::engine::EventsRequest;
use alluvium_common::error::Outcome;

use crate::store::error::StoreError;
use crate::store::types::Revision;
use crate::store::watch::{WatchBatch, WatchError, WatchRequest, WatchSource};

/// Holds the store weakly, so that a forgotten watch does not keep a data folder open.
#[derive(Debug)]
pub(super) struct LocalWatch<B> {
    backing: Weak<B>,
    newest: watch::Receiver<Revision>,
    position: EventsRequest,
    /// Read but not delivered; at most one page.
    ready: VecDeque<WatchBatch>,
}

impl<B: Backing> LocalWatch<B> {
    pub(super) fn new(backing: &Arc<B>, request: WatchRequest) -> Self {
        let newest = backing.newest();
        let from = request.from.unwrap_or_else(|| newest.borrow().next());
        let position = EventsRequest {
            range: request.range,
            from,
        };
        Self {
            backing: Arc::downgrade(backing),
            newest,
            position,
            ready: VecDeque::new(),
        }
    }

    fn read_page(&mut self) -> Result<(), WatchError> {
        let backing = self
            .backing
            .upgrade()
            .ok_or_else(|| stopped(Outcome::NotDone))?;
        let page = backing
            .events(&self.position)
            .map_err(|error| match error {
                StoreError::Compacted {
                    requested,
                    compacted,
                } => WatchError::Compacted {
                    requested,
                    compacted,
                },
                other => WatchError::Ended(other),
            })?;
        self.position.from = page.next;
        self.ready = page.batches.into();
        Ok(())
    }
}

#[async_trait]
impl<B: Backing> WatchSource for LocalWatch<B> {
    async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let from = self.position.from;
            let reached = self.newest.wait_for(|newest| *newest >= from).await;
            drop(reached.map_err(|_| stopped(Outcome::NotDone))?);
            self.read_page()?;
        }
    }
}

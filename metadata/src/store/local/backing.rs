//! What a medium offers to [`super::LocalStore`].

use std::fmt::Debug;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::store::engine::{Command, EventsPage, EventsRequest, Reply};
use alluvium_common::error::Outcome;

use crate::store::error::StoreError;
use crate::store::range::{RangeRequest, RangeResponse};
use crate::store::types::Revision;

/// A medium that runs commands one after the other and reads snapshots of what is durable.
#[async_trait]
#[expect(
    private_interfaces,
    reason = "sealed: implemented in this module's tree only"
)]
pub trait Backing: Debug + Send + Sync + 'static {
    /// Runs a command and returns when its effect is durable.
    async fn submit(&self, command: Command) -> Result<Reply, StoreError>;
    /// Reads a range of what is durable.
    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError>;
    /// Reads events of what is durable.
    fn events(&self, request: &EventsRequest) -> Result<EventsPage, StoreError>;
    /// The newest durable revision: moved before the command that made it is answered.
    fn newest(&self) -> watch::Receiver<Revision>;
}

/// The store went away under a call.
pub(super) fn stopped(outcome: Outcome) -> StoreError {
    StoreError::Stopped {
        outcome,
        reason: "closed".to_owned(),
    }
}

/// A task that carried a call ended without an answer: its runtime is shutting down.
pub(super) fn task_lost(error: &tokio::task::JoinError) -> StoreError {
    StoreError::Stopped {
        outcome: Outcome::Unknown,
        reason: error.to_string(),
    }
}

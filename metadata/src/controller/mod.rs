//! The controller: one broker, elected in the metadata store, that decides which broker leads what.
//!
//! Every broker runs a [`Controller`]; that of the elected broker works. [`plan`] looks at a picture of the cluster and
//! says what should change: partitions of brokers that are gone are assigned to others, brokers that shall lead nothing
//! are emptied, loads are made even. The worker writes that, everything under the controller's epoch (F5), what follows
//! from a broker's death also under the absence of its session (F2). A plan is made anew of every new picture and
//! nothing is remembered that would have to be right: whoever is elected next goes on from the store alone.
//!
//! [`placement`] chooses brokers, here and for new topics. [`unclean`] gives up a write-ahead log that nobody has.

mod apply;
pub mod coordinators;
pub mod election;
pub mod placement;
pub mod plan;
mod presence;
pub mod standing;
mod status;
#[cfg(test)]
mod testing;
pub mod unclean;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::topic::TopicId;
use async_trait::async_trait;
use tokio::sync::watch;

use crate::keys::Keys;
use crate::model::TopicRecord;
use crate::session::Session;
use crate::store::MetadataStore;
use crate::topics::{TopicError, TopicWriter};
use crate::view::ClusterView;

use plan::PlanOptions;
pub use status::ControllerStatus;
use worker::Worker;

/// How a controller works.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// Limits of its plans.
    pub plan: PlanOptions,
    /// After this time it looks at the picture though nothing changed: delays pass without an event.
    pub tick: Duration,
    /// Pause behind each round, in which changes gather. Bounds what plans cost when thousands of partitions are
    /// opened one by one.
    pub round_pause: Duration,
    /// How long after its own start a broker waits for brokers it has not seen yet before it takes away what they
    /// lead. About the time in which processes that are started together are all there.
    pub start_grace: Duration,
    /// How long partitions without a topic are kept: far longer than the creation of a topic takes.
    pub orphan_grace: Duration,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            plan: PlanOptions::default(),
            tick: Duration::from_secs(1),
            round_pause: Duration::from_millis(100),
            start_grace: Duration::from_secs(5),
            orphan_grace: Duration::from_secs(10 * 60),
        }
    }
}

/// Deletes partitions whose topic does not exist.
#[async_trait]
pub trait RemoveOrphans: Send + Sync + std::fmt::Debug {
    /// Deletes the partitions of that topic.
    ///
    /// # Errors
    /// As [`TopicWriter::remove_orphans`]; some may be deleted then.
    async fn remove_orphans(&self, topic_id: TopicId) -> Result<(), TopicError>;
}

#[async_trait]
impl RemoveOrphans for TopicWriter {
    async fn remove_orphans(&self, topic_id: TopicId) -> Result<(), TopicError> {
        Self::remove_orphans(self, topic_id).await
    }
}

/// Whether partitions of a topic are rather led with records missing than not led.
pub type AllowUnclean = Arc<dyn Fn(&TopicRecord) -> bool + Send + Sync>;

/// What a controller works with.
pub struct ControllerParts {
    /// The store.
    pub store: Arc<dyn MetadataStore>,
    /// Names its keys.
    pub keys: Keys,
    /// The broker's session.
    pub session: Arc<Session>,
    /// The broker's picture of the cluster.
    pub view: Arc<ClusterView>,
    /// Deletes what is left of topics.
    pub orphans: Arc<dyn RemoveOrphans>,
    /// See [`plan::unclean_as_configured`].
    pub allow_unclean: AllowUnclean,
}

/// The controller of one broker; works while that is elected. Dropped, it ends at once, and its election with the
/// session.
#[derive(Debug)]
pub struct Controller {
    status: watch::Receiver<ControllerStatus>,
    stop: watch::Sender<bool>,
    worker: tokio::task::JoinHandle<()>,
}

impl Controller {
    /// Takes part in elections from now on.
    pub fn start(parts: ControllerParts, options: ControllerOptions) -> Self {
        let (status, seen) = watch::channel(ControllerStatus::default());
        let (stop, stopped) = watch::channel(false);
        let worker = Worker::new(parts, options, status);
        Self {
            status: seen,
            stop,
            worker: tokio::spawn(worker.run(stopped)),
        }
    }

    /// Whether this broker believes to be elected. Only its writes know (F5).
    pub fn is_controller(&self) -> bool {
        self.status.borrow().elected.is_some()
    }

    /// What it is and does, now and whenever that changes.
    pub fn status(&self) -> watch::Receiver<ControllerStatus> {
        self.status.clone()
    }

    /// Ends its work, and its election, so that another broker is elected at once. To be called before the session is
    /// closed.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        // It cannot be cancelled but by `drop`, and a panic in it is the runtime's to report.
        let _ended = (&mut self.worker).await;
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

#[cfg(test)]
mod tests;

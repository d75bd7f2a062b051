//! One group shard while this broker coordinates it: its groups, and what makes them its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::groups::Groups;
use super::host::Host;
use super::load::OpenError;
use super::ownership::Ownership;
use super::writer::Writer;
use crate::coordinator::group::{Effects, GroupError, GroupRegistry, Now, Reply, WaiterId};
use crate::coordinator::group_shard::GroupShard;
use crate::coordinator::keys::GroupKeys;
use crate::coordinator::stored::writer::WriterRecord;
use crate::store::{MetadataStoreExt, Revision, StoreError};

#[derive(Debug)]
pub(super) struct Shard {
    pub id: GroupShard,
    pub host: Arc<Host>,
    pub keys: GroupKeys,
    pub groups: Groups,
    pub ownership: Arc<dyn Ownership>,
    /// Names this coordinator of the shard in the writer's key. Random, another one each time a shard is opened.
    pub coordinator: u128,
}

/// A shard that is loaded and does not serve yet.
pub(super) struct Loaded {
    pub shard: Arc<Shard>,
    pub writer: Writer,
    /// When the shard was taken over.
    pub revision: Revision,
}

impl Shard {
    /// Takes the shard over from whoever had it, and loads it.
    pub async fn open(
        host: Arc<Host>,
        id: GroupShard,
        ownership: Arc<dyn Ownership>,
    ) -> Result<Loaded, OpenError> {
        let shard = Arc::new(Self {
            id,
            keys: GroupKeys::new(&host.keys, id),
            groups: Groups::new(&host.config, host.budget.clone()),
            ownership,
            coordinator: host.random.uuid().as_u128(),
            host,
        });
        let writer = Writer::take_over(shard.clone()).await?;
        let revision = writer.revision();
        shard.load(revision).await?;
        Ok(Loaded {
            shard,
            writer,
            revision,
        })
    }

    /// Refuses what cannot be served, before any group is touched.
    pub fn admit(&self) -> Result<(), GroupError> {
        match self.ownership.is_held() {
            true => Ok(()),
            false => Err(GroupError::NotCoordinator),
        }
    }

    /// Lets the groups decide about a request. Its reply comes through the receiver.
    pub fn ask(
        &self,
        event: impl FnOnce(&mut GroupRegistry, WaiterId, Now) -> Effects,
    ) -> Result<oneshot::Receiver<Reply>, GroupError> {
        self.admit()?;
        let waiter = WaiterId(self.host.next_waiter.fetch_add(1, Ordering::Relaxed));
        let now = self.host.now();
        self.groups
            .ask(waiter, now, |registry| event(registry, waiter, now))
    }

    /// Looks at the groups.
    pub fn read<T>(&self, look: impl FnOnce(&GroupRegistry) -> T) -> Result<T, GroupError> {
        self.admit()?;
        self.groups.read(look)
    }

    /// Runs an event that nobody waits for; a shard that has stopped has none.
    pub fn with(&self, event: impl FnOnce(&mut GroupRegistry, Now) -> Effects) {
        let now = self.host.now();
        self.groups.run(now, |registry| event(registry, now));
    }

    /// Makes sure that nobody else has coordinated the shard until now. Another broker may have taken it over while
    /// this one has heard nothing of it and holds its session; nothing is acknowledged here then, since every
    /// acknowledgement follows a transaction, but what is in memory may be older than what was acknowledged there.
    pub async fn confirm(&self) -> Result<(), GroupError> {
        self.admit()?;
        let asked = tokio::time::timeout(self.host.config.commit_timeout, self.is_last_writer());
        match asked.await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => {
                info!(shard = %self.id, "another group coordinator has taken over");
                self.stop_by_itself(GroupError::NotCoordinator);
                Err(GroupError::NotCoordinator)
            }
            Ok(Err(error)) => {
                warn!(shard = %self.id, %error, "who coordinates a group shard cannot be read");
                Err(GroupError::CoordinatorNotAvailable)
            }
            Err(_elapsed) => Err(GroupError::CoordinatorNotAvailable),
        }
    }

    /// Whoever takes over puts the writer's key before anything else, so while it is ours nobody has.
    async fn is_last_writer(&self) -> Result<bool, StoreError> {
        let found = self.host.store.get(self.keys.writer()).await?;
        let record = found.and_then(|kv| WriterRecord::decode(&kv.value).ok());
        Ok(record.is_some_and(|record| record.coordinator == self.coordinator))
    }

    /// Answers everybody with NOT_COORDINATOR, now and from now on.
    pub fn close(&self) {
        let now = self.host.now();
        self.groups.stop(GroupError::NotCoordinator, now, || {});
        self.host.forget_stop(self.id, self.coordinator);
    }

    /// The same with `error`, when nobody asked for it: somebody is told.
    pub fn stop_by_itself(&self, error: GroupError) {
        let report = || self.host.report_stop(self.id, self.coordinator, error);
        self.groups.stop(error, self.host.now(), report);
    }

    /// Task: wakes the groups at their deadlines.
    pub async fn keep_time(self: Arc<Self>) {
        while let Some(next) = self.groups.next_deadline() {
            tokio::select! {
                () = tokio::time::sleep_until(self.instant(next)) => {}
                () = self.groups.deadline_moved() => {}
            }
            self.groups.on_time(self.host.now());
        }
    }

    /// A deadline beyond a year means none; tokio's timers do not reach further than two.
    fn instant(&self, at: Duration) -> Instant {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let latest = self.host.started.elapsed() + YEAR;
        self.host.started + at.min(latest)
    }
}

//! The group coordinator as the broker uses it: many groups, real time, a real store.
//!
//! Nouns: a **group shard** is one of the sixteen parts of a cluster's groups, owned by one broker at a time; a
//! **slot** is its place in this broker, closed, loading or open; a **waiter** is a request that waits for its reply;
//! the **write queue** of a shard takes what its groups want stored, in order and bounded; its **writer** makes
//! transactions of it, one in flight, each as large as the store takes, so that commits of many groups share one.
//!
//! Flow of a request: find the group's shard, lock its groups, let the state machine decide, carry its effects out
//! (answer waiters, queue writes), unlock, await the reply. Flow of a write: queue, transaction, then back into the
//! groups as an event, which answers whoever waited.
//!
//! How a shard moves: the new owner puts the shard's writer key, from which moment on nothing of the old one's takes
//! effect, reads what is stored, and serves. Members go on without a rebalance. The old owner may hear of it late:
//! it acknowledges nothing meanwhile, since its transactions fail, and it tells no committed offset that might be old,
//! since before each answer it makes sure that the writer key is still its own (I14).
//!
//! What may fail, and how it is told:
//! - The store does not answer: the writer asks again until it knows (each transaction takes effect once
//!   at most, see `exclusive`). Clients are told COORDINATOR_NOT_AVAILABLE after
//!   `offsets.commit.timeout.ms`, which leaves open whether the commit counts.
//! - The queues are full: the same answer, and the write is certainly not done.
//! - Another coordinator took over, or this broker's session ended: everybody is told NOT_COORDINATOR
//!   and nothing is served from memory any more. It concerns one shard; the others go on.
//! - A shard is being loaded: COORDINATOR_LOAD_IN_PROGRESS; clients ask again.

mod batch;
mod exclusive;
mod groups;
mod host;
mod load;
mod migrate;
mod ownership;
mod pauses;
mod queue;
mod shard;
mod slots;
#[cfg(test)]
mod tests;
mod topics;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use alluvium_common::clock::SharedClock;
use alluvium_common::rand::SharedRandom;
use alluvium_common::topic::TopicPartition;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tracing::debug;

pub use load::OpenError;
pub use migrate::migrate_groups;
pub use ownership::{Ownership, ShardOwnership, SoleOwner};

use self::host::Host;
use self::shard::Shard;
use self::slots::Slots;
use super::group::{
    CommitRequest, Effects, FetchedOffsets, GroupConfig, GroupDescription, GroupError, GroupId,
    GroupListing, GroupRegistry, HeartbeatRequest, JoinFailure, JoinRequest, JoinResult,
    LeaveRequest, LeaveResult, Now, OffsetDeleteRequest, PartitionsResult, Reply, SyncRequest,
    SyncResult, WaiterId,
};
use super::group_shard::GroupShard;
use crate::keys::Keys;
use crate::store::MetadataStore;
use crate::view::ClusterView;

/// Longest group id in bytes. Kafka has no limit but that of its strings; ours keeps a transaction of
/// offset commits, whose keys name the group, within what the store takes.
const GROUP_ID_BYTES_MAX: usize = 2048;

/// What a coordinator is made of.
#[derive(Debug)]
pub struct CoordinatorOptions {
    /// Keys of the cluster.
    pub keys: Keys,
    /// Settings.
    pub config: GroupConfig,
    /// Stamps commits.
    pub clock: SharedClock,
    /// Makes member ids.
    pub random: SharedRandom,
}

/// Which groups ListGroups asks for; empty lists ask for all. Compared without regard to case.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Names of states, see [`super::group::GroupState::name`]; an unknown one matches nothing.
    pub states: Vec<String>,
    /// Names of group types, of which all groups here are `classic`.
    pub types: Vec<String>,
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CoordinatorStats {
    /// Groups in memory.
    pub groups: usize,
    /// Writes that wait for a transaction.
    pub queued_writes: usize,
    /// Transactions that took effect since the start.
    pub transactions: u64,
    /// Writes that were stored since the start.
    pub stored_writes: u64,
}

/// A shard that serves no more, though nobody closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoppedShard {
    /// Which one.
    pub shard: GroupShard,
    /// What everybody is told since: another broker took over, or the store is of no more use.
    pub error: GroupError,
}

/// Coordinates the groups of the shards that this broker owns.
#[derive(Debug)]
pub struct GroupCoordinator {
    host: Arc<Host>,
    slots: Arc<Slots>,
    /// End with the coordinator.
    tasks: Mutex<JoinSet<()>>,
}

impl GroupCoordinator {
    /// A coordinator without a shard. Must be called inside a tokio runtime.
    pub fn new(store: Arc<dyn MetadataStore>, options: CoordinatorOptions) -> Self {
        let host = Arc::new(Host::new(store, options));
        let slots = Arc::new(Slots::new(host.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(slots.clone().expire_regularly());
        Self {
            host,
            slots,
            tasks: Mutex::new(tasks),
        }
    }

    /// Takes a shard over from whoever had it, loads it, and serves it from then on. Members that were there go on
    /// without a rebalance; their sessions begin anew. A shard that is open here is closed first: so a broker whose
    /// ownership was renewed opens it again.
    ///
    /// # Errors
    /// The store does not answer, this broker is not the owner, or what is stored is damaged: the shard is
    /// closed then. [`OpenError::Closed`]: it was closed, or opened again, meanwhile.
    pub async fn open_shard(
        &self,
        shard: GroupShard,
        ownership: Arc<dyn Ownership>,
    ) -> Result<(), OpenError> {
        self.slots.open(shard, ownership).await
    }

    /// Stops serving a shard and answers everybody with NOT_COORDINATOR. What is queued and not yet stored is
    /// dropped; nobody was told that it is.
    pub fn close_shard(&self, shard: GroupShard) {
        self.slots.close(shard);
    }

    /// Closes all shards.
    pub fn close(&self) {
        self.slots.close_all();
    }

    /// The shards that are served here, in order.
    pub fn owned(&self) -> Vec<GroupShard> {
        let serving = self.slots.serving();
        serving.iter().map(|shard| shard.id).collect()
    }

    /// Resolves when a shard has stopped by itself; each is told of once. Only opening it anew helps.
    pub async fn stopped(&self) -> StoppedShard {
        let (shard, error) = self.host.next_stop().await;
        StoppedShard { shard, error }
    }

    /// JoinGroup.
    pub async fn join(&self, request: JoinRequest) -> JoinResult {
        let reason = request.reason.as_deref().unwrap_or("not provided");
        debug!(group = %request.group_id, member = %request.member_id, reason, "member joins");
        let fresh_id = self.host.fresh_member_id(&request);
        let failure = |error| JoinFailure {
            error,
            member_id: request.member_id.clone(),
        };
        let id = request.group_id.clone();
        let reply = self.ask(&id, |registry, waiter, now| {
            registry.join(&request, fresh_id, waiter, now)
        });
        match reply.await {
            Ok(Reply::Join(result)) => result,
            other => Err(failure(unexpected(other))),
        }
    }

    /// SyncGroup.
    pub async fn sync(&self, request: SyncRequest) -> SyncResult {
        let id = request.group_id.clone();
        let reply = self.ask(&id, |registry, waiter, now| {
            registry.sync(request, waiter, now)
        });
        match reply.await {
            Ok(Reply::Sync(result)) => result,
            other => Err(unexpected(other)),
        }
    }

    /// Heartbeat.
    pub fn heartbeat(&self, request: &HeartbeatRequest) -> Result<(), GroupError> {
        let shard = self.find(&request.group_id)?;
        shard.admit()?;
        let now = self.host.now();
        shard
            .groups
            .change(|registry| registry.heartbeat(request, now))?
    }

    /// LeaveGroup.
    pub async fn leave(&self, request: LeaveRequest) -> LeaveResult {
        for member in &request.members {
            let reason = member.reason.as_deref().unwrap_or("not provided");
            debug!(group = %request.group_id, member = %member.member_id, reason, "member leaves");
        }
        let reply = self.ask(&request.group_id, |registry, waiter, now| {
            registry.leave(&request, waiter, now)
        });
        match reply.await {
            Ok(Reply::Leave(result)) => result,
            other => Err(unexpected(other)),
        }
    }

    /// OffsetCommit. A success is stored; COORDINATOR_NOT_AVAILABLE may or may not be.
    pub async fn commit_offsets(&self, request: CommitRequest) -> PartitionsResult {
        let id = request.group_id.clone();
        let reply = self.ask(&id, |registry, waiter, now| {
            registry.commit(request, waiter, now)
        });
        match reply.await {
            Ok(Reply::Commit(result)) => result,
            other => Err(unexpected(other)),
        }
    }

    /// OffsetFetch of one group: of the given partitions, or of all with `None`. A group that does not
    /// exist has no offsets, which is no error. What is returned is never older than what was acknowledged before
    /// the call, by whichever broker (I14).
    pub async fn fetch_offsets(
        &self,
        group_id: &GroupId,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<FetchedOffsets, GroupError> {
        let shard = self.find(group_id)?;
        shard.confirm().await?;
        shard.read(|registry| registry.fetch_offsets(group_id, partitions))
    }

    /// OffsetDelete.
    pub async fn delete_offsets(&self, request: OffsetDeleteRequest) -> PartitionsResult {
        let reply = self.ask(&request.group_id, |registry, waiter, now| {
            registry.delete_offsets(&request, waiter, now)
        });
        match reply.await {
            Ok(Reply::OffsetDelete(result)) => result,
            other => Err(unexpected(other)),
        }
    }

    /// One group of DeleteGroups.
    pub async fn delete_group(&self, group_id: &GroupId) -> Result<(), GroupError> {
        let reply = self.ask(group_id, |registry, waiter, now| {
            registry.delete_group(group_id, waiter, now)
        });
        match reply.await {
            Ok(Reply::DeleteGroup(result)) => result,
            other => Err(unexpected(other)),
        }
    }

    /// One group of DescribeGroups; [`GroupError::GroupIdNotFound`] for an unknown one.
    pub fn describe_group(&self, group_id: &GroupId) -> Result<GroupDescription, GroupError> {
        self.find(group_id)?
            .read(|registry| registry.describe(group_id))?
    }

    /// ListGroups: the groups of the shards that are served here, in order of group id.
    pub fn list_groups(&self, filter: &ListFilter) -> Result<Vec<GroupListing>, GroupError> {
        if self.slots.is_loading() {
            return Err(GroupError::CoordinatorLoadInProgress);
        }
        let mut listed = Vec::new();
        for shard in self.slots.serving() {
            listed.extend(filter.select(&shard)?);
        }
        listed.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(listed)
    }

    /// Drops the committed offsets of topics as they are deleted, and of those that were deleted before a shard was
    /// opened. To be called once.
    pub fn follow_topics(&self, view: Arc<ClusterView>) {
        let follower = self.slots.clone().follow(view);
        self.tasks.lock().spawn(follower);
    }

    /// Figures for metrics.
    pub fn stats(&self) -> CoordinatorStats {
        let serving = self.slots.serving();
        CoordinatorStats {
            groups: serving.iter().map(|shard| shard.groups.len()).sum(),
            queued_writes: self.host.budget.writes(),
            transactions: self.host.transactions.load(Ordering::Relaxed),
            stored_writes: self.host.stored_writes.load(Ordering::Relaxed),
        }
    }

    fn find(&self, id: &GroupId) -> Result<Arc<Shard>, GroupError> {
        if id.as_str().len() > GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        self.slots.find(id)
    }

    /// Lets the group's shard decide about a request and waits for the reply.
    async fn ask(
        &self,
        id: &GroupId,
        event: impl FnOnce(&mut GroupRegistry, WaiterId, Now) -> Effects,
    ) -> Result<Reply, GroupError> {
        let reply = self.find(id)?.ask(event)?;
        reply.await.map_err(|_| GroupError::CoordinatorNotAvailable)
    }
}

/// The error of a request that got none of its own replies.
fn unexpected(reply: Result<Reply, GroupError>) -> GroupError {
    reply.err().unwrap_or(GroupError::CoordinatorNotAvailable)
}

impl ListFilter {
    /// The groups of a shard that are asked for; none of a shard that has stopped meanwhile.
    fn select(&self, shard: &Shard) -> Result<Vec<GroupListing>, GroupError> {
        let names = |wanted: &[String], name: &str| {
            wanted.is_empty() || wanted.iter().any(|w| w.eq_ignore_ascii_case(name))
        };
        shard.admit()?;
        if !names(&self.types, "classic") {
            return Ok(Vec::new());
        }
        let wanted = |listing: &GroupListing| names(&self.states, listing.state.name());
        let selected = shard
            .groups
            .read(|groups| groups.list().filter(wanted).collect());
        Ok(selected.unwrap_or_default())
    }
}

//! The group coordinator as the broker uses it: many groups, real time, a real store.
//!
//! Nouns: a **shard** holds the groups of some group ids behind one short lock, which is never held
//! across an await; a **waiter** is a request that waits for its reply; the **write queue** takes what
//! the shards want stored, in order and bounded; the **writer** makes transactions of it, one in flight,
//! each as large as the store takes, so that commits of many groups share one.
//!
//! Flow of a request: lock the shard, let the state machine decide, carry its effects out (answer
//! waiters, queue writes), unlock, await the reply. Flow of a write: queue, transaction, then back into
//! the shard as an event, which answers whoever waited.
//!
//! What may fail, and how it is told:
//! - The store does not answer: the writer asks again until it knows (each transaction takes effect once
//!   at most, see `stored::writer`). Clients are told COORDINATOR_NOT_AVAILABLE after
//!   `offsets.commit.timeout.ms`, which leaves open whether the commit counts.
//! - The queue is full: the same answer, and the write is certainly not done.
//! - Another coordinator took over, or this broker's session ended: everybody is told NOT_COORDINATOR
//!   and nothing is served from memory any more.

mod batch;
mod load;
mod ownership;
mod queue;
mod shard;
#[cfg(test)]
mod tests;
mod topics;
mod writer;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_common::clock::SharedClock;
use alluvium_common::rand::SharedRandom;
use alluvium_common::topic::TopicPartition;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;

pub use load::OpenError;
pub use ownership::{Ownership, SoleOwner};

use self::queue::WriteQueue;
use self::shard::Shard;
use self::writer::Writer;
use super::group::{
    CommitRequest, Effects, FetchedOffsets, GroupConfig, GroupDescription, GroupError, GroupId,
    GroupListing, GroupRegistry, HeartbeatRequest, JoinFailure, JoinRequest, JoinResult,
    LeaveRequest, LeaveResult, MemberId, Now, OffsetDeleteRequest, PartitionsResult, Reply,
    SyncRequest, SyncResult, WaiterId,
};
use super::keys::GroupKeys;
use crate::keys::Keys;
use crate::store::MetadataStore;
use crate::view::ClusterView;

/// Shards. More of them means less waiting for a lock; sixteen are more than the cores that decide
/// about groups at one time.
const SHARDS: usize = 16;

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
    /// What makes this broker the coordinator.
    pub ownership: Arc<dyn Ownership>,
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

/// Coordinates all groups of a cluster.
#[derive(Debug)]
pub struct GroupCoordinator {
    inner: Arc<Inner>,
    /// End with the coordinator.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Inner {
    shards: Vec<Shard>,
    queue: WriteQueue,
    config: GroupConfig,
    ownership: Arc<dyn Ownership>,
    clock: SharedClock,
    random: SharedRandom,
    started: Instant,
    next_waiter: AtomicU64,
    transactions: AtomicU64,
    stored_writes: AtomicU64,
    stopped: watch::Sender<Option<GroupError>>,
}

impl GroupCoordinator {
    /// Takes the groups over from whoever had them, loads them, and starts to serve. Members that were
    /// there go on without a rebalance; their sessions begin anew.
    ///
    /// # Errors
    /// The store does not answer, this broker is not the owner, or what is stored is damaged.
    pub async fn open(
        store: Arc<dyn MetadataStore>,
        options: CoordinatorOptions,
    ) -> Result<Self, OpenError> {
        let keys = GroupKeys::new(&options.keys);
        let inner = Arc::new(Inner {
            shards: (0..SHARDS).map(|_| Shard::new(&options.config)).collect(),
            queue: WriteQueue::default(),
            config: options.config,
            ownership: options.ownership,
            clock: options.clock,
            random: options.random,
            started: Instant::now(),
            next_waiter: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            stored_writes: AtomicU64::new(0),
            stopped: watch::Sender::new(None),
        });
        let writer = Writer::take_over(inner.clone(), store.clone(), keys.clone()).await?;
        inner.load(&*store, &keys).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run());
        tasks.spawn(inner.clone().expire_regularly());
        for index in 0..SHARDS {
            tasks.spawn(inner.clone().keep_time(index));
        }
        Ok(Self {
            inner,
            tasks: Mutex::new(tasks),
        })
    }

    /// JoinGroup.
    pub async fn join(&self, request: JoinRequest) -> JoinResult {
        let reason = request.reason.as_deref().unwrap_or("not provided");
        debug!(group = %request.group_id, member = %request.member_id, reason, "member joins");
        let fresh_id = self.inner.fresh_member_id(&request);
        let failure = |error| JoinFailure {
            error,
            member_id: request.member_id.clone(),
        };
        let id = request.group_id.clone();
        let reply = self.inner.ask(&id, |registry, waiter, now| {
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
        let reply = self.inner.ask(&id, |registry, waiter, now| {
            registry.sync(request, waiter, now)
        });
        match reply.await {
            Ok(Reply::Sync(result)) => result,
            other => Err(unexpected(other)),
        }
    }

    /// Heartbeat.
    pub fn heartbeat(&self, request: &HeartbeatRequest) -> Result<(), GroupError> {
        self.inner.heartbeat(request)
    }

    /// LeaveGroup.
    pub async fn leave(&self, request: LeaveRequest) -> LeaveResult {
        for member in &request.members {
            let reason = member.reason.as_deref().unwrap_or("not provided");
            debug!(group = %request.group_id, member = %member.member_id, reason, "member leaves");
        }
        let reply = self.inner.ask(&request.group_id, |registry, waiter, now| {
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
        let reply = self.inner.ask(&id, |registry, waiter, now| {
            registry.commit(request, waiter, now)
        });
        match reply.await {
            Ok(Reply::Commit(result)) => result,
            other => Err(unexpected(other)),
        }
    }

    /// OffsetFetch of one group: of the given partitions, or of all with `None`. A group that does not
    /// exist has no offsets, which is no error.
    pub fn fetch_offsets(
        &self,
        group_id: &GroupId,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<FetchedOffsets, GroupError> {
        self.inner.read(group_id, |registry| {
            registry.fetch_offsets(group_id, partitions)
        })
    }

    /// OffsetDelete.
    pub async fn delete_offsets(&self, request: OffsetDeleteRequest) -> PartitionsResult {
        let reply = self.inner.ask(&request.group_id, |registry, waiter, now| {
            registry.delete_offsets(&request, waiter, now)
        });
        match reply.await {
            Ok(Reply::OffsetDelete(result)) => result,
            other => Err(unexpected(other)),
        }
    }

    /// One group of DeleteGroups.
    pub async fn delete_group(&self, group_id: &GroupId) -> Result<(), GroupError> {
        let reply = self.inner.ask(group_id, |registry, waiter, now| {
            registry.delete_group(group_id, waiter, now)
        });
        match reply.await {
            Ok(Reply::DeleteGroup(result)) => result,
            other => Err(unexpected(other)),
        }
    }

    /// One group of DescribeGroups; [`GroupError::GroupIdNotFound`] for an unknown one.
    pub fn describe_group(&self, group_id: &GroupId) -> Result<GroupDescription, GroupError> {
        self.inner
            .read(group_id, |registry| registry.describe(group_id))?
    }

    /// ListGroups, in order of group id.
    pub fn list_groups(&self, filter: &ListFilter) -> Result<Vec<GroupListing>, GroupError> {
        self.inner.list(filter)
    }

    /// Drops the committed offsets of topics as they are deleted, and of those that were deleted before.
    /// To be called once.
    pub fn follow_topics(&self, view: Arc<ClusterView>) {
        let follower = self.inner.clone().follow_topics(view);
        self.tasks.lock().spawn(follower);
    }

    /// Stops serving and answers everybody with NOT_COORDINATOR. What is queued and not yet stored is
    /// dropped; nobody was told that it is.
    pub fn close(&self) {
        self.inner.stop(GroupError::NotCoordinator);
    }

    /// Resolves when the coordinator serves no more, with what everybody is told since: another took
    /// over, or the store is of no more use. Only opening anew helps.
    pub async fn stopped(&self) -> GroupError {
        let mut stopped = self.inner.stopped.subscribe();
        let error = stopped.wait_for(Option::is_some).await;
        // The sender lives as long as `self`.
        error
            .ok()
            .and_then(|error| *error)
            .unwrap_or(GroupError::NotCoordinator)
    }

    /// Figures for metrics.
    pub fn stats(&self) -> CoordinatorStats {
        CoordinatorStats {
            groups: self.inner.shards.iter().map(Shard::groups).sum(),
            queued_writes: self.inner.queue.len(),
            transactions: self.inner.transactions.load(Ordering::Relaxed),
            stored_writes: self.inner.stored_writes.load(Ordering::Relaxed),
        }
    }
}

/// The error of a request that got none of its own replies.
fn unexpected(reply: Result<Reply, GroupError>) -> GroupError {
    reply.err().unwrap_or(GroupError::CoordinatorNotAvailable)
}

impl Inner {
    fn now(&self) -> Now {
        Now {
            monotonic: self.started.elapsed(),
            wall_ms: self.clock.now_ms(),
        }
    }

    fn shard(&self, id: &GroupId) -> &Shard {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        &self.shards[(hasher.finish() % SHARDS as u64) as usize]
    }

    fn fresh_member_id(&self, request: &JoinRequest) -> MemberId {
        if !request.member_id.is_empty() {
            return MemberId::default();
        }
        let name = match &request.instance_id {
            Some(instance) => instance.as_str(),
            None => &request.client_id,
        };
        MemberId::new(&format!("{name}-{}", self.random.uuid()))
    }

    /// Refuses what cannot be served, before any group is touched.
    fn admit(&self, id: &GroupId) -> Result<(), GroupError> {
        if id.as_str().len() > GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        match self.ownership.is_held() {
            true => Ok(()),
            false => Err(GroupError::NotCoordinator),
        }
    }

    /// Lets the shard decide about a request and waits for the reply.
    async fn ask(
        &self,
        id: &GroupId,
        event: impl FnOnce(&mut GroupRegistry, WaiterId, Now) -> Effects,
    ) -> Result<Reply, GroupError> {
        self.admit(id)?;
        let waiter = WaiterId(self.next_waiter.fetch_add(1, Ordering::Relaxed));
        let now = self.now();
        let reply = self
            .shard(id)
            .ask(waiter, &self.queue, &self.config, now, |registry| {
                event(registry, waiter, now)
            })?;
        reply.await.map_err(|_| GroupError::CoordinatorNotAvailable)
    }

    fn read<T>(
        &self,
        id: &GroupId,
        look: impl FnOnce(&GroupRegistry) -> T,
    ) -> Result<T, GroupError> {
        self.admit(id)?;
        self.shard(id).read(look)
    }

    fn heartbeat(&self, request: &HeartbeatRequest) -> Result<(), GroupError> {
        let id = &request.group_id;
        self.admit(id)?;
        let now = self.now();
        self.shard(id)
            .change(|registry| registry.heartbeat(request, now))?
    }

    fn list(&self, filter: &ListFilter) -> Result<Vec<GroupListing>, GroupError> {
        self.admit(&GroupId::default())?;
        let names = |wanted: &[String], name: &str| {
            wanted.is_empty() || wanted.iter().any(|w| w.eq_ignore_ascii_case(name))
        };
        let mut listed = Vec::new();
        if !names(&filter.types, "classic") {
            return Ok(listed);
        }
        for shard in &self.shards {
            let of_shard: Vec<GroupListing> = shard.read(|registry| {
                let wanted = |listing: &GroupListing| names(&filter.states, listing.state.name());
                registry.list().filter(wanted).collect()
            })?;
            listed.extend(of_shard);
        }
        listed.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(listed)
    }

    /// Runs an event that nobody waits for; a shard that has stopped has none.
    fn with(&self, shard: &Shard, event: impl FnOnce(&mut GroupRegistry, Now) -> Effects) {
        let now = self.now();
        shard.run(&self.queue, &self.config, now, |registry| {
            event(registry, now)
        });
    }

    fn stop(&self, error: GroupError) {
        self.queue.close();
        let now = self.now();
        for shard in &self.shards {
            shard.stop(error, now);
        }
        self.stopped.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert(error);
            first
        });
    }

    /// Task of one shard: wakes it at its deadlines.
    async fn keep_time(self: Arc<Self>, index: usize) {
        let shard = &self.shards[index];
        while let Some(next) = shard.next_deadline() {
            tokio::select! {
                () = tokio::time::sleep_until(self.instant(next)) => {}
                () = shard.deadline_moved() => {}
            }
            let now = self.now();
            shard.on_time(&self.queue, &self.config, now);
        }
    }

    /// A deadline beyond a year means none; tokio's timers do not reach further than two.
    fn instant(&self, at: Duration) -> Instant {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let latest = self.started.elapsed() + YEAR;
        self.started + at.min(latest)
    }

    async fn expire_regularly(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.config.retention_check_interval).await;
            for shard in &self.shards {
                self.with(shard, GroupRegistry::expire_offsets);
            }
        }
    }
}

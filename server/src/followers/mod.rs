//! Partitions that other brokers lead, served to clients of this broker's rack (KIP-392).
//!
//! A **follower log** is a log like any other, kept by a task of its own (`follower`): the leader tells of its segments,
//! which are read from object storage through the cache; what no segment holds yet comes from the leader with the news
//! of the high watermark. Nothing above the high watermark that the leader told is ever shown, and the end of the log
//! is told to a client only after the leader was asked where it is (I12).
//!
//! A follower log is opened when a client asks for it, and dropped when nobody has asked for a while, when there are too
//! many, or when its leader is not the leader any more under the same epoch; readers then learn that they must look for
//! the leader.

mod apply;
mod follower;
mod preferred;
mod remote_batch;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use alluvium_cache::log::PartitionLog;
use alluvium_cache::tail::{CloseReason, ReadWaiter, TailBudget};
use alluvium_common::epoch::{BrokerId, LeaderEpoch};
use alluvium_common::offset::{LogOffsets, Offset};
use alluvium_common::topic::TopicPartition;
use alluvium_compactor::manifests::Manifests;
use alluvium_metadata::view::ClusterView;
use alluvium_query::ReadError;
use alluvium_query::fetch::Replicas;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::rpc::Peers;
use follower::Follower;
use preferred::Preferred;

/// Follower logs of one broker. Each takes its share of the index in memory, and a call that waits at the leader.
const FOLLOWED_MAX: usize = 2_000;

/// How long a fetch waits for a log to be opened. One of many segments takes several calls.
const OPEN_TIME: Duration = Duration::from_secs(3);

/// How long a fetch waits until a log has come as far as its leader. News take one call.
const CATCH_UP_TIME: Duration = Duration::from_secs(1);

/// A follower log that nobody asked for in this time is dropped.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// What follower logs are made with.
pub struct FollowerSeams {
    /// This broker.
    pub broker_id: BrokerId,
    /// Its rack; without one, nothing is followed.
    pub rack: Option<String>,
    /// The picture of the cluster.
    pub view: Arc<ClusterView>,
    /// The other brokers.
    pub peers: Arc<Peers>,
    /// Memory of tails, shared with those that this broker leads.
    pub tail_budget: Arc<TailBudget>,
    /// What is published.
    pub manifests: Arc<Manifests>,
    /// Ends all of it.
    pub stopping: CancellationToken,
}

/// The follower logs of this broker.
pub struct FollowerLogs {
    /// For the tasks that keep logs.
    me: Weak<Self>,
    with: FollowerSeams,
    preferred: Preferred,
    followed: Mutex<HashMap<TopicPartition, Arc<Follower>>>,
}

/// Who leads a partition, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leading {
    broker_id: BrokerId,
    leader_epoch: LeaderEpoch,
}

/// What clients are told when it is not this broker that they should ask.
const NOT_HERE: ReadError = ReadError::Closed(CloseReason::NotLeader);

impl FollowerLogs {
    /// Nothing is followed yet.
    pub fn new(with: FollowerSeams) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            preferred: Preferred::default(),
            followed: Mutex::default(),
            with,
        })
    }

    /// How many logs are followed.
    pub fn len(&self) -> usize {
        self.followed.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The logs that are followed now.
    pub fn logs(&self) -> Vec<Arc<PartitionLog>> {
        let followed = self.followed.lock();
        followed.values().filter_map(|one| one.log()).collect()
    }

    /// The other broker that serves the partition now.
    fn leading(&self, tp: TopicPartition) -> Option<Leading> {
        let picture = self.with.view.picture();
        picture.topics.with_id(tp.topic_id)?;
        let placed = picture.partitions.get(tp)?;
        let (broker_id, _) = placed.serving(&picture.brokers)?;
        let live = picture.brokers.get(broker_id)?;
        let callable = broker_id != self.with.broker_id && live.record.rpc.is_some();
        callable.then_some(Leading {
            broker_id,
            leader_epoch: placed.record.leader_epoch,
        })
    }

    fn follow(&self, tp: TopicPartition) -> Option<Arc<Follower>> {
        let (leading, me) = (self.leading(tp)?, self.me.upgrade()?);
        let mut followed = self.followed.lock();
        if let Some(follower) = followed.get(&tp)
            && follower.leading() == leading
            && !follower.is_over()
        {
            follower.touch();
            return Some(Arc::clone(follower));
        }
        let surplus = match followed.len() < FOLLOWED_MAX {
            true => None,
            false => longest_unused(&followed),
        };
        if let Some(old) = surplus.and_then(|tp| followed.remove(&tp)) {
            old.end(CloseReason::NotLeader);
        }
        let follower = Follower::new(tp, leading);
        if let Some(old) = followed.insert(tp, Arc::clone(&follower)) {
            old.end(CloseReason::NotLeader);
        }
        drop(followed);
        tokio::spawn(follower::run(me, Arc::clone(&follower)));
        Some(follower)
    }

    /// It is followed no longer, unless another took its place.
    fn forget(&self, follower: &Arc<Follower>) {
        let mut followed = self.followed.lock();
        let same = followed.get(&follower.tp());
        if same.is_some_and(|same| Arc::ptr_eq(same, follower)) {
            followed.remove(&follower.tp());
        }
    }

    /// The leader that `log` follows; `None` when it does so no longer.
    fn leader_of(&self, log: &Arc<PartitionLog>) -> Option<Leading> {
        let followed = self.followed.lock();
        let follower = followed.get(&log.tp)?;
        let same = follower.log().is_some_and(|own| Arc::ptr_eq(&own, log));
        (same && !follower.is_over()).then(|| follower.leading())
    }

    async fn ask_leaders(&self, logs: &[Arc<PartitionLog>]) -> Vec<Result<LogOffsets, ReadError>> {
        let mut answers: Vec<_> = logs.iter().map(|_| Err(NOT_HERE)).collect();
        let mut by_leader: BTreeMap<BrokerId, Vec<(usize, TopicPartition, LeaderEpoch)>> =
            BTreeMap::new();
        for (place, log) in logs.iter().enumerate() {
            if let Some(leading) = self.leader_of(log) {
                let of_leader = by_leader.entry(leading.broker_id).or_default();
                of_leader.push((place, log.tp, leading.leader_epoch));
            }
        }
        let asked = by_leader.iter().map(|(leader, partitions)| {
            let led: Vec<_> = partitions
                .iter()
                .map(|(_, tp, epoch)| (*tp, *epoch))
                .collect();
            async move { self.with.peers.offsets(*leader, &led).await }
        });
        let asked = join_all(asked).await;
        for (partitions, told) in by_leader.values().zip(asked) {
            // A leader that does not answer may be another's follower by now: whoever wants the end looks for it.
            let told = told.unwrap_or_default();
            for ((place, ..), offsets) in partitions.iter().zip(told) {
                answers[*place] = offsets.ok_or(NOT_HERE);
            }
        }
        answers
    }
}

fn longest_unused(followed: &HashMap<TopicPartition, Arc<Follower>>) -> Option<TopicPartition> {
    let all = followed.iter();
    all.min_by_key(|(_, follower)| follower.used_at())
        .map(|(tp, _)| *tp)
}

/// Waits until everything below `upto` may be read.
async fn reached(log: &Arc<PartitionLog>, upto: Offset) -> Result<(), ReadError> {
    let waiter = ReadWaiter::new(1, 1);
    loop {
        let seen = log.tail.offsets();
        if let Some(reason) = log.tail.closed() {
            return Err(ReadError::Closed(reason));
        }
        if seen.high_watermark >= upto {
            return Ok(());
        }
        let _registration = log.tail.wait(&waiter, 0, seen);
        waiter.ready().await;
        waiter.take(1);
    }
}

impl Replicas for FollowerLogs {
    fn preferred(&self, tp: TopicPartition, client_rack: &str) -> Option<BrokerId> {
        if self.with.rack.as_deref() == Some(client_rack) {
            return None;
        }
        let picture = self.with.view.picture();
        self.preferred.choose(&picture.brokers, tp, client_rack)
    }

    fn open<'a>(
        &'a self,
        tp: TopicPartition,
        client_rack: &'a str,
    ) -> BoxFuture<'a, Result<Arc<PartitionLog>, ReadError>> {
        async move {
            if self.with.rack.as_deref() != Some(client_rack) {
                return Err(ReadError::UnknownPartition);
            }
            let follower = self.follow(tp).ok_or(ReadError::UnknownPartition)?;
            match timeout(OPEN_TIME, follower.opened()).await {
                Ok(Some(log)) => Ok(log),
                Ok(None) | Err(_) => Err(NOT_HERE),
            }
        }
        .boxed()
    }

    fn catch_up(
        &self,
        logs: Vec<Arc<PartitionLog>>,
    ) -> BoxFuture<'_, Vec<Result<LogOffsets, ReadError>>> {
        async move {
            let answers = self.ask_leaders(&logs).await;
            let deadline = Instant::now() + CATCH_UP_TIME;
            let caught_up = logs.iter().zip(answers).map(|(log, leader)| async move {
                let leader = leader?;
                let reached = reached(log, leader.high_watermark);
                match tokio::time::timeout_at(deadline, reached).await {
                    Ok(reached) => reached.map(|()| leader),
                    Err(_) => Err(NOT_HERE),
                }
            });
            join_all(caught_up).await
        }
        .boxed()
    }
}

impl std::fmt::Debug for FollowerLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FollowerLogs")
            .field("followed", &self.len())
            .finish_non_exhaustive()
    }
}

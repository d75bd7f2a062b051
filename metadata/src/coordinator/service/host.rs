//! What the shards of one coordinator have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use alluvium_common::clock::SharedClock;
use alluvium_common::rand::SharedRandom;
use tokio::sync::watch;
use tokio::time::Instant;

use super::CoordinatorOptions;
use super::queue::WriteBudget;
use crate::coordinator::group::{GroupConfig, GroupError, JoinRequest, MemberId, Now};
use crate::coordinator::group_shard::GroupShard;
use crate::keys::Keys;
use crate::store::MetadataStore;

#[derive(Debug)]
pub(super) struct Host {
    pub store: Arc<dyn MetadataStore>,
    pub keys: Keys,
    pub config: GroupConfig,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub started: Instant,
    pub budget: Arc<WriteBudget>,
    pub next_waiter: AtomicU64,
    pub transactions: AtomicU64,
    pub stored_writes: AtomicU64,
    /// Shards that have stopped by themselves, until somebody is told or they are closed or opened anew.
    stops: watch::Sender<BTreeMap<GroupShard, Stop>>,
}

/// What somebody shall be told of.
#[derive(Debug)]
struct Stop {
    /// As [`super::shard::Shard::coordinator`].
    coordinator: u128,
    error: GroupError,
}

impl Host {
    pub fn new(store: Arc<dyn MetadataStore>, options: CoordinatorOptions) -> Self {
        Self {
            store,
            keys: options.keys,
            config: options.config,
            clock: options.clock,
            random: options.random,
            started: Instant::now(),
            budget: Arc::default(),
            next_waiter: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            stored_writes: AtomicU64::new(0),
            stops: watch::Sender::default(),
        }
    }

    pub fn now(&self) -> Now {
        Now {
            monotonic: self.started.elapsed(),
            wall_ms: self.clock.now_ms(),
        }
    }

    /// The id of a member that has none yet.
    pub fn fresh_member_id(&self, request: &JoinRequest) -> MemberId {
        if !request.member_id.is_empty() {
            return MemberId::default();
        }
        let name = match &request.instance_id {
            Some(instance) => instance.as_str(),
            None => &request.client_id,
        };
        MemberId::new(&format!("{name}-{}", self.random.uuid()))
    }

    /// Somebody shall be told that a shard has stopped.
    pub fn report_stop(&self, shard: GroupShard, coordinator: u128, error: GroupError) {
        self.stops.send_modify(|stops| {
            stops.insert(shard, Stop { coordinator, error });
        });
    }

    /// Nobody needs to be told any more.
    pub fn forget_stop(&self, shard: GroupShard, coordinator: u128) {
        self.stops.send_if_modified(|stops| {
            let found = stops.get(&shard);
            if found.is_some_and(|stop| stop.coordinator == coordinator) {
                stops.remove(&shard);
            }
            false
        });
    }

    /// Waits for a shard that has stopped, and forgets it.
    pub async fn next_stop(&self) -> (GroupShard, GroupError) {
        let mut stops = self.stops.subscribe();
        loop {
            // The sender lives in `self`. What is borrowed from it must not be held beyond this line.
            let _is_filled = stops.wait_for(|stops| !stops.is_empty()).await.is_ok();
            let mut first = None;
            self.stops.send_if_modified(|stops| {
                first = stops.pop_first();
                false
            });
            // None if somebody else who waits was faster.
            if let Some((shard, stop)) = first {
                return (shard, stop.error);
            }
        }
    }
}

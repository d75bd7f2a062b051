//! Several coordinators over one store, and the records that tell who coordinates what.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::ManualClock;
use alluvium_common::epoch::BrokerId;
use alluvium_common::rand::SeededRandom;
use uuid::Uuid;

use super::super::*;
use super::world::*;
use crate::keys::Keys;
use crate::model::{BrokerRecord, CoordinatorRecord};
use crate::session::Session;
use crate::store::{MemoryStore, MetadataStoreExt, Revision};
use crate::value;

pub const SESSION: Duration = Duration::from_secs(9);

pub struct Cluster {
    pub store: Arc<MemoryStore>,
    pub keys: Keys,
}

impl Cluster {
    pub fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            keys: Keys::new("test"),
        }
    }

    /// A broker with faults of its own, which do not touch its session.
    pub async fn broker(&self, id: i32) -> (Broker, Arc<FaultyStore>) {
        let store = FaultyStore::over(self.store.clone());
        (self.broker_over(id, store.clone()).await, store)
    }

    /// A broker whose coordinator uses `store`.
    pub async fn broker_over(&self, id: i32, store: Arc<dyn MetadataStore>) -> Broker {
        let options = CoordinatorOptions {
            keys: self.keys.clone(),
            config: GroupConfig::default(),
            clock: ManualClock::at(1_000),
            random: SeededRandom::new(id as u64),
        };
        Broker {
            keys: self.keys.clone(),
            session: self.session(id).await,
            groups: Arc::new(GroupCoordinator::new(store, options)),
        }
    }

    /// A new session of a broker, which ends the one before.
    pub async fn session(&self, id: i32) -> Arc<Session> {
        let record = BrokerRecord {
            broker_id: BrokerId(id),
            host: "localhost".to_owned(),
            port: 9092,
            rack: None,
            instance_id: Uuid::from_u128(id as u128),
            version: "0".to_owned(),
            started_ms: 0,
            rpc: None,
            draining: false,
            roles: crate::model::Roles::broker(),
        };
        let session = Session::open(self.store.clone(), &self.keys, &record, SESSION).await;
        Arc::new(session.expect("opens"))
    }

    /// What a controller does to move a shard.
    pub async fn assign(&self, shard: GroupShard, id: i32) -> Revision {
        let record = CoordinatorRecord {
            broker: BrokerId(id),
        };
        let key = self.keys.group_coordinator(shard);
        let put = self.store.put(key, value::encode(&record)).await;
        put.expect("puts")
    }

    /// Assigns a shard to a broker, which opens it.
    pub async fn give(&self, shard: GroupShard, to: &Broker) {
        let revision = self.assign(shard, to.session.broker_id().0).await;
        to.open(shard, revision).await.expect("opens");
    }
}

#[derive(Clone)]
pub struct Broker {
    keys: Keys,
    pub session: Arc<Session>,
    pub groups: Arc<GroupCoordinator>,
}

impl Broker {
    /// What a broker does when it sees itself in a record.
    pub async fn open(&self, shard: GroupShard, revision: Revision) -> Result<(), OpenError> {
        let ownership = ShardOwnership::new(self.session.clone(), &self.keys, shard, revision);
        self.groups.open_shard(shard, Arc::new(ownership)).await
    }

    pub async fn commit(&self, group: &str, offset: i64) -> Result<(), GroupError> {
        let results = self.groups.commit_offsets(commit(group, offset)).await?;
        results.into_iter().collect()
    }

    /// Commits in a task of its own.
    pub fn begin_commit(
        &self,
        group: &str,
        offset: i64,
    ) -> tokio::task::JoinHandle<Result<(), GroupError>> {
        let (broker, group) = (self.clone(), group.to_owned());
        tokio::spawn(async move { broker.commit(&group, offset).await })
    }

    pub async fn fetch(&self, group: &str) -> Result<Option<i64>, GroupError> {
        fetch(&self.groups, group).await
    }
}

/// The shard of group `g`.
pub fn shard() -> GroupShard {
    group_shard(&"g".into())
}

/// A group in another shard.
pub fn elsewhere() -> &'static str {
    assert_ne!(group_shard(&"orders".into()), shard());
    "orders"
}

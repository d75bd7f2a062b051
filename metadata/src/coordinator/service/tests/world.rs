//! A store whose faults the test chooses, and short forms of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use alluvium_common::clock::{Clock, ManualClock};
use alluvium_common::error::Outcome;
use alluvium_common::offset::Offset;
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use super::super::*;
pub use crate::coordinator::group::{
    LeavingMember, MemberId, OffsetRecord, OffsetToCommit, Protocol,
};
pub use crate::coordinator::group_shard::group_shard;
use crate::keys::Keys;
use crate::model::TopicRecord;
use crate::store::{
    Compare, Lease, LeaseId, MemoryStore, MetadataStoreExt, RangeRequest, RangeResponse, Revision,
    StoreError, Txn, TxnResponse, Watch, WatchRequest,
};
use crate::value;
use crate::view::ClusterView;

/// Lets others run until the condition holds, which takes them no time.
pub async fn until(condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the condition never held");
}

/// What happens to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The next one takes effect, and its answer is lost.
    AnswerLost,
    /// It has no effect, and says so.
    Refused,
    /// It has no effect yet and its answer never comes: a copy of it may arrive later.
    Delayed,
    /// It waits until the fault is another.
    Hangs,
    /// The store is broken for good.
    Stopped,
}

#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<MemoryStore>,
    fault: watch::Sender<Fault>,
    /// Transactions that wait because of [`Fault::Hangs`].
    pub hanging: AtomicUsize,
    pub delayed: Mutex<Vec<Txn>>,
    /// Transactions that were passed on.
    pub seen: Mutex<Vec<Txn>>,
}

impl FaultyStore {
    pub fn over(inner: Arc<MemoryStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            fault: watch::Sender::new(Fault::None),
            hanging: AtomicUsize::new(0),
            delayed: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub fn is(&self, fault: Fault) -> bool {
        *self.fault.borrow() == fault
    }

    pub fn inner(&self) -> &MemoryStore {
        &self.inner
    }
}

#[async_trait]
impl MetadataStore for FaultyStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        let unavailable = |outcome| StoreError::Unavailable {
            outcome,
            reason: "by the test".to_owned(),
        };
        let mut fault = self.fault.subscribe();
        self.hanging.fetch_add(1, Ordering::SeqCst);
        let fault = *fault
            .wait_for(|fault| *fault != Fault::Hangs)
            .await
            .expect("the sender lives in self");
        self.hanging.fetch_sub(1, Ordering::SeqCst);
        match fault {
            Fault::None | Fault::Hangs => {
                self.seen.lock().push(txn.clone());
                self.inner.txn(txn).await
            }
            Fault::AnswerLost => {
                self.set(Fault::None);
                self.inner.txn(txn).await?;
                Err(unavailable(Outcome::Unknown))
            }
            Fault::Refused => Err(unavailable(Outcome::NotDone)),
            Fault::Delayed => {
                self.delayed.lock().push(txn);
                Err(unavailable(Outcome::Unknown))
            }
            Fault::Stopped => Err(StoreError::Stopped {
                outcome: Outcome::Unknown,
                reason: "by the test".to_owned(),
            }),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, StoreError> {
        self.inner.watch(request).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        self.inner.lease_grant(ttl).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.inner.lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<Revision, StoreError> {
        self.inner.lease_revoke(lease).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.inner.compact(revision).await
    }
}

/// Ownership that the test takes away, on both sides.
#[derive(Debug)]
pub struct TestOwnership {
    pub held: AtomicBool,
    pub key: Option<Bytes>,
}

impl Ownership for TestOwnership {
    fn compares(&self) -> Vec<Compare> {
        self.key.iter().cloned().map(Compare::exists).collect()
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }
}

pub struct World {
    pub store: Arc<FaultyStore>,
    pub ownership: Arc<TestOwnership>,
    pub clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
}

impl World {
    pub fn new() -> Self {
        Self::owned_by_key(None)
    }

    pub fn owned_by_key(key: Option<&'static str>) -> Self {
        Self {
            store: FaultyStore::over(Arc::new(MemoryStore::new())),
            ownership: Arc::new(TestOwnership {
                held: AtomicBool::new(true),
                key: key.map(Bytes::from),
            }),
            clock: ManualClock::at(1_000),
            random: SeededRandom::new(7),
        }
    }

    pub async fn try_open(&self, config: GroupConfig) -> Result<GroupCoordinator, OpenError> {
        let options = CoordinatorOptions {
            keys: Keys::new("test"),
            config,
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        let coordinator = GroupCoordinator::new(self.store.clone(), options);
        for shard in GroupShard::all() {
            coordinator
                .open_shard(shard, self.ownership.clone())
                .await?;
        }
        Ok(coordinator)
    }

    pub async fn open(&self) -> Arc<GroupCoordinator> {
        let coordinator = self.try_open(GroupConfig::default()).await;
        Arc::new(coordinator.expect("opens"))
    }

    /// Keys in the store, those of the writer left out.
    pub async fn keys(&self) -> Vec<String> {
        let range = crate::store::KeyRange::prefix("/alluvium/test/");
        let page = self.store.inner.range(RangeRequest::new(range)).await;
        let keys = page.expect("readable").kvs.into_iter();
        keys.map(|kv| String::from_utf8_lossy(&kv.key).into_owned())
            .filter(|key| !key.ends_with("/writer"))
            .collect()
    }

    pub async fn create_topic(&self, name: &str) {
        create_topic(&self.store.inner, name).await;
    }

    pub async fn delete_topic(&self, name: &str) {
        delete_topic(&self.store.inner, name).await;
    }

    pub async fn view(&self) -> Arc<ClusterView> {
        let view = ClusterView::open(self.store.clone(), Keys::new("test")).await;
        Arc::new(view.expect("opens"))
    }

    pub fn pass_wall_time(&self, by: Duration) {
        self.clock
            .set_ms(self.clock.now_ms() + by.as_millis() as i64);
    }
}

pub async fn create_topic(store: &MemoryStore, name: &str) {
    let name = TopicName::new(name).expect("valid");
    let record = TopicRecord {
        topic_id: topic_id(name.as_str()),
        name: name.clone(),
        partition_count: 1,
        replication_factor: 1,
        configs: Default::default(),
        created_ms: 0,
    };
    let (key, value) = (Keys::new("test").topic(&name), value::encode(&record));
    store.put(key, value).await.expect("puts");
}

pub async fn delete_topic(store: &MemoryStore, name: &str) {
    let name = TopicName::new(name).expect("valid");
    let key = Keys::new("test").topic(&name);
    assert!(store.delete(key).await.expect("deletes"));
}

/// Commits offset 1 of a topic's partition 0.
pub fn commit_on(group: &str, topic: &str) -> CommitRequest {
    let offset = OffsetToCommit {
        topic: TopicName::new(topic).expect("valid"),
        partition: TopicPartition::new(topic_id(topic), PartitionIndex(0)),
        ..to_commit(0, 1)
    };
    CommitRequest {
        offsets: vec![offset],
        ..commit(group, 0)
    }
}

/// Topics of which a group has a committed offset.
pub async fn topics_of(coordinator: &GroupCoordinator, group: &str) -> Vec<String> {
    let fetched = coordinator.fetch_offsets(&group.into(), None).await;
    let records = fetched.expect("served").partitions.into_iter();
    let name = |(_, record): (_, Option<OffsetRecord>)| record.expect("stored").topic.to_string();
    records.map(name).collect()
}

fn topic_id(name: &str) -> TopicId {
    TopicId(Uuid::from_u128(u128::from(name.as_bytes()[0])))
}

/// Names of groups in the shard of `g`.
pub fn beside_g() -> impl Iterator<Item = String> {
    let names = (0..).map(|number| format!("g{number}"));
    names.filter(|name| group_shard(&name.as_str().into()) == group_shard(&"g".into()))
}

pub fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(1)), PartitionIndex(index))
}

pub fn commit(group: &str, offset: i64) -> CommitRequest {
    CommitRequest {
        group_id: group.into(),
        generation: None,
        member_id: MemberId::default(),
        instance_id: None,
        retention: None,
        offsets: vec![to_commit(0, offset)],
    }
}

pub fn to_commit(index: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: TopicName::new("t").expect("valid"),
        partition: partition(index),
        offset: Offset::new(offset),
        leader_epoch: None,
        metadata: String::new(),
    }
}

pub async fn committed(coordinator: &GroupCoordinator, group: &str) -> Option<i64> {
    fetch(coordinator, group).await.expect("served")
}

pub async fn fetch(coordinator: &GroupCoordinator, group: &str) -> Result<Option<i64>, GroupError> {
    let asked = [partition(0)];
    let fetched = coordinator
        .fetch_offsets(&group.into(), Some(&asked))
        .await?;
    let (_, record) = fetched.partitions.into_iter().next().expect("one answer");
    Ok(record.and_then(|record| record.offset).map(Offset::get))
}

pub fn join(group: &str) -> JoinRequest {
    JoinRequest {
        group_id: group.into(),
        member_id: MemberId::default(),
        instance_id: None,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't']),
        }],
        require_known_member_id: false,
        supports_skip_assignment: true,
        reason: None,
    }
}

pub fn sync(group: &str, member: &MemberId, generation: i32) -> SyncRequest {
    SyncRequest {
        group_id: group.into(),
        generation,
        member_id: member.clone(),
        instance_id: None,
        protocol_type: None,
        protocol: None,
        assignments: vec![(member.clone(), Bytes::from_static(b"all"))],
    }
}

pub fn heartbeat(member: &MemberId, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: "g".into(),
        generation,
        member_id: member.clone(),
        instance_id: None,
    }
}

pub fn leave(member: &MemberId) -> LeaveRequest {
    LeaveRequest {
        group_id: "g".into(),
        members: vec![LeavingMember {
            member_id: member.clone(),
            instance_id: None,
            reason: None,
        }],
    }
}

/// A stable group of one member, whose id is returned.
pub async fn one_member(coordinator: &GroupCoordinator, group: &str) -> MemberId {
    let joined = coordinator.join(join(group)).await.expect("joins");
    let request = sync(group, &joined.member_id, joined.generation);
    let synced = coordinator.sync(request).await.expect("syncs");
    assert_eq!(synced.assignment, "all");
    joined.member_id
}

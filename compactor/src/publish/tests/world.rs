//! A cluster as publishing sees it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alluvium_common::clock::ManualClock;
use alluvium_common::epoch::{BrokerId, LeaderEpoch};
use alluvium_common::object_store::fault::{FaultPlan, FaultStore};
use alluvium_common::offset::Offset;
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::commit_log::CommitLog;
use alluvium_metadata::fold::{FoldLimits, LogId};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leadership::{PartitionChange, PartitionWriter, Written};
use alluvium_metadata::model::{
    BrokerRecord, CommitRecord, Opener, PartitionRecord, TailEntry, TopicRecord,
};
use alluvium_metadata::session::Session;
use alluvium_metadata::store::fault::{Faults, FaultyStore};
use alluvium_metadata::store::{KeyRange, MemoryStore, MetadataStore, RangeRequest, Revision};
use alluvium_metadata::topics::{NewTopic, TopicWriter};
use alluvium_metadata::view::ClusterView;
use alluvium_segment::object_key::ObjectKey;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use uuid::Uuid;

use super::batches::{BatchSpec, Seen};
use super::broker::Broker;
use super::model::Model;
use crate::fold::{FoldMetrics, Folder};
use crate::pace::Pace;

const TTL: Duration = Duration::from_secs(60);

/// What a table file holds: partition and record.
pub type Rows = Arc<Vec<(i32, Seen)>>;

pub struct World {
    /// The metadata store as it is, and as publishers reach it.
    pub memory: Arc<dyn MetadataStore>,
    pub store: Arc<dyn MetadataStore>,
    pub store_faults: Arc<Faults>,
    pub keys: Keys,
    /// The bucket as it is, and as publishers reach it.
    pub bucket: Arc<InMemory>,
    pub objects: Arc<dyn ObjectStore>,
    pub pace: Arc<Pace>,
    pub bucket_faults: Arc<FaultPlan>,
    pub clock: Arc<ManualClock>,
    pub random: Arc<SeededRandom>,
    pub view: Arc<ClusterView>,
    /// Of what keeps the picture.
    pub view_faults: Arc<Faults>,
    pub brokers: Vec<Broker>,
    pub topics: BTreeMap<TopicId, TopicRecord>,
    /// By which of the brokers a partition is led, and in which epoch.
    pub leaders: BTreeMap<TopicPartition, (usize, LeaderEpoch)>,
    /// What is committed.
    pub model: Model,
    /// Table files that were read and checked; they never change.
    pub tables: Mutex<HashMap<ObjectKey, Rows>>,
    ends: BTreeMap<TopicPartition, Offset>,
    entries: BTreeMap<LogId, u64>,
    records: PartitionWriter,
    admin: TopicWriter,
}

impl World {
    pub async fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let store_faults = Faults::new(SeededRandom::new(seed));
        let store = FaultyStore::new(Arc::clone(&memory), Arc::clone(&store_faults));
        let bucket = Arc::new(InMemory::new());
        let bucket_faults = FaultPlan::new(seed);
        let faulty_bucket = FaultStore::new(bucket.clone(), Arc::clone(&bucket_faults));
        let keys = Keys::new("test");
        let clock = ManualClock::at(10_000_000);
        let view_faults = Faults::new(SeededRandom::new(seed));
        let watched = FaultyStore::new(Arc::clone(&memory), Arc::clone(&view_faults));
        let view = ClusterView::open(Arc::new(watched), keys.clone()).await;
        let admin = TopicWriter::new(
            Arc::clone(&memory),
            keys.clone(),
            open_session(&memory, &keys, 99).await,
            clock.clone(),
            random.clone(),
        );
        Self {
            store: Arc::new(store),
            store_faults,
            records: PartitionWriter::new(Arc::clone(&memory), keys.clone()),
            memory,
            bucket,
            objects: Arc::new(faulty_bucket),
            pace: Pace::unlimited(),
            bucket_faults,
            clock,
            random,
            view: Arc::new(view.expect("view")),
            view_faults,
            brokers: Vec::new(),
            topics: BTreeMap::new(),
            leaders: BTreeMap::new(),
            model: Model::default(),
            tables: Mutex::default(),
            ends: BTreeMap::new(),
            entries: BTreeMap::new(),
            admin,
            keys,
        }
    }

    pub async fn session(&self, id: i32) -> Arc<Session> {
        open_session(&self.memory, &self.keys, id).await
    }

    /// Another broker that leads partitions. Returns its place in `brokers`.
    pub async fn broker(&mut self, id: i32) -> usize {
        let session = self.session(id).await;
        let (memory, keys) = (Arc::clone(&self.memory), self.keys.clone());
        self.brokers.push(Broker {
            commits: CommitLog::new(memory, keys, Arc::clone(&session)),
            session,
            next_seq: 0,
            open: Vec::new(),
        });
        self.brokers.len() - 1
    }

    /// A topic whose partitions `leader` has opened.
    pub async fn topic(&mut self, name: &str, partitions: i32, leader: usize) -> TopicId {
        let new = NewTopic {
            name: TopicName::new(name).expect("valid"),
            partition_count: partitions,
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        let id = self.brokers[leader].session.broker_id();
        let place = move |_, range: std::ops::Range<i32>| vec![id; range.len()];
        let (record, _) = self.admin.create(new, &place).await.expect("created");
        let topic_id = record.topic_id;
        self.topics.insert(topic_id, record);
        for partition in 0..partitions {
            self.open(tp(topic_id, partition), leader).await;
        }
        topic_id
    }

    /// One more partition of a topic.
    pub async fn add_partition(&mut self, topic_id: TopicId, leader: usize) -> TopicPartition {
        let topic = &self.topics[&topic_id];
        let id = self.brokers[leader].session.broker_id();
        let place = move |_, range: std::ops::Range<i32>| vec![id; range.len()];
        let count = topic.partition_count + 1;
        let raised = self.admin.create_partitions(&topic.name, count, &place);
        let (record, _) = raised.await.expect("raised");
        self.topics.insert(topic_id, record);
        let tp = tp(topic_id, count - 1);
        self.open(tp, leader).await;
        tp
    }

    pub async fn delete_topic(&mut self, topic_id: TopicId) {
        let topic = self.topics.remove(&topic_id).expect("exists");
        self.admin.delete(&topic.name).await.expect("deleted");
        self.leaders.retain(|tp, _| tp.topic_id != topic_id);
        for broker in &mut self.brokers {
            broker.open.retain(|(tp, ..)| tp.topic_id != topic_id);
        }
    }

    /// Removes what a late publisher left of a deleted topic, as the controller does.
    pub async fn remove_orphans(&self, topic_id: TopicId) {
        let removed = self.admin.remove_orphans(topic_id).await;
        removed.expect("removed");
    }

    pub async fn set_log_start(&mut self, tp: TopicPartition, to: Offset) {
        let start = self.admin.set_log_start(tp, to).await.expect("moved");
        self.model.partitions.entry(tp).or_default().log_start = start;
    }

    /// Takes a batch as the leader of `tp` would.
    pub fn produce(&mut self, tp: TopicPartition, batch: BatchSpec) {
        let (leader, leader_epoch) = self.leaders[&tp];
        let committed = self.model.end(tp);
        let end = self.ends.entry(tp).or_insert(committed);
        let stored = batch.build(*end, leader_epoch);
        *end = end.checked_add(batch.offsets()).expect("small");
        self.brokers[leader].open.push((tp, batch, stored));
    }

    /// Takes and commits one batch of so many plain records.
    pub async fn commit(&mut self, tp: TopicPartition, records: usize) -> CommitRecord {
        self.produce(tp, BatchSpec::plain(&*self.random, records));
        let leader = self.leaders[&tp].0;
        self.seal(leader).await.expect("something was taken")
    }

    pub async fn seal(&mut self, broker: usize) -> Option<CommitRecord> {
        use alluvium_common::clock::Clock;
        let now_ms = self.clock.now_ms();
        let id = self.random.uuid();
        let broker = &mut self.brokers[broker];
        let record = broker.seal(&*self.bucket, id, now_ms).await?;
        self.entries.insert(broker.log(), broker.next_seq);
        for (tp, batch, _) in broker.open.drain(..) {
            self.model.append(tp, &batch, now_ms);
        }
        Some(record)
    }

    pub async fn seal_all(&mut self) {
        for broker in 0..self.brokers.len() {
            self.seal(broker).await;
        }
    }

    /// The leader commits all it has and gives the partition to `to`.
    pub async fn hand_over(&mut self, tp: TopicPartition, to: usize) {
        let from = self.leaders[&tp].0;
        self.seal(from).await;
        let last_seq = self.brokers[from].next_seq.checked_sub(1);
        let target = self.brokers[to].session.broker_id();
        self.edit(tp, |record| record.handed_over(target, last_seq, true))
            .await;
        self.open(tp, to).await;
    }

    /// The session of a broker ends, and with it what it had not committed. `heir` leads on.
    pub async fn kill(&mut self, broker: usize, heir: usize) {
        let dead = &mut self.brokers[broker];
        dead.session.close().await.expect("closed");
        for (tp, ..) in dead.open.drain(..) {
            self.ends.remove(&tp);
        }
        let heir_id = self.brokers[heir].session.broker_id();
        let led = self.leaders.iter().filter(|(_, (by, _))| *by == broker);
        let led: Vec<_> = led.map(|(tp, _)| *tp).collect();
        for tp in led {
            self.edit(tp, |record| record.assigned_to(heir_id)).await;
            self.open(tp, heir).await;
        }
    }

    /// `by` opens the partition behind all that is committed.
    pub async fn open(&mut self, tp: TopicPartition, by: usize) {
        let broker = &self.brokers[by];
        let opener = Opener {
            broker_id: broker.session.broker_id(),
            broker_epoch: broker.session.broker_epoch(),
            first_seq: broker.next_seq,
            wal: None,
        };
        let entries = self.entries.clone();
        let holds = move |entry: &TailEntry| {
            let log = LogId {
                broker_id: entry.broker_id,
                broker_epoch: entry.broker_epoch,
            };
            let end = entries.get(&log).copied().unwrap_or(0);
            let last = entry.last_seq.or(end.checked_sub(1))?;
            (last >= entry.first_seq).then_some((entry.first_seq, last))
        };
        let end = self.model.end(tp);
        let record = self.edit(tp, |record| record.opened(&opener, end, holds));
        let leader_epoch = record.await.leader_epoch;
        self.leaders.insert(tp, (by, leader_epoch));
    }

    async fn edit(
        &self,
        tp: TopicPartition,
        edit: impl FnOnce(&PartitionRecord) -> PartitionRecord,
    ) -> PartitionRecord {
        let placed = self.records.read(tp).await.expect("read").expect("stands");
        let record = edit(&placed.record);
        let change = PartitionChange {
            tp,
            record: record.clone(),
            read_at: placed.mod_revision,
        };
        let written = self.records.write(&[], &[change]).await.expect("written");
        assert!(matches!(written[..], [Written::Done(_)]));
        record
    }

    /// Folds what is committed in the log of a broker's open session, a few entries at a time.
    pub async fn fold(&self, broker: usize) {
        let folder = Folder {
            store: Arc::clone(&self.memory),
            keys: self.keys.clone(),
            objects: self.bucket.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            metrics: FoldMetrics::default(),
        };
        let limits = FoldLimits {
            fan_in: 3,
            ..FoldLimits::GROWING
        };
        let broker = &self.brokers[broker];
        let folded = folder.fold_log(broker.log(), broker.next_seq, &limits, &[]);
        folded.await.expect("folded");
    }

    /// Waits until the picture shows all that was written.
    pub async fn catch_up(&self) {
        self.view.reached(self.revision().await).await;
    }

    pub async fn revision(&self) -> Revision {
        let anything = RangeRequest::new(KeyRange::all()).limit(1);
        self.memory.range(anything).await.expect("read").revision
    }
}

pub fn tp(topic_id: TopicId, partition: i32) -> TopicPartition {
    TopicPartition::new(topic_id, PartitionIndex(partition))
}

async fn open_session(store: &Arc<dyn MetadataStore>, keys: &Keys, id: i32) -> Arc<Session> {
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
        roles: alluvium_metadata::model::Roles::broker(),
    };
    let opened = Session::open(Arc::clone(store), keys, &record, TTL).await;
    Arc::new(opened.expect("session"))
}

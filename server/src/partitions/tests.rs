//! Brokers side by side in one process, over one store and one bucket.

use std::ops::Range;

use alluvium_cache::metrics::TailMetrics;
use alluvium_common::clock::{ManualClock, SharedClock};
use alluvium_common::epoch::{BrokerEpoch, LeaderEpoch};
use alluvium_common::error::Outcome;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_common::rand::{SeededRandom, SharedRandom};
use alluvium_common::topic::{PartitionIndex, TopicName};
use alluvium_ingest::ack::{Acks, AppendTicket};
use alluvium_ingest::backpressure::{ByteBudget, FramePermit};
use alluvium_ingest::error::AppendError;
use alluvium_ingest::metrics::IngestMetrics;
use alluvium_ingest::partition::AppendOptions;
use alluvium_ingest::pipeline::{PipelineConfig, PipelineSeams};
use alluvium_ingest::validate::ClientRules;
use alluvium_metadata::commit_log::CommitLog;
use alluvium_metadata::leadership::{PartitionChange, Written};
use alluvium_metadata::model::{BrokerRecord, PartitionRecord, WalHolder};
use alluvium_metadata::store::fault::{Fault, Faults, FaultyStore};
use alluvium_metadata::store::{MemoryStore, MetadataStoreExt, Op, Txn};
use alluvium_metadata::topics::{NewTopic, TopicWriter};
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS};
use bytes::Bytes;
use object_store::memory::InMemory;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::wiring::adapters::{Commits, SessionSeam};

const SESSION_TTL: Duration = Duration::from_secs(9);
const SETTING: &str = "alluvium.durability";

struct World {
    store: Arc<dyn MetadataStore>,
    faults: Arc<Faults>,
    bucket: Arc<dyn ObjectStore>,
    keys: Keys,
    random: SharedRandom,
}

/// A broker without network and write-ahead log.
struct Node {
    me: Me,
    session: Arc<Session>,
    view: Arc<ClusterView>,
    pipeline: Arc<Pipeline>,
    topics: TopicWriter,
    partitions: PartitionWriter,
    task: JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        let faults = Faults::new(SeededRandom::new(1));
        let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        Self {
            store: Arc::new(FaultyStore::new(memory, Arc::clone(&faults))),
            faults,
            bucket: Arc::new(InMemory::new()),
            keys: Keys::new("test"),
            random: SeededRandom::new(2),
        }
    }

    async fn node(&self, broker_id: i32) -> Node {
        let instance_id = Uuid::from_u128(broker_id.unsigned_abs().into());
        let record = BrokerRecord {
            broker_id: BrokerId(broker_id),
            host: "localhost".to_owned(),
            port: 9092,
            rack: None,
            instance_id,
            version: "test".to_owned(),
            started_ms: 0,
            rpc: None,
            draining: false,
            roles: alluvium_metadata::model::Roles::broker(),
        };
        let opened = Session::open(Arc::clone(&self.store), &self.keys, &record, SESSION_TTL);
        let session = Arc::new(opened.await.expect("session"));
        let view = ClusterView::open(Arc::clone(&self.store), self.keys.clone());
        let view = Arc::new(view.await.expect("view"));
        let clock: SharedClock = ManualClock::at(1_000);
        let commits = CommitLog::new(
            Arc::clone(&self.store),
            self.keys.clone(),
            Arc::clone(&session),
        );
        let logs = Logs::new();
        let seams = PipelineSeams {
            store: Arc::clone(&self.bucket),
            commits: Arc::new(Commits(commits)),
            session: Arc::new(SessionSeam(Arc::clone(&session))),
            wal: None,
            logs: Arc::clone(&logs),
            segment_cache: None,
            clock: Arc::clone(&clock),
            random: Arc::clone(&self.random),
            metrics: IngestMetrics::default(),
        };
        let config = PipelineConfig::default();
        let pipeline = Pipeline::start(config, seams, ByteBudget::new(8 << 20), 0);
        let me = Me {
            broker_id: session.broker_id(),
            broker_epoch: session.broker_epoch(),
            instance_id,
        };
        let led = LeaderPartitions::new(PartitionSeams {
            me,
            session: Arc::clone(&session),
            view: Arc::clone(&view),
            pipeline: Arc::clone(&pipeline),
            logs,
            tail_budget: TailBudget::new(1 << 20, TailMetrics::default()),
            store: Arc::clone(&self.store),
            keys: self.keys.clone(),
            objects: Arc::clone(&self.bucket),
            manifests: Manifests::new(Arc::clone(&self.bucket)),
            defaults: BTreeMap::from([(SETTING.to_owned(), "object".to_owned())]),
            former: None,
            shelf: Arc::default(),
        });
        let topics = TopicWriter::new(
            Arc::clone(&self.store),
            self.keys.clone(),
            Arc::clone(&session),
            clock,
            Arc::clone(&self.random),
        );
        Node {
            me,
            view,
            pipeline,
            topics,
            partitions: PartitionWriter::new(Arc::clone(&self.store), self.keys.clone()),
            task: tokio::spawn(led.follow()),
            session,
        }
    }

    /// The record as it stands, and who is to read it as it shall be.
    async fn edit(&self, tp: TopicPartition, edit: impl Fn(PartitionRecord) -> PartitionRecord) {
        let key = self.keys.partition(tp);
        let kv = self
            .store
            .get(key.clone())
            .await
            .expect("read")
            .expect("exists");
        let record = alluvium_metadata::value::decode(&kv.value).expect("record");
        let stored = alluvium_metadata::value::encode(&edit(record));
        let put = self.store.txn(Txn::new().then(Op::put(key, stored))).await;
        put.expect("put");
    }

    async fn record(&self, tp: TopicPartition) -> PartitionRecord {
        let kv = self.store.get(self.keys.partition(tp)).await;
        let kv = kv.expect("read").expect("exists");
        alluvium_metadata::value::decode(&kv.value).expect("record")
    }

    async fn move_to(&self, tp: TopicPartition, target: &Node) {
        let moving_to = Some(target.me.broker_id);
        let edit = |record| PartitionRecord {
            moving_to,
            ..record
        };
        self.edit(tp, edit).await;
    }
}

impl Node {
    async fn create(&self, partition_count: i32, leaders: &[&Node]) -> Vec<TopicPartition> {
        let new = NewTopic {
            name: TopicName::new("topic").expect("name"),
            partition_count,
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        let ids: Vec<_> = leaders.iter().map(|node| node.me.broker_id).collect();
        let place = |_, range: Range<i32>| {
            let ids = ids.iter().cycle().copied();
            ids.take(range.len()).collect()
        };
        let (record, _) = self.topics.create(new, &place).await.expect("created");
        let tp = |index| TopicPartition::new(record.topic_id, PartitionIndex(index));
        (0..partition_count).map(tp).collect()
    }

    fn leads(&self, tp: TopicPartition) -> bool {
        self.pipeline.partition(&tp).is_some()
    }

    /// Waits until the partition is open here.
    async fn opens(&self, tp: TopicPartition) {
        let mut changes = self.view.changes();
        while !self.leads(tp) {
            // The picture changes before the partition is open, so look again a little later too.
            let _ = tokio::time::timeout(Duration::from_millis(1), changes.changed()).await;
        }
    }

    fn append(&self, tp: TopicPartition, sequence: i32) -> Result<AppendTicket, AppendError> {
        let sequence = Sequence::new(sequence).expect("not negative");
        let mut builder =
            BatchBuilder::new(Codec::None).producer(ProducerId(7), ProducerEpoch(0), sequence);
        builder.push(1_000, None, Some(b"value"), NO_HEADERS);
        let records: Bytes = builder.build().expect("builds");
        let options = AppendOptions {
            acks: Acks::All,
            permit: FramePermit::unaccounted(),
            client: ClientRules::default(),
        };
        self.pipeline.append(&tp, &records, options)
    }

    /// Produces until it is acknowledged; the offset.
    async fn produce(&self, tp: TopicPartition, sequence: i32) -> i64 {
        let ticket = self.append(tp, sequence).expect("taken");
        ticket.await.expect("durable").base_offset.get()
    }

    fn epoch(&self, tp: TopicPartition) -> LeaderEpoch {
        self.pipeline.partition(&tp).expect("open").leader_epoch()
    }

    async fn rounds(&self) {
        tokio::time::sleep(RETRY_PAUSE * 4).await;
    }

    /// As a process that is killed: nothing is told to anybody.
    async fn kill(&self) {
        self.task.abort();
        self.pipeline.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_opens_what_is_placed_with_it() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let tps = one.create(4, &[&one, &two]).await;
    for (tp, [leader, other]) in tps.iter().zip([[&one, &two], [&two, &one]].iter().cycle()) {
        leader.opens(*tp).await;
        assert!(!other.leads(*tp));
        assert_eq!(leader.produce(*tp, 0).await, 0);
        assert_eq!(leader.epoch(*tp), LeaderEpoch(0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_goes_to_another_and_back_with_all_that_is_known_of_it() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let tps = one.create(2, &[&one]).await;
    let tp = tps[0];
    one.opens(tp).await;
    assert_eq!(one.produce(tp, 0).await, 0);
    let unanswered = one.append(tp, 1).expect("taken");
    world.move_to(tp, &two).await;
    two.opens(tp).await;
    assert_eq!(
        unanswered
            .await
            .expect("committed before")
            .base_offset
            .get(),
        1
    );
    let refused = one.append(tp, 2).expect_err("another leads");
    assert_eq!(refused, AppendError::NotLeader(Outcome::NotDone));
    assert!(one.leads(tps[1]), "the others stay");
    // A retry is recognised by the new leader (I10), and offsets go on.
    assert_eq!(two.produce(tp, 1).await, 1);
    assert_eq!(two.produce(tp, 2).await, 2);
    assert_eq!(two.epoch(tp), LeaderEpoch(1));

    // Back to the same session, whose log has other things of its own by now.
    one.produce(tps[1], 0).await;
    world.move_to(tp, &one).await;
    one.opens(tp).await;
    assert_eq!(one.produce(tp, 2).await, 2);
    assert_eq!(one.produce(tp, 3).await, 3);
    assert_eq!(one.epoch(tp), LeaderEpoch(2));
    let tail = world.record(tp).await.tail;
    let sessions: Vec<_> = tail.iter().map(|entry| entry.broker_id.0).collect();
    assert_eq!(sessions, [1, 2, 1]);
    world.move_to(tp, &two).await;
    two.opens(tp).await;
    assert_eq!(two.produce(tp, 4).await, 4);
}

/// F4: whichever reply or request of a hand-over is lost, the partition ends with one leader and nothing is lost.
#[tokio::test(start_paused = true)]
async fn hand_overs_survive_lost_replies() {
    for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Refused] {
        for calls_before in 0..6 {
            let world = World::new();
            let (one, two) = (world.node(1).await, world.node(2).await);
            let tp = one.create(1, &[&one]).await[0];
            one.opens(tp).await;
            assert_eq!(one.produce(tp, 0).await, 0);
            world.move_to(tp, &two).await;
            let faults = std::iter::repeat_n(Fault::None, calls_before);
            world.faults.next(faults.chain([fault, fault]));
            two.opens(tp).await;
            one.rounds().await;
            assert!(!one.leads(tp), "{fault:?} after {calls_before}");
            assert_eq!(two.produce(tp, 1).await, 1);
        }
    }
}

/// F2: what a session may still commit is not read past.
#[tokio::test(start_paused = true)]
async fn nobody_opens_what_a_session_still_leads() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let tp = one.create(1, &[&one]).await[0];
    one.opens(tp).await;
    assert_eq!(one.produce(tp, 0).await, 0);
    // A controller that is wrong: the session of the leader stands.
    one.task.abort();
    let target = two.me.broker_id;
    world.edit(tp, |record| record.assigned_to(target)).await;
    two.rounds().await;
    assert!(!two.leads(tp));
    assert_eq!(one.produce(tp, 1).await, 1, "and it goes on committing");
    one.kill().await;
    one.session.close().await.expect("closed");
    two.opens(tp).await;
    assert_eq!(two.produce(tp, 1).await, 1, "a duplicate");
    assert_eq!(two.produce(tp, 2).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_session_of_the_same_broker_goes_on_where_the_old_one_ended() {
    let world = World::new();
    let old = world.node(1).await;
    let tp = old.create(1, &[&old]).await[0];
    old.opens(tp).await;
    assert_eq!(old.produce(tp, 0).await, 0);
    old.kill().await;
    let new = world.node(1).await;
    assert!(new.me.broker_epoch > BrokerEpoch(0));
    new.opens(tp).await;
    assert_eq!(
        (new.produce(tp, 1).await, new.epoch(tp)),
        (1, LeaderEpoch(1))
    );
}

#[tokio::test(start_paused = true)]
async fn a_move_that_is_called_off_leaves_the_partition_where_it_is() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let tp = one.create(1, &[&one]).await[0];
    one.opens(tp).await;
    // The record changes between the look at it and the write.
    world.move_to(tp, &two).await;
    let _waiting = one.append(tp, 0).expect("taken");
    tokio::task::yield_now().await;
    let off = |record| PartitionRecord {
        moving_to: None,
        ..record
    };
    world.edit(tp, off).await;
    one.rounds().await;
    assert!(one.leads(tp) && !two.leads(tp));
    assert_eq!(one.produce(tp, 1).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_another_folder_may_hold_stays_closed() {
    let world = World::new();
    let one = world.node(1).await;
    let tp = one.create(1, &[&one]).await[0];
    one.opens(tp).await;
    one.kill().await;
    let elsewhere = WalHolder(Uuid::from_u128(99));
    let locked = |wal| move |record| PartitionRecord { wal, ..record };
    world.edit(tp, locked(Some(elsewhere))).await;
    let one = world.node(1).await;
    one.rounds().await;
    assert!(!one.leads(tp));
    world.edit(tp, locked(None)).await;
    one.opens(tp).await;
}

#[tokio::test(start_paused = true)]
async fn the_write_ahead_log_is_named_before_it_is_used_and_forgotten_after() {
    let world = World::new();
    let one = world.node(1).await;
    let tp = one.create(1, &[&one]).await[0];
    one.opens(tp).await;
    assert_eq!(one.produce(tp, 0).await, 0);
    assert_eq!(world.record(tp).await.wal, None);
    let name = TopicName::new("topic").expect("name");
    for (class, named) in [("local", Some(one.me.wal_holder())), ("object", None)] {
        let set = |configs: &mut BTreeMap<String, String>| {
            configs.insert(SETTING.to_owned(), class.to_owned());
            Ok(())
        };
        one.topics.alter_configs(&name, set).await.expect("altered");
        one.rounds().await;
        assert_eq!(world.record(tp).await.wal, named);
        // This broker has no such log, so it refuses what would go there.
        let refused = matches!(one.append(tp, 1), Err(AppendError::Storage { .. }));
        assert_eq!(refused, named.is_some(), "{class}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_is_closed() {
    let world = World::new();
    let one = world.node(1).await;
    let tps = one.create(3, &[&one]).await;
    one.opens(tps[2]).await;
    let name = TopicName::new("topic").expect("name");
    one.topics.delete(&name).await.expect("deleted");
    one.rounds().await;
    assert_eq!(one.pipeline.led(), []);
    let gone = PartitionChange {
        tp: tps[0],
        record: PartitionRecord::new(one.me.broker_id),
        read_at: alluvium_metadata::store::Revision(5),
    };
    let written = one.partitions.write(&[one.session.fence()], &[gone]).await;
    assert_eq!(written.expect("written"), [Written::Changed]);
}

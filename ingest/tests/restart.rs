//! The write path over the real neighbours: metadata store, session, commit log, write-ahead log on a
//! disk. Stopped hard and started again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::Logs;
use alluvium_cache::metrics::TailMetrics;
use alluvium_cache::tail::TailBudget;
use alluvium_common::clock::{SharedClock, SystemClock};
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::rand::{SeededRandom, SharedRandom};
use alluvium_common::topic::{PartitionIndex, TopicName, TopicPartition};
use alluvium_ingest::ack::Acks;
use alluvium_ingest::backpressure::{ByteBudget, FramePermit};
use alluvium_ingest::metrics::IngestMetrics;
use alluvium_ingest::partition::AppendOptions;
use alluvium_ingest::pipeline::{Pipeline, PipelineConfig, PipelineSeams};
use alluvium_ingest::recovery::{
    Led, MetadataCommits, ReplaySummary, Start, StartError, TakeOver, start, take_over,
};
use alluvium_ingest::seams::{CommitFailure, CommitSink, SessionGuard};
use alluvium_ingest::validate::{ClientRules, TopicRules};
use alluvium_ingest::wal::WalOptions;
use alluvium_metadata::commit_log::{CommitError, CommitLog};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leadership::PartitionWriter;
use alluvium_metadata::model::{BrokerRecord, CommitRecord, Opener, WalHolder};
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{MemoryStore, MetadataStore, MetadataStoreExt};
use alluvium_metadata::topics::{NewTopic, TopicWriter};
use alluvium_metadata::value;
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS};
use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use uuid::Uuid;

const BROKER: BrokerId = BrokerId(1);
const INSTANCE: Uuid = Uuid::from_u128(1);

struct World {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    bucket: Arc<dyn ObjectStore>,
    folder: tempfile::TempDir,
    random: SharedRandom,
}

struct Commits(CommitLog);

impl CommitSink for Commits {
    fn commit(
        &self,
        first_sequence: u64,
        records: Vec<CommitRecord>,
    ) -> BoxFuture<'_, Result<(), CommitFailure>> {
        Box::pin(async move {
            let committed = self.0.commit(first_sequence, &records).await;
            committed.map_err(|error| match error {
                CommitError::Unavailable(error) => CommitFailure::Unavailable(error.to_string()),
                _ => CommitFailure::Fenced,
            })
        })
    }
}

struct Guard(Arc<Session>);

impl SessionGuard for Guard {
    fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    fn lost(&self) -> BoxFuture<'static, ()> {
        let session = Arc::clone(&self.0);
        Box::pin(async move { session.lost().await })
    }

    fn broker_id(&self) -> BrokerId {
        self.0.broker_id()
    }

    fn broker_epoch(&self) -> BrokerEpoch {
        self.0.broker_epoch()
    }
}

struct Broker {
    pipeline: Arc<Pipeline>,
    session: Arc<Session>,
    writer: TopicWriter,
    tails: Arc<TailBudget>,
    summary: ReplaySummary,
}

impl World {
    fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            keys: Keys::new("test"),
            bucket: Arc::new(InMemory::new()),
            folder: tempfile::tempdir().expect("a folder"),
            random: SeededRandom::new(7),
        }
    }

    /// All partitions.
    async fn led(&self) -> Vec<Led> {
        let (_, kvs) = self
            .store
            .list(self.keys.partitions())
            .await
            .expect("reads");
        let led = kvs.iter().map(|kv| Led {
            tp: self
                .keys
                .parse_partition(&kv.key)
                .expect("a partition's key"),
            topic: topic(),
            rules: TopicRules::default(),
            record: value::decode(&kv.value).expect("a record"),
            read_at: kv.mod_revision,
            manifest: None,
        });
        led.collect()
    }

    fn commit_logs(&self) -> MetadataCommits {
        MetadataCommits {
            store: Arc::clone(&self.store),
            keys: self.keys.clone(),
        }
    }

    fn partition_writer(&self) -> PartitionWriter {
        PartitionWriter::new(Arc::clone(&self.store), self.keys.clone())
    }

    async fn start(&self) -> Broker {
        let led = self.led().await;
        self.try_start(led).await.expect("starts")
    }

    async fn try_start(&self, led: Vec<Led>) -> Result<Broker, StartError> {
        let record = BrokerRecord {
            broker_id: BROKER,
            host: "localhost".into(),
            port: 9092,
            rack: None,
            instance_id: INSTANCE,
            version: "test".into(),
            started_ms: 0,
            rpc: None,
            draining: false,
            roles: alluvium_metadata::model::Roles::broker(),
        };
        let ttl = Duration::from_secs(60);
        let session = Session::open(Arc::clone(&self.store), &self.keys, &record, ttl).await;
        let session = Arc::new(session.expect("a session"));
        let clock: SharedClock = Arc::new(SystemClock);
        let writer = TopicWriter::new(
            Arc::clone(&self.store),
            self.keys.clone(),
            Arc::clone(&session),
            Arc::clone(&clock),
            Arc::clone(&self.random),
        );
        let commits = CommitLog::new(
            Arc::clone(&self.store),
            self.keys.clone(),
            Arc::clone(&session),
        );
        let seams = PipelineSeams {
            store: Arc::clone(&self.bucket),
            commits: Arc::new(Commits(commits)),
            session: Arc::new(Guard(Arc::clone(&session))),
            wal: None,
            logs: Logs::new(),
            segment_cache: None,
            clock,
            random: Arc::clone(&self.random),
            metrics: IngestMetrics::default(),
        };
        let tails = TailBudget::new(1 << 20, TailMetrics::default());

        let fence = session.fence();
        let (commits, partitions) = (self.commit_logs(), self.partition_writer());
        let started = start(Start {
            config: PipelineConfig::default(),
            seams,
            budget: ByteBudget::new(8 << 20),
            wal_folder: self.folder.path().join("wal"),
            wal_options: WalOptions {
                file_bytes: 1 << 20,
                first_file_bytes: 1 << 20,
                limit_bytes: 16 << 20,
                ..WalOptions::default()
            },
            commits: &commits,
            writer: &partitions,
            fence,
            wal_holder: WalHolder(INSTANCE),
            tail_budget: &tails,
            led,
        });
        let (pipeline, summary) = started.await?;
        Ok(Broker {
            pipeline,
            session,
            writer,
            tails,
            summary,
        })
    }
}

impl Broker {
    async fn create(&self, world: &World) -> TopicPartition {
        let new = NewTopic {
            name: topic(),
            partition_count: 1,
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        let here = |_, partitions: Range<i32>| partitions.map(|_| BROKER).collect();
        let (record, _) = self.writer.create(new, &here).await.expect("created");
        let tp = TopicPartition::new(record.topic_id, PartitionIndex(0));
        let take = TakeOver {
            commits: &world.commit_logs(),
            objects: &world.bucket,
            writer: &world.partition_writer(),
            fence: self.session.fence(),
            opener: Opener {
                broker_id: BROKER,
                broker_epoch: self.session.broker_epoch(),
                first_seq: self.pipeline.next_commit_sequence(),
                wal: Some(WalHolder(INSTANCE)),
            },
            tail_budget: &self.tails,
        };
        let opened = take_over(&take, world.led().await, Vec::new()).await;
        let (mut recovered, _) = opened.expect("taken over");
        let recovered = recovered.pop().expect("nobody else wants it");
        self.pipeline
            .open_partition(recovered.topic, recovered.rules, recovered.state);
        tp
    }

    async fn produce(&self, tp: TopicPartition, value: &str) -> i64 {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(1_000, None, Some(value.as_bytes()), NO_HEADERS);
        let records: Bytes = builder.build().expect("builds");
        let options = AppendOptions {
            acks: Acks::All,
            permit: FramePermit::unaccounted(),
            client: ClientRules::default(),
        };
        let ticket = self.pipeline.append(&tp, &records, options).expect("taken");
        ticket.await.expect("durable").base_offset.get()
    }

    fn end(&self, tp: TopicPartition) -> (i64, i32) {
        let partition = self.pipeline.partition(&tp).expect("open");
        let end = partition.log().tail.offsets().high_watermark.get();
        (end, partition.leader_epoch().0)
    }

    /// As a killed process: nothing is uploaded any more.
    async fn kill(self) {
        self.pipeline.shutdown().await;
    }
}

fn topic() -> TopicName {
    TopicName::new("topic").expect("valid")
}

fn wal_files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("wal"))
        .expect("exists")
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_finds_its_log_again() {
    let world = World::new();
    let broker = world.start().await;
    let tp = broker.create(&world).await;
    for expected in 0..5 {
        assert_eq!(broker.produce(tp, "first").await, expected);
    }
    assert!(broker.pipeline.flush().await);
    for expected in 5..8 {
        assert_eq!(broker.produce(tp, "logged").await, expected);
    }
    broker.kill().await;
    assert!(wal_files(world.folder.path()) > 0);

    let broker = world.start().await;
    assert_eq!((broker.summary.taken, broker.end(tp)), (3, (8, 1)));
    assert_eq!(broker.produce(tp, "second").await, 8);
    broker.kill().await;

    let broker = world.start().await;
    assert_eq!((broker.summary.taken, broker.end(tp)), (4, (9, 2)));
    assert!(broker.pipeline.flush().await);
    assert_eq!(broker.produce(tp, "third").await, 9);
    assert!(broker.pipeline.flush().await);
    broker.kill().await;

    let broker = world.start().await;
    assert_eq!((broker.summary.taken, broker.end(tp)), (0, (10, 3)));
    broker.kill().await;
}

/// What was acknowledged is in the log only, and the log is given back as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_outlives_a_start_that_cannot_open_its_partition() {
    let world = World::new();
    let broker = world.start().await;
    let tp = broker.create(&world).await;
    assert_eq!(broker.produce(tp, "logged").await, 0);
    broker.kill().await;

    let read = world.led().await;
    let key = world.keys.partition(tp);
    let stored = value::encode(&read[0].record);
    world
        .store
        .put(key, stored)
        .await
        .expect("changed meanwhile");
    let refused = world.try_start(read).await.err().expect("refused");
    assert!(
        matches!(refused, StartError::Changed { tp: changed } if changed == tp),
        "{refused}"
    );

    let broker = world.start().await;
    assert_eq!((broker.summary.taken, broker.end(tp).0), (1, 1));
}

//! The write path over the real neighbours: metadata store, session, commit log, write-ahead log on a
//! disk. Stopped hard and started again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::{EpochHistory, Logs, PartitionLog};
use alluvium_cache::metrics::TailMetrics;
use alluvium_cache::tail::{TailBudget, TailStart};
use alluvium_common::clock::{SharedClock, SystemClock};
use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::rand::{SeededRandom, SharedRandom};
use alluvium_common::topic::{PartitionIndex, TopicName, TopicPartition};
use alluvium_ingest::ack::Acks;
use alluvium_ingest::backpressure::{ByteBudget, FramePermit};
use alluvium_ingest::metrics::IngestMetrics;
use alluvium_ingest::partition::AppendOptions;
use alluvium_ingest::pipeline::{OpenState, Pipeline, PipelineConfig, PipelineSeams};
use alluvium_ingest::recovery::{Led, MetadataCommits, ReplaySummary, Start, start};
use alluvium_ingest::seams::{CommitFailure, CommitSink, SessionGuard};
use alluvium_ingest::validate::{ClientRules, TopicRules};
use alluvium_ingest::wal::WalOptions;
use alluvium_metadata::commit_log::{CommitError, CommitLog};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{BrokerRecord, CommitRecord};
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{MemoryStore, MetadataStore};
use alluvium_metadata::topics::{NewTopic, TopicWriter};
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS};
use alluvium_segment::segment_index::SegmentIndex;
use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::memory::InMemory;

const BROKER: BrokerId = BrokerId(1);

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

    async fn start(&self) -> Broker {
        let record = BrokerRecord {
            broker_id: BROKER,
            host: "localhost".into(),
            port: 9092,
            rack: None,
            instance_id: uuid::Uuid::from_u128(1),
            version: "test".into(),
            started_ms: 0,
            rpc: None,
            draining: false,
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
            session: Arc::new(Guard(session)),
            wal: None,
            logs: Logs::new(),
            segment_cache: None,
            clock,
            random: Arc::clone(&self.random),
            metrics: IngestMetrics::default(),
        };
        let tails = TailBudget::new(1 << 20, TailMetrics::default());
        let led = writer.partitions().await.expect("reads").into_iter();
        let led = led.map(|(tp, record, read_at)| Led {
            tp,
            topic: topic(),
            rules: TopicRules::default(),
            record,
            read_at,
        });
        let commit_logs = MetadataCommits {
            store: Arc::clone(&self.store),
            keys: self.keys.clone(),
        };
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
            commits: &commit_logs,
            writer: &writer,
            tail_budget: &tails,
            led: led.collect(),
        });
        let (pipeline, summary) = started.await.expect("starts");
        Broker {
            pipeline,
            writer,
            tails,
            summary,
        }
    }
}

impl Broker {
    async fn create(&self) -> TopicPartition {
        let new = NewTopic {
            name: topic(),
            partition_count: 1,
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        let next_commit = self.pipeline.next_commit_sequence();
        let (record, _) = self.writer.create(new, next_commit).await.expect("created");
        let tp = TopicPartition::new(record.topic_id, PartitionIndex(0));
        let start = TailStart {
            log_start: Offset::ZERO,
            next_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch(0),
        };
        let epochs = EpochHistory::new([(LeaderEpoch(0), Offset::ZERO)]);
        let index = SegmentIndex::new(Offset::ZERO);
        let log = PartitionLog::open(tp, start, index, epochs, &self.tails);
        let producers = Vec::new();
        let state = OpenState { log, producers };
        self.pipeline
            .open_partition(topic(), TopicRules::default(), state);
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
    let tp = broker.create().await;
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

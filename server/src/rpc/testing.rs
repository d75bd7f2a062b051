//! A cluster of brokers in one process, each with its session, its write and read path and its calls over loopback; only
//! Kafka's protocol and the controller, whose part tests play, are missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alluvium_cache::log::Logs;
use alluvium_cache::metrics::{SegmentCacheMetrics, TailMetrics};
use alluvium_cache::segment_cache::{SegmentCache, SegmentCacheConfig};
use alluvium_cache::tail::TailBudget;
use alluvium_common::clock::{SharedClock, SystemClock};
use alluvium_common::epoch::BrokerId;
use alluvium_common::object_store::fault::{FaultPlan, FaultStore};
use alluvium_common::rand::{SeededRandom, SharedRandom};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_compactor::manifests::Manifests;
use alluvium_ingest::ack::Acks;
use alluvium_ingest::backpressure::{ByteBudget, FramePermit};
use alluvium_ingest::metrics::IngestMetrics;
use alluvium_ingest::partition::AppendOptions;
use alluvium_ingest::pipeline::{Pipeline, PipelineConfig, PipelineSeams};
use alluvium_ingest::recovery::{MetadataCommits, Start, start};
use alluvium_ingest::validate::ClientRules;
use alluvium_ingest::wal::WalOptions;
use alluvium_metadata::commit_log::CommitLog;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leadership::{PartitionChange, PartitionWriter, Written};
use alluvium_metadata::model::{BrokerRecord, PartitionRecord, RpcEndpoint, TopicRecord};
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{MemoryStore, MetadataStore, MetadataStoreExt};
use alluvium_metadata::value;
use alluvium_metadata::view::ClusterView;
use alluvium_query::fetch::session::SessionRequest;
use alluvium_query::fetch::{
    FetchConfig, FetchError, FetchPartition, FetchRequest, Fetcher, PartitionRead, TopicKey,
    TopicResolver,
};
use alluvium_query::metrics::ReadMetrics;
use alluvium_query::{Isolation, LogReader};
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    AnswerMemory, BoundRpc, Leader, Pages, Peers, RackPages, RpcLimits, RpcService, RpcTls,
};
use crate::followers::{FollowerLogs, FollowerSeams};
use crate::partitions::{FormerLeaders, LeaderPartitions, Me, PartitionSeams, Shelf};
use crate::wiring::adapters::{Commits, SessionSeam};

pub(crate) const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// The topic of all tests.
pub(crate) const TOPIC: TopicId = TopicId(Uuid::from_u128(77));

pub(crate) fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, PartitionIndex(partition))
}

pub(crate) fn rpc_at(listener: &TcpListener) -> RpcEndpoint {
    RpcEndpoint {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().expect("bound").port(),
    }
}

/// What brokers share.
pub(crate) struct World {
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) keys: Keys,
    pub(crate) faults: Arc<FaultPlan>,
    objects: Arc<dyn ObjectStore>,
    random: SharedRandom,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let faults = FaultPlan::new(1);
        let memory = Arc::new(InMemory::new());
        Self {
            store: Arc::new(MemoryStore::new()),
            keys: Keys::new("test"),
            objects: Arc::new(FaultStore::new(memory, Arc::clone(&faults))),
            faults,
            random: SeededRandom::new(7),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// The topic, all of whose partitions `leader` shall open.
    pub(crate) async fn create_topic(&self, partitions: i32, leader: i32, durability: &str) {
        let name = TopicName::new("topic").expect("valid");
        let configs = [("alluvium.durability".to_owned(), durability.to_owned())];
        for partition in 0..partitions {
            let record = PartitionRecord::new(BrokerId(leader));
            let key = self.keys.partition(tp(partition));
            let put = self.store.put(key, value::encode(&record)).await;
            put.expect("stored");
        }
        let record = TopicRecord {
            name: name.clone(),
            topic_id: TOPIC,
            partition_count: partitions,
            replication_factor: 1,
            configs: configs.into(),
            created_ms: 0,
        };
        let put = self
            .store
            .put(self.keys.topic(&name), value::encode(&record));
        put.await.expect("stored");
    }

    pub(crate) async fn record(&self, tp: TopicPartition) -> PartitionRecord {
        let kv = self
            .store
            .get(self.keys.partition(tp))
            .await
            .expect("reads");
        value::decode(&kv.expect("there").value).expect("a record")
    }

    /// What a controller does for a planned move.
    pub(crate) async fn move_to(&self, tp: TopicPartition, target: i32) {
        let writer = PartitionWriter::new(Arc::clone(&self.store), self.keys.clone());
        let placed = writer.read(tp).await.expect("reads").expect("there");
        let change = PartitionChange {
            tp,
            record: PartitionRecord {
                moving_to: Some(BrokerId(target)),
                ..placed.record
            },
            read_at: placed.mod_revision,
        };
        let written = writer.write(&[], &[change]).await.expect("written");
        assert!(matches!(written[..], [Written::Done(_)]));
    }

    pub(crate) async fn broker(&self, id: i32, rack: &str, tail_bytes: usize) -> TestBroker {
        self.broker_with_tls(id, rack, tail_bytes, None).await
    }

    pub(crate) async fn broker_with_tls(
        &self,
        id: i32,
        rack: &str,
        tail_bytes: usize,
        tls: Option<RpcTls>,
    ) -> TestBroker {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let endpoint = rpc_at(&listener);
        let instance_id = Uuid::from_u128(id as u128);
        let record = BrokerRecord {
            broker_id: BrokerId(id),
            host: "127.0.0.1".into(),
            port: 9092,
            rack: Some(rack.to_owned()),
            instance_id,
            version: "test".into(),
            started_ms: 0,
            rpc: Some(endpoint.clone()),
            draining: false,
            roles: alluvium_metadata::model::Roles::broker(),
        };
        let ttl = Duration::from_secs(60);
        let session = Session::open(Arc::clone(&self.store), &self.keys, &record, ttl).await;
        let session = Arc::new(session.expect("a session"));
        let view = ClusterView::open(Arc::clone(&self.store), self.keys.clone()).await;
        let view = Arc::new(view.expect("a picture"));
        let (logs, stopping) = (Logs::new(), CancellationToken::new());
        let tail_budget = TailBudget::new(tail_bytes, TailMetrics::default());
        let me = Me {
            broker_id: session.broker_id(),
            broker_epoch: session.broker_epoch(),
            instance_id,
        };
        let pipeline = self.pipeline(&me, &session, &logs, &tail_budget).await;
        let cache_metrics = SegmentCacheMetrics::default();
        let objects = Arc::clone(&self.objects);
        let cache = SegmentCache::open(
            SegmentCacheConfig::default(),
            objects,
            cache_metrics.clone(),
        )
        .await;
        let guard = Arc::new(SessionSeam(Arc::clone(&session)));
        let metrics = ReadMetrics::default();
        let reader = LogReader::new(Arc::clone(&logs), cache.clone(), guard, metrics);
        let shelf = Arc::new(Shelf::default());
        let is_alive = Arc::new(AtomicBool::new(true));
        let told_alive = Arc::clone(&is_alive);
        let memory = AnswerMemory::new(RpcLimits::default().answer_bytes);
        let leader = Leader::new(
            Arc::clone(&logs),
            Arc::clone(&reader),
            Arc::clone(&shelf),
            Arc::new(move || told_alive.load(Ordering::Relaxed)),
            memory.clone(),
        );
        let mut tasks = JoinSet::new();
        let bound = BoundRpc::new(listener, endpoint, tls);
        let peers = Peers::new(Arc::clone(&view) as Arc<_>, CLUSTER, bound.client_tls());
        cache.ask_first(RackPages::new(
            BrokerId(id),
            Arc::clone(&view),
            Arc::clone(&peers),
        ));
        let pages = Pages::new(cache, memory);
        let service = RpcService::new(
            leader,
            pages,
            CLUSTER,
            RpcLimits::default(),
            stopping.clone(),
        );
        let until = stopping.clone();
        tasks.spawn(async move {
            bound.serve(service, until).await.expect("serves");
        });
        let manifests = Manifests::new(Arc::clone(&self.objects));
        let followers = FollowerLogs::new(FollowerSeams {
            manifests: Arc::clone(&manifests),
            broker_id: BrokerId(id),
            rack: Some(rack.to_owned()),
            view: Arc::clone(&view),
            peers: Arc::clone(&peers),
            tail_budget: Arc::clone(&tail_budget),
            stopping: stopping.clone(),
        });
        let fetcher = Fetcher::new(
            Arc::clone(&reader),
            Some(Arc::clone(&followers) as Arc<_>),
            FetchConfig::default(),
            Arc::clone(&self.random),
        );
        let led = LeaderPartitions::new(PartitionSeams {
            me,
            session,
            view: Arc::clone(&view),
            pipeline: Arc::clone(&pipeline),
            logs,
            tail_budget: Arc::clone(&tail_budget),
            store: Arc::clone(&self.store),
            keys: self.keys.clone(),
            objects: Arc::clone(&self.objects),
            manifests,
            defaults: BTreeMap::new(),
            former: Some(Arc::new(Arc::clone(&peers)) as Arc<dyn FormerLeaders>),
            shelf: Arc::clone(&shelf),
        });
        tasks.spawn(Arc::clone(&led).follow());
        TestBroker {
            view,
            pipeline,
            led,
            fetcher,
            followers,
            peers,
            shelf,
            tail_budget,
            cache_metrics,
            is_alive,
            stopping,
            _tasks: tasks,
        }
    }

    async fn pipeline(
        &self,
        me: &Me,
        session: &Arc<Session>,
        logs: &Arc<Logs>,
        tail_budget: &Arc<TailBudget>,
    ) -> Arc<Pipeline> {
        let (store, keys) = (&self.store, &self.keys);
        let commits = CommitLog::new(Arc::clone(store), keys.clone(), Arc::clone(session));
        let clock: SharedClock = Arc::new(SystemClock);
        let commit_logs = MetadataCommits {
            store: Arc::clone(store),
            keys: keys.clone(),
        };
        let writer = PartitionWriter::new(Arc::clone(store), keys.clone());
        let started = start(Start {
            config: PipelineConfig {
                puts_per_second: 1_000.0,
                ..PipelineConfig::default()
            },
            seams: PipelineSeams {
                store: Arc::clone(&self.objects),
                commits: Arc::new(Commits(commits)),
                session: Arc::new(SessionSeam(Arc::clone(session))),
                wal: None,
                logs: Arc::clone(logs),
                segment_cache: None,
                clock,
                random: Arc::clone(&self.random),
                metrics: IngestMetrics::default(),
            },
            budget: ByteBudget::new(8 << 20),
            wal_folder: self.folder.path().join(me.broker_id.0.to_string()),
            wal_options: WalOptions {
                file_bytes: 1 << 20,
                first_file_bytes: 1 << 20,
                limit_bytes: 16 << 20,
                ..WalOptions::default()
            },
            commits: &commit_logs,
            writer: &writer,
            fence: session.fence(),
            wal_holder: me.wal_holder(),
            tail_budget,
            led: Vec::new(),
        });
        started.await.expect("starts").0
    }
}

/// One of them.
pub(crate) struct TestBroker {
    pub(crate) view: Arc<ClusterView>,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) led: Arc<LeaderPartitions>,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) followers: Arc<FollowerLogs>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) tail_budget: Arc<TailBudget>,
    pub(crate) cache_metrics: SegmentCacheMetrics,
    /// Whether its session can be proved alive.
    pub(crate) is_alive: Arc<AtomicBool>,
    pub(crate) stopping: CancellationToken,
    _tasks: JoinSet<()>,
}

struct ById;

impl TopicResolver for ById {
    fn resolve(&self, topic: &TopicKey) -> Option<TopicId> {
        match topic {
            TopicKey::Name(_) => None,
            TopicKey::Id(id) => Some(*id),
        }
    }
}

/// Waits until `is_so`, looking again whenever the picture changes, and every now and then.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let came = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(came.await.is_ok(), "waited in vain until {what}");
}

impl TestBroker {
    pub(crate) async fn leads(&self, tp: TopicPartition) {
        until("the partition is led here", || {
            self.pipeline.partition(&tp).is_some()
        })
        .await;
    }

    /// Appends one batch of one record; returns its offset when it is acknowledged.
    pub(crate) async fn append(&self, tp: TopicPartition, value: &str) -> i64 {
        self.append_batch(tp, BatchBuilder::new(Codec::None), value)
            .await
    }

    /// The same for a batch that was begun.
    pub(crate) async fn append_batch(
        &self,
        tp: TopicPartition,
        mut builder: BatchBuilder,
        value: &str,
    ) -> i64 {
        builder.push(1_000, None, Some(value.as_bytes()), NO_HEADERS);
        let records = builder.build().expect("builds");
        let options = AppendOptions {
            acks: Acks::All,
            permit: FramePermit::unaccounted(),
            client: ClientRules::default(),
        };
        let ticket = self.pipeline.append(&tp, &records, options).expect("taken");
        ticket.await.expect("durable").base_offset.get()
    }

    pub(crate) async fn fetch(
        &self,
        rack: &str,
        tp: TopicPartition,
        from: i64,
        max_wait: Duration,
    ) -> Result<PartitionRead, FetchError> {
        let request = FetchRequest {
            max_wait,
            min_bytes: 1,
            max_bytes: 1 << 20,
            isolation: Isolation::ReadUncommitted,
            rack: Some(rack.to_owned()),
            session: SessionRequest::NONE,
            partitions: vec![FetchPartition {
                topic: TopicKey::Id(tp.topic_id),
                partition: tp.partition,
                fetch_offset: from,
                current_leader_epoch: None,
                last_fetched_epoch: None,
                max_bytes: 1 << 20,
            }],
            forgotten: Vec::new(),
        };
        let response = self.fetcher.fetch(request, &ById).await.expect("answered");
        response.partitions.into_iter().next().expect("one").result
    }
}

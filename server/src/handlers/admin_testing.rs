//! What the tests of the administrative handlers have in common: topics over a store in memory, and logs without
//! a write path behind them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::{EpochHistory, Logs, PartitionLog};
use alluvium_cache::metrics::TailMetrics;
use alluvium_cache::tail::{CloseReason, TailBudget, TailStart};
use alluvium_common::clock::ManualClock;
use alluvium_common::epoch::{BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::compaction::PublicationWriter;
use alluvium_metadata::drains::DrainWriter;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leadership::{PartitionChange, PartitionWriter, Written};
use alluvium_metadata::model::{BrokerRecord, Opener, TopicRecord};
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{MemoryStore, MetadataStore};
use alluvium_metadata::topics::{NewTopic, TopicWriter};
use alluvium_metadata::view::ClusterView;
use alluvium_segment::segment_index::SegmentIndex;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::admin::Admin;
use crate::broker::Identity;
use crate::config::Loaded;
use crate::handlers::cluster_testing::TestCluster;
use crate::handlers::group_testing::identity;
use crate::placement_service::PlacementService;
use crate::publication_service::PublicationService;
use crate::tiers::Tiers;
use crate::topic_service::{PartitionHost, TopicService};

/// A broker's administrative side.
pub struct Scene {
    pub topics: TopicService,
    pub placement: PlacementService,
    pub publications: PublicationService,
    /// The same store, for what other brokers do.
    pub cluster: TestCluster,
    pub view: Arc<ClusterView>,
    pub logs: Arc<Logs>,
    pub loaded: Loaded,
    pub identity: Identity,
    pub tiers: Tiers,
}

/// Opens and closes logs; where they end, tests say.
struct LogsOnly {
    logs: Arc<Logs>,
    view: Arc<ClusterView>,
    budget: Arc<TailBudget>,
    session: Arc<Session>,
    writer: PartitionWriter,
}

impl LogsOnly {
    /// Writes that this broker's session leads what was placed here.
    async fn lead(&self, topic_id: TopicId) {
        let opener = Opener {
            broker_id: self.session.broker_id(),
            broker_epoch: self.session.broker_epoch(),
            first_seq: 0,
            wal: None,
        };
        let picture = self.view.picture();
        let placed = picture.partitions.of(topic_id);
        let closed = placed.filter(|(_, placed)| placed.record.open_by().is_none());
        let changes: Vec<_> = closed
            .map(|(tp, placed)| PartitionChange {
                tp,
                record: placed.record.opened(&opener, Offset::ZERO, |_| None),
                read_at: placed.mod_revision,
            })
            .collect();
        let written = self.writer.write(&[self.session.fence()], &changes).await;
        for written in written.expect("written") {
            let Written::Done(revision) = written else {
                panic!("nobody else writes");
            };
            self.view.reached(revision).await;
        }
    }
}

impl PartitionHost for LogsOnly {
    fn settle(&self, topic_id: TopicId) -> BoxFuture<'_, ()> {
        let written = self.lead(topic_id);
        let picture = self.view.picture();
        if picture.topics.with_id(topic_id).is_none() {
            let logs = self.logs.all();
            for log in logs.iter().filter(|log| log.tp.topic_id == topic_id) {
                self.logs.remove(&log.tp, CloseReason::Deleted);
            }
        }
        for (tp, _) in picture.partitions.of(topic_id) {
            if self.logs.get(&tp).is_none() {
                let start = TailStart {
                    log_start: Offset::ZERO,
                    next_offset: Offset::ZERO,
                    leader_epoch: LeaderEpoch(0),
                };
                self.logs.insert(log(tp, start, &self.budget));
            }
        }
        Box::pin(written)
    }

    fn set_log_start(&self, tp: TopicPartition, to: Offset) {
        if let Some(log) = self.logs.get(&tp) {
            log.set_log_start(to);
        }
    }
}

fn log(tp: TopicPartition, start: TailStart, budget: &Arc<TailBudget>) -> Arc<PartitionLog> {
    let epochs = EpochHistory::new([(LeaderEpoch(0), Offset::ZERO)]);
    PartitionLog::open(
        tp,
        start,
        SegmentIndex::new(start.log_start),
        epochs,
        budget,
    )
}

impl Scene {
    pub async fn new() -> Self {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let keys = Keys::new("test");
        let record = BrokerRecord {
            broker_id: BrokerId(7),
            host: "broker.test".to_owned(),
            port: 9092,
            rack: None,
            instance_id: Uuid::from_u128(1),
            version: "0".to_owned(),
            started_ms: 0,
            rpc: None,
            draining: false,
            roles: alluvium_metadata::model::Roles::broker(),
        };
        let ttl = Duration::from_secs(9);
        let session = Session::open(Arc::clone(&store), &keys, &record, ttl)
            .await
            .expect("session");
        let session = Arc::new(session);
        let writer = TopicWriter::new(
            Arc::clone(&store),
            keys.clone(),
            Arc::clone(&session),
            ManualClock::at(1_000),
            SeededRandom::new(1),
        );
        let view = ClusterView::open(Arc::clone(&store), keys.clone()).await;
        let view = Arc::new(view.expect("view"));
        let partitions = PartitionWriter::new(Arc::clone(&store), keys.clone());
        let drains = DrainWriter::new(
            Arc::clone(&store),
            keys,
            Arc::clone(&session),
            ManualClock::at(1_000),
        );
        let logs = Logs::new();
        let budget = TailBudget::new(1 << 20, TailMetrics::default());
        let host = Arc::new(LogsOnly {
            logs: Arc::clone(&logs),
            view: Arc::clone(&view),
            budget,
            session: Arc::clone(&session),
            writer: partitions.clone(),
        });
        let topics = TopicService::new(
            writer,
            Arc::clone(&view),
            host,
            BrokerId(7),
            BTreeMap::new(),
        );
        Self {
            topics,
            placement: PlacementService::new(
                partitions,
                drains,
                Keys::new("test"),
                Arc::clone(&session),
                Arc::clone(&view),
            ),
            publications: PublicationService::new(
                PublicationWriter::new(Arc::clone(&store), Keys::new("test")),
                session,
                ManualClock::at(1_000),
            ),
            cluster: TestCluster::over(store, Arc::clone(&view)),
            view,
            logs,
            tiers: Tiers::new(&Loaded::default().config, "s3://bucket"),
            loaded: Loaded::default(),
            identity: identity(),
        }
    }

    pub fn admin(&self) -> Admin<'_> {
        Admin {
            topics: &self.topics,
            placement: &self.placement,
            publications: &self.publications,
            view: &self.view,
            logs: &self.logs,
            loaded: &self.loaded,
            identity: &self.identity,
            tiers: &self.tiers,
        }
    }

    pub async fn create(&self, name: &str, partition_count: i32) -> TopicRecord {
        let new = NewTopic {
            name: TopicName::new(name).expect("name"),
            partition_count,
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        self.topics.create(new).await.expect("created")
    }

    pub fn topic(&self, name: &str) -> TopicRecord {
        TopicRecord::clone(self.view.topics().named(name).expect("exists"))
    }

    /// Lets a partition end at `end`, as if so many records had been committed.
    pub fn fill(&self, topic: &str, index: i32, end: i64) {
        let tp = TopicPartition::new(self.topic(topic).topic_id, PartitionIndex(index));
        let start = TailStart {
            log_start: Offset::ZERO,
            next_offset: Offset::new(end).expect("offset"),
            leader_epoch: LeaderEpoch(0),
        };
        self.logs.insert(log(
            tp,
            start,
            &TailBudget::new(1 << 20, TailMetrics::default()),
        ));
    }
}

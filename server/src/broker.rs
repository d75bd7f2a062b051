//! What handlers work with: the components of this process, wired together once.

use std::sync::Arc;

use alluvium_cache::log::Logs;
use alluvium_common::clock::SharedClock;
use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_ingest::pipeline::Pipeline;
use alluvium_metadata::coordinator::GroupCoordinator;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::producer_ids::ProducerIds;
use alluvium_metadata::view::ClusterView;
use alluvium_protocol::StrBytes;
use alluvium_query::fetch::Fetcher;
use alluvium_query::list_offsets::OffsetFinder;
use alluvium_query::log_reader::LogReader;
use uuid::Uuid;

use crate::config::{Endpoint, Loaded};
use crate::metrics::ServerMetrics;
use crate::placement_service::PlacementService;
use crate::publication_service::PublicationService;
use crate::tiers::Tiers;
use crate::topic_service::TopicService;

/// Who this broker is, as clients see it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Of the cluster.
    pub cluster_id: StrBytes,
    /// Number of this broker.
    pub broker_id: BrokerId,
    /// Where clients reach it.
    pub endpoint: Endpoint,
    /// Its rack.
    pub rack: Option<StrBytes>,
}

/// The components of this process. Each handler takes the few that it needs.
pub struct Broker {
    /// Settings.
    pub loaded: Loaded,
    /// Who this is.
    pub identity: Identity,
    /// What the places of its records are called.
    pub tiers: Tiers,
    /// The cluster as known now.
    pub view: Arc<ClusterView>,
    /// Changes topics.
    pub topics: Arc<TopicService>,
    /// Changes placement.
    pub placement: PlacementService,
    /// Asks for topics to be published.
    pub publications: PublicationService,
    /// The write path.
    pub pipeline: Arc<Pipeline>,
    /// The read path.
    pub reader: Arc<LogReader>,
    /// Answers fetches, and keeps their sessions.
    pub fetcher: Arc<Fetcher>,
    /// Finds offsets by name and by time.
    pub offsets: Arc<OffsetFinder>,
    /// The logs of the partitions served here.
    pub logs: Arc<Logs>,
    /// Coordinates consumer groups.
    pub groups: Arc<GroupCoordinator>,
    /// Gives out producer ids.
    pub producer_ids: ProducerIds,
    /// Counts requests.
    pub metrics: ServerMetrics,
    /// Wall clock.
    pub clock: SharedClock,
}

/// A topic as a request names it: by name, or by id in newer versions.
#[derive(Debug, Clone)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By id.
    Id(TopicId),
}

impl<'a> TopicRef<'a> {
    /// Newer versions leave the name empty and give an id, older ones the reverse.
    pub fn new(name: &'a str, id: Uuid) -> Self {
        if id.is_nil() {
            TopicRef::Name(name)
        } else {
            TopicRef::Id(TopicId(id))
        }
    }
}

impl Broker {
    /// The topic that a request names.
    pub fn topic(&self, topic: &TopicRef<'_>) -> Option<Arc<TopicRecord>> {
        let topics = self.view.topics();
        match topic {
            TopicRef::Name(name) => topics.named(name).cloned(),
            TopicRef::Id(id) => topics.with_id(*id).cloned(),
        }
    }

    /// A partition of `topic`, if there is one of that index.
    pub fn partition(topic: &TopicRecord, index: i32) -> Option<TopicPartition> {
        (0..topic.partition_count)
            .contains(&index)
            .then(|| TopicPartition::new(topic.topic_id, PartitionIndex(index)))
    }
}

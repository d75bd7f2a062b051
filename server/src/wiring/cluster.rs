//! This broker's part in its cluster: the picture, the controller, what it leads and coordinates.

use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::Logs;
use alluvium_cache::tail::TailBudget;
use alluvium_compactor::manifests::Manifests;
use alluvium_ingest::pipeline::Pipeline;
use alluvium_metadata::compaction::PublicationWriter;
use alluvium_metadata::controller::plan::unclean_as_configured;
use alluvium_metadata::controller::{Controller, ControllerOptions, ControllerParts};
use alluvium_metadata::coordinator::{GROUP_SHARDS, GroupCoordinator};
use alluvium_metadata::drains::DrainWriter;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leadership::PartitionWriter;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::MetadataStore;
use alluvium_metadata::topics::TopicWriter;
use alluvium_metadata::view::ClusterView;
use tokio::task::JoinSet;
use tracing::warn;

use super::{Basics, metadata};
use crate::group_shards::GroupShards;
use crate::partitions::{FormerLeaders, LeaderPartitions, Me, PartitionSeams, Shelf};
use crate::placement_service::PlacementService;
use crate::publication_service::PublicationService;
use crate::topic_service::TopicService;

/// How long a start waits for the groups' coordinators. Clients that come sooner are told to wait.
const COORDINATORS_TIME: Duration = Duration::from_secs(3);

/// What a broker is in its cluster.
#[derive(Clone)]
pub struct Member {
    pub store: Arc<dyn MetadataStore>,
    pub keys: Keys,
    pub session: Arc<Session>,
    pub view: Arc<ClusterView>,
    pub me: Me,
}

impl Member {
    /// Writes topics on behalf of this broker's session.
    fn topic_writer(&self, basics: &Basics) -> TopicWriter {
        TopicWriter::new(
            Arc::clone(&self.store),
            self.keys.clone(),
            Arc::clone(&self.session),
            Arc::clone(&basics.clock),
            Arc::clone(&basics.random),
        )
    }

    /// Takes part in elections, and places what the cluster has once it is elected.
    pub fn controller(&self, basics: &Basics) -> Controller {
        let defaults = basics.loaded.topic_defaults.clone();
        let parts = ControllerParts {
            store: Arc::clone(&self.store),
            keys: self.keys.clone(),
            session: Arc::clone(&self.session),
            view: Arc::clone(&self.view),
            orphans: Arc::new(self.topic_writer(basics)),
            allow_unclean: Arc::new(move |topic| unclean_as_configured(topic, &defaults)),
        };
        Controller::start(parts, ControllerOptions::default())
    }

    /// What clients may change of topics.
    pub fn topic_service(&self, basics: &Basics, led: Arc<LeaderPartitions>) -> TopicService {
        TopicService::new(
            self.topic_writer(basics),
            Arc::clone(&self.view),
            led,
            self.me.broker_id,
            basics.loaded.topic_defaults.clone(),
        )
    }

    /// What operators may wish.
    pub fn placement_service(&self, basics: &Basics) -> PlacementService {
        let drains = DrainWriter::new(
            Arc::clone(&self.store),
            self.keys.clone(),
            Arc::clone(&self.session),
            Arc::clone(&basics.clock),
        );
        PlacementService::new(
            PartitionWriter::new(Arc::clone(&self.store), self.keys.clone()),
            drains,
            self.keys.clone(),
            Arc::clone(&self.session),
            Arc::clone(&self.view),
        )
    }

    /// What operators may ask of compaction.
    pub fn publication_service(&self, basics: &Basics) -> PublicationService {
        PublicationService::new(
            PublicationWriter::new(Arc::clone(&self.store), self.keys.clone()),
            Arc::clone(&self.session),
            Arc::clone(&basics.clock),
        )
    }

    /// Leads what is placed here, from now on.
    pub fn lead(&self, basics: &Basics, with: LeadSeams<'_>) -> Arc<LeaderPartitions> {
        let led = LeaderPartitions::new(PartitionSeams {
            me: self.me,
            session: Arc::clone(&self.session),
            view: Arc::clone(&self.view),
            pipeline: Arc::clone(with.pipeline),
            logs: Arc::clone(with.logs),
            tail_budget: with.tail_budget,
            store: Arc::clone(&self.store),
            keys: self.keys.clone(),
            objects: with.objects,
            manifests: with.manifests,
            defaults: basics.loaded.topic_defaults.clone(),
            former: with.former,
            shelf: with.shelf,
        });
        with.tasks.spawn(Arc::clone(&led).follow());
        led
    }

    /// Coordinates the groups that are placed here, from now on.
    pub async fn coordinate(
        &self,
        basics: &Basics,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Arc<GroupCoordinator>> {
        let groups = metadata::groups(basics, &self.store, &self.session).await?;
        groups.follow_topics(Arc::clone(&self.view));
        let shards = GroupShards::new(
            Arc::clone(&self.session),
            Arc::clone(&self.view),
            self.keys.clone(),
            Arc::clone(&groups),
        );
        tasks.spawn(shards.follow());
        Ok(groups)
    }

    /// Waits until all groups have coordinators and this broker is ready to be one.
    pub async fn coordinated(&self, groups: &GroupCoordinator) {
        let mut changes = self.view.changes();
        let ready = async {
            while !self.is_coordinated(groups) {
                // A shard is open a little after the picture names its coordinator, so look again soon.
                let _changed =
                    tokio::time::timeout(Duration::from_millis(10), changes.changed()).await;
            }
        };
        if tokio::time::timeout(COORDINATORS_TIME, ready)
            .await
            .is_err()
        {
            warn!("not all groups have a coordinator yet; their members wait");
        }
    }

    fn is_coordinated(&self, groups: &GroupCoordinator) -> bool {
        let picture = self.view.picture();
        let mine = picture.coordinators.values();
        let mine = mine.filter(|coordinator| coordinator.broker_id == self.me.broker_id);
        picture.coordinators.len() == GROUP_SHARDS as usize && mine.count() == groups.owned().len()
    }
}

/// What leading needs beside the membership.
pub struct LeadSeams<'a> {
    pub pipeline: &'a Arc<Pipeline>,
    pub logs: &'a Arc<Logs>,
    pub tail_budget: Arc<TailBudget>,
    pub objects: Arc<dyn object_store::ObjectStore>,
    pub manifests: Arc<Manifests>,
    pub former: Option<Arc<dyn FormerLeaders>>,
    pub shelf: Arc<Shelf>,
    pub tasks: &'a mut JoinSet<()>,
}

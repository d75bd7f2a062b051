//! Topics as clients change them: the change is written to the metadata store, then the partitions of this broker
//! are opened, closed or given their new settings, and only then the client is answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::store::Revision;
use alluvium_metadata::topic_config::{InvalidConfig, TopicSettings};
use alluvium_metadata::topics::{NewTopic, TopicError, TopicWriter};
use alluvium_metadata::view::{ClusterView, Topics};
use tokio::sync::Mutex;

/// What becomes of the partitions of this broker when topics change.
pub trait PartitionHost: Send + Sync {
    /// A partition that was just created and has no records.
    fn open_new(&self, topic: &TopicRecord, tp: TopicPartition, settings: Arc<TopicSettings>);
    /// Other settings from the next batch on.
    fn set_settings(&self, tp: TopicPartition, settings: Arc<TopicSettings>);
    /// The topic was deleted.
    fn close_deleted(&self, tp: TopicPartition);
    /// Records below `to` may not be read any more.
    fn set_log_start(&self, tp: TopicPartition, to: Offset);
}

/// Changes topics and follows their changes.
pub struct TopicService {
    writer: TopicWriter,
    view: Arc<ClusterView>,
    host: Arc<dyn PartitionHost>,
    defaults: BTreeMap<String, String>,
    /// The topics whose partitions are open, as they were when last looked at.
    applied: Mutex<HashMap<TopicId, Arc<TopicRecord>>>,
}

impl TopicService {
    /// `applied` are the topics whose partitions the start-up has opened; `defaults` are the broker-wide settings of
    /// topics.
    pub fn new(
        writer: TopicWriter,
        view: Arc<ClusterView>,
        host: Arc<dyn PartitionHost>,
        defaults: BTreeMap<String, String>,
        applied: &Topics,
    ) -> Self {
        let applied = applied
            .all()
            .map(|topic| (topic.topic_id, Arc::clone(topic)))
            .collect();
        Self {
            writer,
            view,
            host,
            defaults,
            applied: Mutex::new(applied),
        }
    }

    /// The broker-wide settings of topics, by the name of the topic setting.
    pub fn defaults(&self) -> &BTreeMap<String, String> {
        &self.defaults
    }

    /// Checks a topic without creating it.
    pub fn check(&self, new: &NewTopic) -> Result<(), TopicError> {
        self.writer.check(new, &self.view.topics())
    }

    /// Creates a topic; when this returns, its partitions take records.
    pub async fn create(&self, new: NewTopic) -> Result<TopicRecord, TopicError> {
        self.check(&new)?;
        // No commit of this session is known to be too early; zero is always right.
        let (record, revision) = self.writer.create(new, 0).await?;
        self.follow(revision).await;
        Ok(record)
    }

    /// Adds partitions.
    pub async fn create_partitions(
        &self,
        name: &TopicName,
        count: i32,
    ) -> Result<TopicRecord, TopicError> {
        let (record, revision) = self.writer.create_partitions(name, count, 0).await?;
        self.follow(revision).await;
        Ok(record)
    }

    /// Changes settings; they act from the next batch on.
    pub async fn alter_configs(
        &self,
        name: &TopicName,
        edit: impl FnMut(&mut BTreeMap<String, String>) -> Result<(), InvalidConfig> + Send,
    ) -> Result<TopicRecord, TopicError> {
        let (record, revision) = self.writer.alter_configs(name, edit).await?;
        self.follow(revision).await;
        Ok(record)
    }

    /// Deletes a topic and closes its partitions.
    pub async fn delete(&self, name: &TopicName) -> Result<TopicRecord, TopicError> {
        let (record, revision) = self.writer.delete(name).await?;
        self.follow(revision).await;
        Ok(record)
    }

    /// Moves the log start of a partition forward and returns where it stands.
    pub async fn delete_records(
        &self,
        tp: TopicPartition,
        to: Offset,
    ) -> Result<Offset, TopicError> {
        let log_start = self.writer.set_log_start(tp, to).await?;
        self.host.set_log_start(tp, log_start);
        Ok(log_start)
    }

    /// Waits until the view shows `revision` and brings the partitions into line with it.
    async fn follow(&self, revision: Revision) {
        self.view.reached(revision).await;
        let mut applied = self.applied.lock().await;
        let topics = self.view.topics();
        for topic in topics.all() {
            self.apply(applied.get(&topic.topic_id).map(|old| &**old), topic);
        }
        for (topic_id, old) in applied.iter() {
            if topics.with_id(*topic_id).is_none() {
                partitions(old, 0).for_each(|tp| self.host.close_deleted(tp));
            }
        }
        *applied = topics
            .all()
            .map(|topic| (topic.topic_id, Arc::clone(topic)))
            .collect();
    }

    fn apply(&self, old: Option<&TopicRecord>, new: &TopicRecord) {
        if old == Some(new) {
            return;
        }
        let settings = Arc::new(TopicSettings::parse(&new.configs, &self.defaults));
        let open = old.map_or(0, |old| old.partition_count);
        if old.is_some_and(|old| old.configs != new.configs) {
            for tp in partitions(new, 0).take(open.unsigned_abs() as usize) {
                self.host.set_settings(tp, Arc::clone(&settings));
            }
        }
        for tp in partitions(new, open) {
            self.host.open_new(new, tp, Arc::clone(&settings));
        }
    }
}

fn partitions(topic: &TopicRecord, from: i32) -> impl Iterator<Item = TopicPartition> + use<> {
    let topic_id = topic.topic_id;
    (from..topic.partition_count)
        .map(move |index| TopicPartition::new(topic_id, PartitionIndex(index)))
}

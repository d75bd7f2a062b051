//! Topics as clients change them: the change is written to the metadata store, then the partitions follow it, and only
//! then the client is answered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use alluvium_common::epoch::BrokerId;
use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicName, TopicPartition};
use alluvium_metadata::controller::placement::place_new;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::store::Revision;
use alluvium_metadata::topic_config::InvalidConfig;
use alluvium_metadata::topics::{NewTopic, TopicError, TopicWriter};
use alluvium_metadata::view::ClusterView;
use futures::future::BoxFuture;

/// The partitions that this broker leads.
pub trait PartitionHost: Send + Sync {
    /// Waits until the partitions of a topic are open, closed or changed as the picture of the cluster wants it, for as
    /// long as somebody who changed a topic should wait.
    fn settle(&self, topic_id: TopicId) -> BoxFuture<'_, ()>;
    /// Records below `to` may not be read any more.
    fn set_log_start(&self, tp: TopicPartition, to: Offset);
}

/// Changes topics.
pub struct TopicService {
    writer: TopicWriter,
    view: Arc<ClusterView>,
    host: Arc<dyn PartitionHost>,
    broker_id: BrokerId,
    defaults: BTreeMap<String, String>,
}

impl TopicService {
    /// On behalf of the broker `broker_id`; `defaults` are the broker-wide settings of topics.
    pub fn new(
        writer: TopicWriter,
        view: Arc<ClusterView>,
        host: Arc<dyn PartitionHost>,
        broker_id: BrokerId,
        defaults: BTreeMap<String, String>,
    ) -> Self {
        Self {
            writer,
            view,
            host,
            broker_id,
            defaults,
        }
    }

    /// The broker-wide settings of topics, by the name of the topic setting.
    pub fn defaults(&self) -> &BTreeMap<String, String> {
        &self.defaults
    }

    /// A topic of this name. One that the picture lacks may have been created a moment ago through another broker, so
    /// only the store can say that there is none (F6).
    pub async fn find(&self, name: &TopicName) -> Result<Arc<TopicRecord>, TopicError> {
        if let Some(record) = self.view.topics().named(name.as_str()) {
            return Ok(Arc::clone(record));
        }
        let (record, revision) = self.writer.read(name).await?;
        self.view.reached(revision).await;
        Ok(Arc::new(record))
    }

    /// Checks a topic without creating it.
    pub fn check(&self, new: &NewTopic) -> Result<(), TopicError> {
        self.writer.check(new, &self.view.topics())
    }

    /// Creates a topic; when this returns, its partitions take records.
    pub async fn create(&self, new: NewTopic) -> Result<TopicRecord, TopicError> {
        match self.check(&new) {
            // The picture may show what was deleted a moment ago; the transaction decides.
            Ok(()) | Err(TopicError::Exists(_)) => {}
            Err(error) => return Err(error),
        }
        let place = |topic_id, partitions| self.place(topic_id, partitions);
        let (record, revision) = self.writer.create(new, &place).await?;
        self.follow(record.topic_id, revision).await;
        Ok(record)
    }

    /// Adds partitions.
    pub async fn create_partitions(
        &self,
        name: &TopicName,
        count: i32,
    ) -> Result<TopicRecord, TopicError> {
        let place = |topic_id, partitions| self.place(topic_id, partitions);
        let (record, revision) = self.writer.create_partitions(name, count, &place).await?;
        self.follow(record.topic_id, revision).await;
        Ok(record)
    }

    /// Changes settings; they act from the next batch on.
    pub async fn alter_configs(
        &self,
        name: &TopicName,
        edit: impl FnMut(&mut BTreeMap<String, String>) -> Result<(), InvalidConfig> + Send,
    ) -> Result<TopicRecord, TopicError> {
        let (record, revision) = self.writer.alter_configs(name, edit).await?;
        self.follow(record.topic_id, revision).await;
        Ok(record)
    }

    /// Deletes a topic and closes its partitions.
    pub async fn delete(&self, name: &TopicName) -> Result<TopicRecord, TopicError> {
        let (record, revision) = self.writer.delete(name).await?;
        self.follow(record.topic_id, revision).await;
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

    /// Waits until the picture shows `revision` and the topic's partitions follow it.
    async fn follow(&self, topic_id: TopicId, revision: Revision) {
        self.view.reached(revision).await;
        self.host.settle(topic_id).await;
    }

    fn place(&self, topic_id: TopicId, partitions: Range<i32>) -> Vec<BrokerId> {
        let picture = self.view.picture();
        place_new(&picture, self.broker_id, topic_id, partitions)
    }
}

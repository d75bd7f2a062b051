//! Creating, changing and deleting topics, and taking over their partitions.
//!
//! A topic is visible when its key exists. Its partitions are written before that and deleted after it, so that
//! a crash in between leaves partitions without a topic, which nobody sees and the next start removes, and never
//! a topic without its partitions. Every transaction carries the session's fence (F1).

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::clock::SharedClock;
use alluvium_common::limits::PARTITIONS_PER_TOPIC_MAX;
use alluvium_common::offset::Offset;
use alluvium_common::rand::SharedRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use bytes::Bytes;

use crate::keys::Keys;
use crate::model::{PartitionRecord, TopicRecord};
use crate::session::Session;
use crate::store::{
    Change, Compare, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, Txn,
};
use crate::topic_config::{self, InvalidConfig};
use crate::value::{self, ValueError};

/// Partition records of one transaction. Each is an operation of some hundred bytes; etcd allows 128.
const PARTITIONS_PER_TXN: usize = 100;

/// Why a topic was not created, changed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// A topic of that name exists.
    #[error("topic '{0}' already exists")]
    Exists(TopicName),
    /// Kafka's metrics, and so Kafka, cannot tell the two names apart.
    #[error("topic '{0}' collides with existing topic '{1}': they differ only in '.' and '_'")]
    Collides(TopicName, TopicName),
    /// No such topic.
    #[error("this server does not host this topic")]
    Unknown,
    /// No such partition.
    #[error("this server does not host this partition")]
    UnknownPartition,
    /// Not a possible number of partitions.
    #[error("{0}")]
    InvalidPartitions(String),
    /// A setting or a value that is refused.
    #[error(transparent)]
    InvalidConfig(#[from] InvalidConfig),
    /// The session of this broker is over (F1).
    #[error("this broker's session is over")]
    Fenced,
    /// A stored record is damaged.
    #[error(transparent)]
    Unreadable(#[from] ValueError),
    /// The store did not do it, or it is unknown whether it did.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a topic shall be.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// Its partitions.
    pub partition_count: i32,
    /// Nominal; echoed to clients.
    pub replication_factor: i16,
    /// Settings other than the defaults.
    pub configs: BTreeMap<String, String>,
}

/// Writes topics and partitions on behalf of one broker session.
#[derive(Debug)]
pub struct TopicWriter {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    session: Arc<Session>,
    clock: SharedClock,
    random: SharedRandom,
}

impl TopicWriter {
    /// On behalf of `session`.
    pub fn new(
        store: Arc<dyn MetadataStore>,
        keys: Keys,
        session: Arc<Session>,
        clock: SharedClock,
        random: SharedRandom,
    ) -> Self {
        Self {
            store,
            keys,
            session,
            clock,
            random,
        }
    }

    /// Checks a topic without creating it. `existing` are the topics as known now.
    pub fn check(&self, new: &NewTopic, existing: &crate::view::Topics) -> Result<(), TopicError> {
        if existing.named(new.name.as_str()).is_some() {
            return Err(TopicError::Exists(new.name.clone()));
        }
        if let Some(other) = existing.colliding(&new.name) {
            return Err(TopicError::Collides(new.name.clone(), other.clone()));
        }
        check_partition_count(new.partition_count)?;
        topic_config::validate(&new.configs)?;
        Ok(())
    }

    /// Creates a topic whose partitions are led by this broker. `next_commit` is the next sequence of its commit
    /// log: no earlier entry can hold the topic.
    pub async fn create(
        &self,
        new: NewTopic,
        next_commit: u64,
    ) -> Result<(TopicRecord, Revision), TopicError> {
        check_partition_count(new.partition_count)?;
        topic_config::validate(&new.configs)?;
        let record = TopicRecord {
            name: new.name,
            topic_id: TopicId(self.random.uuid()),
            partition_count: new.partition_count,
            replication_factor: new.replication_factor,
            configs: new.configs,
            created_ms: self.clock.now_ms(),
        };
        self.write_partitions(record.topic_id, 0..record.partition_count, next_commit)
            .await?;
        let key = self.keys.topic(&record.name);
        let stored = value::encode(&record);
        let txn = self
            .fenced()
            .when(Compare::absent(key.clone()))
            .then(Op::put(key.clone(), stored.clone()))
            .or_else(Op::get(key));
        let response = self.run(txn).await?;
        if response.succeeded {
            return Ok((record, response.revision));
        }
        match response.first_kv(1) {
            // F4: our own write, whose reply was lost; the topic id is ours alone.
            Some(kv) if kv.value == stored => Ok((record, kv.mod_revision)),
            Some(_) => Err(TopicError::Exists(record.name)),
            None => Err(self.lost()),
        }
    }

    /// Raises the number of partitions to `count`.
    pub async fn create_partitions(
        &self,
        name: &TopicName,
        count: i32,
        next_commit: u64,
    ) -> Result<(TopicRecord, Revision), TopicError> {
        let (record, _) = self.read(name).await?;
        if count <= record.partition_count {
            return Err(TopicError::InvalidPartitions(format!(
                "the topic has {} partitions; the new count must be larger, not {count}",
                record.partition_count
            )));
        }
        check_partition_count(count)?;
        self.write_partitions(record.topic_id, record.partition_count..count, next_commit)
            .await?;
        self.change(name, |current| {
            if current.topic_id != record.topic_id {
                return Err(TopicError::Unknown);
            }
            current.partition_count = current.partition_count.max(count);
            Ok(())
        })
        .await
    }

    /// Changes the settings of a topic: `edit` gets those that are given and leaves those that shall be.
    pub async fn alter_configs(
        &self,
        name: &TopicName,
        mut edit: impl FnMut(&mut BTreeMap<String, String>) -> Result<(), InvalidConfig> + Send,
    ) -> Result<(TopicRecord, Revision), TopicError> {
        self.change(name, |record| {
            edit(&mut record.configs)?;
            topic_config::validate(&record.configs)?;
            Ok(())
        })
        .await
    }

    /// Deletes a topic: first what makes it visible, then its partitions.
    pub async fn delete(&self, name: &TopicName) -> Result<(TopicRecord, Revision), TopicError> {
        let (record, stands_at) = self.read(name).await?;
        let key = self.keys.topic(name);
        let txn = self
            .fenced()
            .when(Compare::unchanged_since(key.clone(), stands_at))
            .then(Op::delete(key.clone()))
            .or_else(Op::get(key));
        let response = self.run(txn).await?;
        if !response.succeeded {
            let gone = response
                .first_kv(1)
                .is_none_or(|kv| kv.mod_revision != stands_at);
            return Err(if gone {
                TopicError::Unknown
            } else {
                self.lost()
            });
        }
        let revision = response.revision;
        self.delete_partitions(record.topic_id).await?;
        Ok((record, revision))
    }

    /// Moves the first readable offset of a partition forward; never back (I13).
    pub async fn set_log_start(
        &self,
        tp: TopicPartition,
        to: Offset,
    ) -> Result<Offset, TopicError> {
        let updated = self
            .change_partition(tp, |record| record.log_start = record.log_start.max(to))
            .await?;
        Ok(updated.log_start)
    }

    /// Partitions that have no topic any more, or never got one, are deleted. Returns how many topics they were of.
    pub async fn remove_orphans(&self, topics: &crate::view::Topics) -> Result<usize, TopicError> {
        let (_, kvs) = self.store.list(self.keys.partitions()).await?;
        let mut orphans: Vec<_> = kvs
            .iter()
            .filter_map(|kv| self.keys.parse_partition(&kv.key))
            .map(|tp| tp.topic_id)
            .filter(|topic_id| topics.with_id(*topic_id).is_none())
            .collect();
        orphans.dedup();
        for topic_id in &orphans {
            self.delete_partitions(*topic_id).await?;
        }
        Ok(orphans.len())
    }

    /// All partitions of all topics.
    pub async fn partitions(
        &self,
    ) -> Result<Vec<(TopicPartition, PartitionRecord, Revision)>, TopicError> {
        let (_, kvs) = self.store.list(self.keys.partitions()).await?;
        let mut partitions = Vec::with_capacity(kvs.len());
        for kv in kvs {
            if let Some(tp) = self.keys.parse_partition(&kv.key) {
                partitions.push((tp, value::decode(&kv.value)?, kv.mod_revision));
            }
        }
        Ok(partitions)
    }

    /// Writes partition records that were read at the revisions given, in as few transactions as the store
    /// allows. Used when a new session takes over: before it commits anything.
    pub async fn take_over(
        &self,
        records: &[(TopicPartition, PartitionRecord, Revision)],
    ) -> Result<(), TopicError> {
        for chunk in records.chunks(PARTITIONS_PER_TXN) {
            let mut txn = self.fenced();
            for (tp, record, read_at) in chunk {
                let key = self.keys.partition(*tp);
                txn = txn
                    .when(Compare::unchanged_since(key.clone(), *read_at))
                    .then(Op::put(key, value::encode(record)));
            }
            if !self.run(txn).await?.succeeded {
                return Err(TopicError::Fenced);
            }
        }
        Ok(())
    }

    async fn write_partitions(
        &self,
        topic_id: TopicId,
        partitions: std::ops::Range<i32>,
        next_commit: u64,
    ) -> Result<(), TopicError> {
        let session = &self.session;
        let record = PartitionRecord::new(session.broker_id(), session.broker_epoch(), next_commit);
        let stored = value::encode(&record);
        let indexes: Vec<_> = partitions.collect();
        for chunk in indexes.chunks(PARTITIONS_PER_TXN) {
            let mut txn = self.fenced();
            for index in chunk {
                let tp = TopicPartition::new(topic_id, PartitionIndex(*index));
                txn = txn.then(Op::put(self.keys.partition(tp), stored.clone()));
            }
            if !self.run(txn).await?.succeeded {
                return Err(self.lost());
            }
        }
        Ok(())
    }

    async fn delete_partitions(&self, topic_id: TopicId) -> Result<(), TopicError> {
        let (_, kvs) = self.store.list(self.keys.partitions_of(topic_id)).await?;
        for chunk in kvs.chunks(PARTITIONS_PER_TXN) {
            let txn = chunk.iter().fold(self.fenced(), |txn, kv| {
                txn.then(Op::delete(kv.key.clone()))
            });
            if !self.run(txn).await?.succeeded {
                return Err(self.lost());
            }
        }
        Ok(())
    }

    async fn read(&self, name: &TopicName) -> Result<(TopicRecord, Revision), TopicError> {
        let kv = self
            .store
            .get(self.keys.topic(name))
            .await?
            .ok_or(TopicError::Unknown)?;
        Ok((value::decode(&kv.value)?, kv.mod_revision))
    }

    async fn change(
        &self,
        name: &TopicName,
        mut edit: impl FnMut(&mut TopicRecord) -> Result<(), TopicError> + Send,
    ) -> Result<(TopicRecord, Revision), TopicError> {
        let key = self.keys.topic(name);
        let updated = self
            .store
            .update(key, |current| {
                let kv = current.ok_or(TopicError::Unknown)?;
                let mut record: TopicRecord = value::decode(&kv.value)?;
                edit(&mut record)?;
                let stored = value::encode(&record);
                let change = if stored == kv.value {
                    Change::Keep
                } else {
                    Change::Put(stored)
                };
                Ok::<_, TopicError>((change, record))
            })
            .await?;
        Ok((updated.output, updated.revision))
    }

    async fn change_partition(
        &self,
        tp: TopicPartition,
        mut edit: impl FnMut(&mut PartitionRecord) + Send,
    ) -> Result<PartitionRecord, TopicError> {
        let updated = self
            .store
            .update(self.keys.partition(tp), |current| {
                let kv = current.ok_or(TopicError::UnknownPartition)?;
                let mut record: PartitionRecord = value::decode(&kv.value)?;
                edit(&mut record);
                let stored = value::encode(&record);
                let change = if stored == kv.value {
                    Change::Keep
                } else {
                    Change::Put(stored)
                };
                Ok::<_, TopicError>((change, record))
            })
            .await?;
        Ok(updated.output)
    }

    /// A transaction with F1, and with a look at the session for when it fails.
    fn fenced(&self) -> Txn {
        let fence = self.session.fence();
        let key: Bytes = fence.key.clone();
        Txn::new().when(fence).or_else(Op::get(key))
    }

    async fn run(&self, txn: Txn) -> Result<crate::store::TxnResponse, TopicError> {
        Ok(self.store.txn_retrying(txn).await?)
    }

    fn lost(&self) -> TopicError {
        self.session.fenced();
        TopicError::Fenced
    }
}

fn check_partition_count(count: i32) -> Result<(), TopicError> {
    if (1..=PARTITIONS_PER_TOPIC_MAX).contains(&count) {
        return Ok(());
    }
    Err(TopicError::InvalidPartitions(format!(
        "a topic has 1 to {PARTITIONS_PER_TOPIC_MAX} partitions, not {count}"
    )))
}

#[cfg(test)]
mod tests;

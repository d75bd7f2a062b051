//! Creating, changing and deleting topics.
//!
//! A topic is visible when its key exists. Its partitions are written before or with it and deleted after it, so that
//! a crash in between leaves partitions without a topic, which nobody sees and the controller removes, and never
//! a topic without its partitions. Every transaction carries the session's fence (F1). Who leads a new partition is
//! said by the caller; the leader finds its record and opens it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use alluvium_common::clock::SharedClock;
use alluvium_common::epoch::BrokerId;
use alluvium_common::limits::PARTITIONS_PER_TOPIC_MAX;
use alluvium_common::offset::Offset;
use alluvium_common::rand::SharedRandom;
use alluvium_common::seeded_bug;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use bytes::Bytes;

use crate::keys::Keys;
use crate::model::{PartitionRecord, TopicRecord};
use crate::session::Session;
use crate::store::{
    Compare, KeyValue, LOST_RACES_MAX, MetadataStore, MetadataStoreExt, Op, Outcome, Revision,
    StoreError, Txn, TxnResponse,
};
use crate::topic_config::{self, InvalidConfig};
use crate::value::{self, StoredRecord, ValueError};

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

/// Gives a leader to each of a topic's partitions in the range, in their order.
pub type Place<'a> = dyn Fn(TopicId, Range<i32>) -> Vec<BrokerId> + Send + Sync + 'a;

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

    /// Creates a topic, whose partitions `place` gives leaders.
    pub async fn create(
        &self,
        new: NewTopic,
        place: &Place<'_>,
    ) -> Result<(TopicRecord, Revision), TopicError> {
        check_partition_count(new.partition_count)?;
        topic_config::validate(&new.configs)?;
        let topic_id = match seeded_bug::is("topic-id-reused") {
            true => TopicId(uuid::Uuid::from_u128(
                crc32c::crc32c(new.name.as_str().as_bytes()).into(),
            )),
            false => new_topic_id(&self.random),
        };
        let record = TopicRecord {
            name: new.name,
            topic_id,
            partition_count: new.partition_count,
            replication_factor: new.replication_factor,
            configs: new.configs,
            created_ms: self.clock.now_ms(),
        };
        let key = self.keys.topic(&record.name);
        let stored = value::encode(&record);
        let absent = Compare::absent(key.clone());
        let put = Op::put(key, stored.clone());
        let written = self
            .write_partitions(
                record.topic_id,
                0..record.partition_count,
                place,
                &absent,
                put,
            )
            .await?;
        match written {
            Ok(revision) => Ok((record, revision)),
            // F4: our own write, whose reply was lost; the topic id is ours alone.
            Err(Some(kv)) if kv.value == stored => Ok((record, kv.mod_revision)),
            Err(_) => {
                self.delete_partitions(record.topic_id).await?;
                Err(TopicError::Exists(record.name))
            }
        }
    }

    /// Raises the number of partitions to `count`; `place` gives leaders to the new ones.
    pub async fn create_partitions(
        &self,
        name: &TopicName,
        count: i32,
        place: &Place<'_>,
    ) -> Result<(TopicRecord, Revision), TopicError> {
        let key = self.keys.topic(name);
        let mut own: Option<Bytes> = None;
        for _ in 0..LOST_RACES_MAX {
            let (mut record, stands_at) = self.read(name).await?;
            if own == Some(value::encode(&record)) {
                return Ok((record, stands_at));
            }
            if count <= record.partition_count {
                return Err(TopicError::InvalidPartitions(format!(
                    "the topic has {} partitions; the new count must be larger, not {count}",
                    record.partition_count
                )));
            }
            check_partition_count(count)?;
            let added = record.partition_count..count;
            record.partition_count = count;
            let unchanged = Compare::unchanged_since(key.clone(), stands_at);
            let stored = value::encode(&record);
            let put = Op::put(key.clone(), stored.clone());
            let written = self
                .write_partitions(record.topic_id, added, place, &unchanged, put)
                .await?;
            match written {
                Ok(revision) => return Ok((record, revision)),
                Err(_) => own = Some(stored),
            }
        }
        Err(contended())
    }

    /// Changes the settings of a topic: `edit` gets those that are given and leaves those that shall be.
    pub async fn alter_configs(
        &self,
        name: &TopicName,
        mut edit: impl FnMut(&mut BTreeMap<String, String>) -> Result<(), InvalidConfig> + Send,
    ) -> Result<(TopicRecord, Revision), TopicError> {
        self.change(
            self.keys.topic(name),
            TopicError::Unknown,
            |record: &mut TopicRecord| {
                edit(&mut record.configs)?;
                topic_config::validate(&record.configs)?;
                Ok(())
            },
        )
        .await
    }

    /// Deletes a topic: first what makes it visible, then its partitions.
    pub async fn delete(&self, name: &TopicName) -> Result<(TopicRecord, Revision), TopicError> {
        let key = self.keys.topic(name);
        let (record, mut stands_at) = self.read(name).await?;
        for _ in 0..LOST_RACES_MAX {
            let txn = self
                .fenced()
                .when(Compare::unchanged_since(key.clone(), stands_at))
                .then(Op::delete(key.clone()))
                .or_else(Op::get(key.clone()));
            let response = self.run(txn).await?;
            // That topic is gone: by us, also when the reply of an earlier attempt was lost (F4), or by another
            // who was faster, which is the same to the caller.
            let stands = match response.first_kv(1) {
                _ if response.succeeded => None,
                Some(kv) => Some(value::decode::<TopicRecord>(&kv.value)?),
                None => None,
            };
            match stands {
                Some(other) if other.topic_id == record.topic_id => {
                    stands_at = response.first_kv(1).map_or(stands_at, |kv| kv.mod_revision);
                }
                _ => {
                    self.delete_partitions(record.topic_id).await?;
                    return Ok((record, response.revision));
                }
            }
        }
        Err(contended())
    }

    /// Moves the first readable offset of a partition forward; never back (I13).
    pub async fn set_log_start(
        &self,
        tp: TopicPartition,
        to: Offset,
    ) -> Result<Offset, TopicError> {
        let key = self.keys.partition(tp);
        let (updated, _) = self
            .change(
                key,
                TopicError::UnknownPartition,
                |record: &mut PartitionRecord| {
                    record.log_start = record.log_start.max(to);
                    Ok(())
                },
            )
            .await?;
        Ok(updated.log_start)
    }

    /// Deletes what is left of a topic that was half created or half deleted.
    pub async fn remove_orphans(&self, topic_id: TopicId) -> Result<(), TopicError> {
        self.delete_partitions(topic_id).await
    }

    /// Writes new partitions, and with the last of them `visible`, which makes them seen, as long as `guard`
    /// holds. Else answers with the guarded key as it stands.
    async fn write_partitions(
        &self,
        topic_id: TopicId,
        partitions: Range<i32>,
        place: &Place<'_>,
        guard: &Compare,
        visible: Op,
    ) -> Result<Result<Revision, Option<KeyValue>>, TopicError> {
        let leaders = place(topic_id, partitions.clone());
        let placed: Vec<_> = partitions.zip(leaders).collect();
        let mut chunks = placed.chunks(PARTITIONS_PER_TXN).peekable();
        let mut visible = Some(visible);
        let mut revision = Revision::NONE;
        while let Some(chunk) = chunks.next() {
            let guarded = self.fenced().when(guard.clone());
            let mut txn = guarded.or_else(Op::get(guard.key.clone()));
            for (index, leader) in chunk {
                let tp = TopicPartition::new(topic_id, PartitionIndex(*index));
                let stored = value::encode(&PartitionRecord::new(*leader));
                txn = txn.then(Op::put(self.keys.partition(tp), stored));
            }
            if chunks.peek().is_none() {
                txn.then_ops.extend(visible.take());
            }
            let response = self.run(txn).await?;
            if !response.succeeded {
                return Ok(Err(response.first_kv(1).cloned()));
            }
            revision = response.revision;
        }
        Ok(Ok(revision))
    }

    /// Deletes the partitions of a topic, and what its compactors noted of it.
    async fn delete_partitions(&self, topic_id: TopicId) -> Result<(), TopicError> {
        let noted = [
            self.keys.published(topic_id),
            self.keys.publish_request(topic_id),
        ];
        let delete = noted.map(Op::delete).into_iter();
        self.run(delete.fold(self.fenced(), Txn::then)).await?;
        let (_, kvs) = self.store.list(self.keys.partitions_of(topic_id)).await?;
        for chunk in kvs.chunks(PARTITIONS_PER_TXN) {
            let txn = chunk.iter().fold(self.fenced(), |txn, kv| {
                txn.then(Op::delete(kv.key.clone()))
            });
            self.run(txn).await?;
        }
        Ok(())
    }

    /// A topic as the store has it, with the revision that it stands at.
    pub async fn read(&self, name: &TopicName) -> Result<(TopicRecord, Revision), TopicError> {
        let kv = self
            .store
            .get(self.keys.topic(name))
            .await?
            .ok_or(TopicError::Unknown)?;
        Ok((value::decode(&kv.value)?, kv.mod_revision))
    }

    /// Reads a record, edits it, writes it if nobody else did meanwhile; else starts over, so that `edit` must be
    /// one that does nothing the second time. Returns the record and the revision that it stands at.
    async fn change<R: StoredRecord>(
        &self,
        key: Bytes,
        missing: TopicError,
        mut edit: impl FnMut(&mut R) -> Result<(), TopicError>,
    ) -> Result<(R, Revision), TopicError> {
        let mut missing = Some(missing);
        for _ in 0..LOST_RACES_MAX {
            let Some(kv) = self.store.get(key.clone()).await? else {
                return Err(missing.take().unwrap_or(TopicError::Unknown));
            };
            let mut record: R = value::decode(&kv.value)?;
            edit(&mut record)?;
            let stored = value::encode(&record);
            if stored == kv.value {
                return Ok((record, kv.mod_revision));
            }
            let txn = self
                .fenced()
                .when(Compare::unchanged_since(key.clone(), kv.mod_revision))
                .then(Op::put(key.clone(), stored));
            let response = self.run(txn).await?;
            if response.succeeded {
                return Ok((record, response.revision));
            }
        }
        Err(contended())
    }

    /// A transaction with F1, and with a look at the session for when it fails.
    fn fenced(&self) -> Txn {
        let fence = self.session.fence();
        let key: Bytes = fence.key.clone();
        Txn::new().when(fence).or_else(Op::get(key))
    }

    /// Runs a transaction made by [`Self::fenced`]. The session is over when its own comparison fails; whatever
    /// else does not hold is for the caller to find out.
    async fn run(&self, txn: Txn) -> Result<TxnResponse, TopicError> {
        let response = self.store.txn_repeatable(txn).await?;
        if !response.succeeded && !self.session.fence().holds(response.first_kv(0)) {
            self.session.fenced();
            return Err(TopicError::Fenced);
        }
        Ok(response)
    }
}

/// A random id whose base64 form, in which Kafka's tools write topic ids, does not begin with `-`: it would be
/// taken for an option. Kafka's own ids never do either (`org.apache.kafka.common.Uuid`).
fn new_topic_id(random: &SharedRandom) -> TopicId {
    const DASH: u8 = 62;
    let mut bytes = random.uuid().into_bytes();
    if bytes[0] >> 2 == DASH {
        bytes[0] ^= 0x80;
    }
    TopicId(uuid::Uuid::from_bytes(bytes))
}

/// Others changed a record each time before we did.
fn contended() -> TopicError {
    TopicError::Store(StoreError::Unavailable {
        outcome: Outcome::NotDone,
        reason: "too many others change the same record".to_owned(),
    })
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

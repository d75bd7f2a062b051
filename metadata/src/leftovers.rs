//! What is left of topics that do not exist: partitions, what is published of them, wishes to publish them. A topic's creation
//! that was broken off leaves it, and so does a deletion.
//!
//! A controller removes it after some minutes ([`crate::controller`]). Here it is removed on behalf of nobody, of a cluster
//! whose brokers do not run.
//!
//! **Why that cannot hit a topic that is about to be created.** Everything is read at one revision, sessions included. A
//! creation writes partitions first and what makes the topic visible last, all in transactions of its broker's session (F1).
//! Where there is no session, no creation goes on, and none that was broken off can go on later; a session that is opened
//! later gives its topics ids of their own. So what has no topic at a revision without sessions never will have one. Each
//! transaction compares, besides, that every key that it deletes is as it was read.

use std::collections::{BTreeMap, BTreeSet};

use alluvium_common::topic::TopicId;
use bytes::Bytes;

use crate::keys::Keys;
use crate::model::TopicRecord;
use crate::store::{
    Compare, KeyValue, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, Txn,
};
use crate::value::{self, ValueError};

/// Keys of one transaction, each compared and deleted. etcd allows 128 of either.
const KEYS_PER_TXN: usize = 100;

/// What is left of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Of which.
    pub topic_id: TopicId,
    /// Its keys, with the revision at which each was changed last.
    keys: Vec<(Bytes, Revision)>,
}

impl Leftover {
    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// Of each topic.
    pub topics: Vec<Leftover>,
    /// Sessions that were open. With one, a topic may just be half created: nothing may be removed.
    pub sessions: usize,
}

/// Why it is not known what is left.
#[derive(Debug, thiserror::Error)]
pub enum LeftoversError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whose topic this is, is unknown: what seems to be left may be its.
    #[error("the topic in {key} cannot be read: {source}")]
    Unreadable {
        /// The key.
        key: String,
        /// Why.
        source: ValueError,
    },
}

/// Looks for it.
///
/// # Errors
/// See [`LeftoversError`].
pub async fn find_leftovers(
    store: &dyn MetadataStore,
    keys: &Keys,
) -> Result<Leftovers, LeftoversError> {
    let mut topics = BTreeSet::new();
    let mut of_topics: BTreeMap<TopicId, Vec<(Bytes, Revision)>> = BTreeMap::new();
    let mut sessions = 0;
    let (_, picture) = store.list(keys.picture()).await?;
    for kv in picture {
        if keys.parse_broker(&kv.key).is_some() {
            sessions += 1;
        } else if keys.parse_topic(&kv.key).is_some() {
            topics.insert(topic_id(&kv)?);
        } else if let Some(topic_id) = owner(keys, &kv.key) {
            let of_topic = of_topics.entry(topic_id).or_default();
            of_topic.push((kv.key, kv.mod_revision));
        }
    }
    let left = of_topics.into_iter();
    let left = left.filter(|(topic_id, _)| !topics.contains(topic_id));
    Ok(Leftovers {
        topics: left
            .map(|(topic_id, keys)| Leftover { topic_id, keys })
            .collect(),
        sessions,
    })
}

/// Removes what was found of a topic, where no session was open. Answers whether all of it was as it was found; what was not
/// stays, and is found again.
///
/// # Errors
/// The store did not answer. Removing again is harmless.
pub async fn remove_leftover(
    store: &dyn MetadataStore,
    leftover: &Leftover,
) -> Result<bool, StoreError> {
    for chunk in leftover.keys.chunks(KEYS_PER_TXN) {
        let txn = chunk.iter().fold(Txn::new(), |txn, (key, revision)| {
            txn.when(Compare::unchanged_since(key.clone(), *revision))
                .then(Op::delete(key.clone()))
        });
        if !store.txn_retrying(txn).await?.succeeded {
            return Ok(false);
        }
    }
    Ok(true)
}

fn topic_id(kv: &KeyValue) -> Result<TopicId, LeftoversError> {
    let record = value::decode::<TopicRecord>(&kv.value);
    let record = record.map_err(|source| LeftoversError::Unreadable {
        key: String::from_utf8_lossy(&kv.key).into_owned(),
        source,
    })?;
    Ok(record.topic_id)
}

/// The topic that a key is of.
fn owner(keys: &Keys, key: &[u8]) -> Option<TopicId> {
    let of_partition = keys.parse_partition(key).map(|tp| tp.topic_id);
    of_partition
        .or_else(|| keys.parse_published(key))
        .or_else(|| keys.parse_publish_request(key))
}

#[cfg(test)]
mod tests {
    use alluvium_common::epoch::BrokerId;
    use alluvium_common::topic::{PartitionIndex, TopicName, TopicPartition};
    use uuid::Uuid;

    use super::*;
    use crate::store::MemoryStore;

    const HERE: TopicId = TopicId(Uuid::from_u128(1));
    const GONE: TopicId = TopicId(Uuid::from_u128(2));

    /// More partitions than a transaction has keys of a topic that is gone, and one of a topic that is there.
    async fn world() -> (MemoryStore, Keys) {
        let (store, keys) = (MemoryStore::new(), Keys::new("test"));
        let topic = TopicRecord {
            name: TopicName::new("orders").expect("valid"),
            topic_id: HERE,
            partition_count: 1,
            replication_factor: 1,
            configs: BTreeMap::new(),
            created_ms: 0,
        };
        let put = store.put(keys.topic(&topic.name), value::encode(&topic));
        put.await.expect("put");
        let partition = |topic_id, index| TopicPartition::new(topic_id, PartitionIndex(index));
        let gone = (0..250).map(|index| partition(GONE, index));
        for tp in gone.chain([partition(HERE, 0)]) {
            store.put(keys.partition(tp), "x").await.expect("put");
        }
        for topic_id in [HERE, GONE] {
            for key in [keys.published(topic_id), keys.publish_request(topic_id)] {
                store.put(key, "x").await.expect("put");
            }
        }
        (store, keys)
    }

    async fn found(store: &MemoryStore, keys: &Keys) -> Vec<(TopicId, usize)> {
        let left = find_leftovers(store, keys).await.expect("read").topics;
        left.iter()
            .map(|one| (one.topic_id, one.key_count()))
            .collect()
    }

    #[tokio::test]
    async fn what_has_no_topic_is_removed_and_nothing_else() {
        let (store, keys) = world().await;
        assert_eq!(found(&store, &keys).await, [(GONE, 252)]);
        let left = find_leftovers(&store, &keys).await.expect("read");
        assert_eq!(left.sessions, 0);
        assert!(
            remove_leftover(&store, &left.topics[0])
                .await
                .expect("removed")
        );
        assert_eq!(found(&store, &keys).await, []);
        let (_, rest) = store.list(keys.picture()).await.expect("read");
        assert_eq!(rest.len(), 4);
        // Again, as somebody does whose answer was lost.
        assert!(
            !remove_leftover(&store, &left.topics[0])
                .await
                .expect("nothing")
        );
    }

    #[tokio::test]
    async fn what_changed_meanwhile_stays() {
        let (store, keys) = world().await;
        let left = find_leftovers(&store, &keys).await.expect("read");
        let changed = TopicPartition::new(GONE, PartitionIndex(7));
        store.put(keys.partition(changed), "y").await.expect("put");
        assert!(
            !remove_leftover(&store, &left.topics[0])
                .await
                .expect("read")
        );
        let stands = store.get(keys.partition(changed)).await.expect("read");
        assert_eq!(stands.expect("there").value, "y");
    }

    #[tokio::test]
    async fn sessions_are_told_and_an_unreadable_topic_stops_it() {
        let (store, keys) = world().await;
        store.put(keys.broker(BrokerId(3)), "x").await.expect("put");
        let left = find_leftovers(&store, &keys).await.expect("read");
        assert_eq!((left.sessions, left.topics.len()), (1, 1));
        let name = TopicName::new("damaged").expect("valid");
        store.put(keys.topic(&name), "?").await.expect("put");
        let error = find_leftovers(&store, &keys).await.expect_err("damaged");
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}

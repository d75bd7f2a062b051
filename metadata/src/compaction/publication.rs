//! How far a topic is published, and the one compare-and-set that moves it on.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::clock::SharedClock;
use alluvium_common::topic::TopicId;

use crate::keys::Keys;
use crate::model::{PublishRequestRecord, PublishedRecord};
use crate::session::Session;
use crate::store::{
    Compare, KeyValue, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, Txn,
};
use crate::value::{self, ValueError};
use crate::view::Published;

/// A topic's next manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// Which topic.
    pub topic_id: TopicId,
    /// The manifest that is followed, as it was read; `None`: there was none.
    pub read_at: Option<Revision>,
    /// The next one.
    pub record: PublishedRecord,
    /// The request that is done with this, if there was one.
    pub request: Option<Revision>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// It counts from this revision on.
    Done(Revision),
    /// Another manifest counts now; nothing has changed.
    Changed,
    /// The guard does not hold any more; nothing has changed.
    Refused,
}

/// Why the manifest that counts is not known.
#[derive(Debug, thiserror::Error)]
pub enum ReadPublishedError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What stands there is damaged.
    #[error("the record of what is published of topic {topic_id}: {source}")]
    Unreadable {
        /// Of which topic.
        topic_id: TopicId,
        /// Why.
        source: ValueError,
    },
}

/// Why a topic was not asked to be published.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The session of this broker is over (F1).
    #[error("this broker's session is over")]
    Fenced,
    /// The store did not do it, or it is unknown whether it did; asking again is harmless.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads and writes how far topics are published.
#[derive(Debug, Clone)]
pub struct PublicationWriter {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
}

impl PublicationWriter {
    /// Over that store.
    pub fn new(store: Arc<dyn MetadataStore>, keys: Keys) -> Self {
        Self { store, keys }
    }

    /// The manifest of a topic that counts, read from the store (F6).
    ///
    /// # Errors
    /// The store fails, or the record is unreadable.
    pub async fn read(&self, topic_id: TopicId) -> Result<Option<Published>, ReadPublishedError> {
        let kv = self.store.get(self.keys.published(topic_id)).await?;
        kv.map(|kv| {
            let unreadable = |source| ReadPublishedError::Unreadable { topic_id, source };
            Ok(Published {
                record: Arc::new(value::decode(&kv.value).map_err(unreadable)?),
                mod_revision: kv.mod_revision,
            })
        })
        .transpose()
    }

    /// The manifests that count, of all topics, read from the store (F6).
    ///
    /// # Errors
    /// The store fails, or a record is unreadable.
    pub async fn read_all(&self) -> Result<HashMap<TopicId, PublishedRecord>, ReadPublishedError> {
        let (_, kvs) = self.store.list(self.keys.all_published()).await?;
        let mut all = HashMap::with_capacity(kvs.len());
        for kv in kvs {
            let Some(topic_id) = self.keys.parse_published(&kv.key) else {
                continue;
            };
            let unreadable = |source| ReadPublishedError::Unreadable { topic_id, source };
            all.insert(topic_id, value::decode(&kv.value).map_err(unreadable)?);
        }
        Ok(all)
    }

    /// Makes the next manifest count, as long as all of `guard` holds and nobody else was faster.
    ///
    /// # Errors
    /// The store fails; whether it was done may be unknown then: read it.
    pub async fn advance(
        &self,
        guard: &[Compare],
        advance: &Advance,
    ) -> Result<Advanced, StoreError> {
        let key = self.keys.published(advance.topic_id);
        let stored = value::encode(&advance.record);
        let followed = match advance.read_at {
            Some(read_at) => Compare::unchanged_since(key.clone(), read_at),
            None => Compare::absent(key.clone()),
        };
        let mut txn = Txn::new()
            .when(followed)
            .then(Op::put(key.clone(), stored.clone()))
            .or_else(Op::get(key));
        for compare in guard {
            txn = txn
                .when(compare.clone())
                .or_else(Op::get(compare.key.clone()));
        }
        let response = self.store.txn_repeatable(txn).await?;
        if response.succeeded {
            self.end_request(advance).await?;
            return Ok(Advanced::Done(response.revision));
        }
        match response.first_kv(0) {
            // F4: our own write, whose reply was lost: the name of the object is ours alone.
            Some(kv) if kv.value == stored => {
                self.end_request(advance).await?;
                return Ok(Advanced::Done(kv.mod_revision));
            }
            stands if stands.map(|kv: &KeyValue| kv.mod_revision) != advance.read_at => {
                return Ok(Advanced::Changed);
            }
            _ => {}
        }
        Ok(Advanced::Refused)
    }

    /// A request that came meanwhile is another one, and stays.
    async fn end_request(&self, advance: &Advance) -> Result<(), StoreError> {
        match advance.request {
            Some(asked_at) => self.withdraw(advance.topic_id, asked_at).await,
            None => Ok(()),
        }
    }

    /// The request that was made at `asked_at` is done, or there is nothing to do for it.
    ///
    /// # Errors
    /// The store fails.
    pub async fn withdraw(&self, topic_id: TopicId, asked_at: Revision) -> Result<(), StoreError> {
        let key = self.keys.publish_request(topic_id);
        let txn = Txn::new()
            .when(Compare::unchanged_since(key.clone(), asked_at))
            .then(Op::delete(key));
        self.store.txn_repeatable(txn).await.map(|_| ())
    }

    /// Asks for a topic to be published now. Returns a revision at which the request stands.
    ///
    /// # Errors
    /// The session is over, or the store fails.
    pub async fn request(
        &self,
        session: &Session,
        topic_id: TopicId,
        clock: &SharedClock,
    ) -> Result<Revision, RequestError> {
        let since_ms = clock.now_ms();
        let value = value::encode(&PublishRequestRecord { since_ms });
        let fence = session.fence();
        let txn = Txn::new()
            .when(fence.clone())
            .then(Op::put(self.keys.publish_request(topic_id), value))
            .or_else(Op::get(fence.key.clone()));
        let response = self.store.txn_repeatable(txn).await?;
        if !response.succeeded {
            session.fenced();
            return Err(RequestError::Fenced);
        }
        Ok(response.revision)
    }
}

//! Drains: an operator's wish that a broker lead nothing.
//!
//! Any broker writes it, for any broker, live or not; the controller moves what the drained broker leads. The wish stays
//! until it is taken back.

use std::sync::Arc;

use alluvium_common::clock::SharedClock;
use alluvium_common::epoch::BrokerId;

use crate::keys::Keys;
use crate::model::DrainRecord;
use crate::session::Session;
use crate::store::{Compare, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, Txn};
use crate::value;

/// Why a drain was neither set nor taken back.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The session of this broker is over (F1).
    #[error("this broker's session is over")]
    Fenced,
    /// The store did not do it, or it is unknown whether it did; asking again is harmless.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes drains on behalf of one broker session.
#[derive(Debug)]
pub struct DrainWriter {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    session: Arc<Session>,
    clock: SharedClock,
}

impl DrainWriter {
    /// On behalf of `session`.
    pub fn new(
        store: Arc<dyn MetadataStore>,
        keys: Keys,
        session: Arc<Session>,
        clock: SharedClock,
    ) -> Self {
        Self {
            store,
            keys,
            session,
            clock,
        }
    }

    /// From now on, or not any longer, `broker_id` shall lead nothing. Returns a revision at which it stands so.
    ///
    /// # Errors
    /// The session is over, or the store fails.
    pub async fn set(&self, broker_id: BrokerId, drained: bool) -> Result<Revision, DrainError> {
        let key = self.keys.drain(broker_id);
        // F1: a broker that was frozen must not repeat today what an operator has taken back through another.
        let fence = self.session.fence();
        let fenced = Txn::new()
            .when(fence.clone())
            .or_else(Op::get(fence.key.clone()));
        let txn = if drained {
            let since_ms = self.clock.now_ms();
            let value = value::encode(&DrainRecord { since_ms });
            fenced
                .when(Compare::absent(key.clone()))
                .then(Op::put(key, value))
        } else {
            fenced.then(Op::delete(key))
        };
        let response = self.store.txn_repeatable(txn).await?;
        if !response.succeeded && !fence.holds(response.first_kv(0)) {
            self.session.fenced();
            return Err(DrainError::Fenced);
        }
        // With the fence intact, only the drain that stands already, perhaps by an attempt whose reply was lost (F4),
        // kept it from being written.
        Ok(response.revision)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alluvium_common::clock::ManualClock;
    use alluvium_common::rand::SeededRandom;
    use uuid::Uuid;

    use super::*;
    use crate::model::BrokerRecord;
    use crate::store::MemoryStore;
    use crate::store::fault::{Fault, Faults, FaultyStore};
    use crate::view::ClusterView;

    struct World {
        store: Arc<dyn MetadataStore>,
        faults: Arc<Faults>,
        session: Arc<Session>,
        clock: Arc<ManualClock>,
        writer: DrainWriter,
    }

    impl World {
        async fn new() -> Self {
            let faults = Faults::new(SeededRandom::new(1));
            let store: Arc<dyn MetadataStore> = Arc::new(FaultyStore::new(
                Arc::new(MemoryStore::new()),
                Arc::clone(&faults),
            ));
            let record = BrokerRecord {
                broker_id: BrokerId(1),
                host: "localhost".to_owned(),
                port: 9092,
                rack: None,
                instance_id: Uuid::from_u128(1),
                version: "0".to_owned(),
                started_ms: 0,
                rpc: None,
                draining: false,
                roles: crate::model::Roles::broker(),
            };
            let keys = Keys::new("test");
            let ttl = Duration::from_secs(9);
            let session = Session::open(Arc::clone(&store), &keys, &record, ttl).await;
            let session = Arc::new(session.expect("session"));
            let clock = ManualClock::at(5);
            let writer = DrainWriter::new(
                Arc::clone(&store),
                keys,
                Arc::clone(&session),
                clock.clone(),
            );
            Self {
                store,
                faults,
                session,
                clock,
                writer,
            }
        }

        async fn since(&self, id: i32) -> Option<i64> {
            let kv = self.store.get(Keys::new("test").drain(BrokerId(id))).await;
            let kv = kv.expect("read")?;
            let record: DrainRecord = value::decode(&kv.value).expect("record");
            Some(record.since_ms)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn drains_are_set_once_and_taken_back() {
        let world = World::new().await;
        let view = ClusterView::open(Arc::clone(&world.store), Keys::new("test"));
        let view = view.await.expect("opens");
        // Of a broker that nobody knows, too.
        view.reached(world.writer.set(BrokerId(9), true).await.expect("set"))
            .await;
        assert!(view.picture().brokers.is_drained(BrokerId(9)));
        world.clock.set_ms(8);
        world.writer.set(BrokerId(9), true).await.expect("again");
        assert_eq!(
            world.since(9).await,
            Some(5),
            "since it was first asked for"
        );
        let back = world.writer.set(BrokerId(9), false).await.expect("back");
        view.reached(back).await;
        assert!(!view.picture().brokers.is_drained(BrokerId(9)));
        world.writer.set(BrokerId(9), false).await.expect("again");
    }

    /// F4
    #[tokio::test(start_paused = true)]
    async fn lost_replies_change_nothing() {
        for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Refused] {
            let world = World::new().await;
            world.faults.next([fault]);
            world.writer.set(BrokerId(2), true).await.expect("set");
            assert_eq!(world.since(2).await, Some(5));
            world.faults.next([fault]);
            world.writer.set(BrokerId(2), false).await.expect("back");
            assert_eq!(world.since(2).await, None);
        }
    }

    /// F1
    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_over_drains_nobody() {
        let world = World::new().await;
        let key = Keys::new("test").broker(BrokerId(1));
        world.store.delete(key).await.expect("deleted");
        for drained in [true, false] {
            let refused = world.writer.set(BrokerId(2), drained).await;
            assert!(matches!(refused, Err(DrainError::Fenced)));
        }
        assert_eq!(world.since(2).await, None);
        assert!(!world.session.is_alive());
    }
}

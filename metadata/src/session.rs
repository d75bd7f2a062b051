//! A broker's session: a key under a lease, and the revision that created it.
//!
//! F1: the lease is not a lock. What fences a broker is the comparison of its session key's create revision, the
//! **broker epoch**, inside every transaction it commits with ([`Session::fence`]). The lease only decides when
//! others may take over.
//!
//! F3: between two keep-alives the broker measures, on a monotonic clock, how long its lease can be known to
//! last, and stops acknowledging before that ([`Session::is_alive`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::seeded_bug;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::keys::Keys;
use crate::model::BrokerRecord;
use crate::store::{
    Compare, KeyValue, LeaseId, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, Txn,
};
use crate::value;

/// Longest pause between two keep-alives, however long the lease: others see a broker that ended without
/// saying so no later than its lease says, but its own loss of the lease it notices within this time.
const KEEP_ALIVE_PAUSE_MAX: Duration = Duration::from_secs(3);
/// Pause after a keep-alive that failed for a passing reason.
const KEEP_ALIVE_RETRY: Duration = Duration::from_millis(200);

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Another live process has the same broker id.
    #[error(
        "a process with the number {broker_id} is already running at {host}:{port}; give this one another --broker-id, or stop the other and wait until its session ends"
    )]
    InUse {
        /// The number.
        broker_id: BrokerId,
        /// Where the other is.
        host: String,
        /// Its port.
        port: u16,
    },
    /// The session key holds something else.
    #[error("session key of broker {broker_id} is unreadable: {source}")]
    Unreadable {
        /// The number.
        broker_id: BrokerId,
        /// Why.
        source: value::ValueError,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An open session. Its keep-alive runs until it is closed or dropped.
#[derive(Debug)]
pub struct Session {
    store: Arc<dyn MetadataStore>,
    key: bytes::Bytes,
    record: BrokerRecord,
    broker_epoch: BrokerEpoch,
    lease: LeaseId,
    life: Arc<Life>,
    keep_alive: tokio::task::JoinHandle<()>,
}

/// How long the session is known to last.
#[derive(Debug)]
struct Life {
    began: Instant,
    /// Milliseconds after `began` until which the lease certainly lasts; 0: lost.
    alive_until_ms: AtomicU64,
    lost: watch::Sender<bool>,
}

impl Life {
    fn extend(&self, sent: Instant, ttl: Duration) {
        // A third of the lease is left for clocks that run at different speeds and for what is under way.
        // Without the fence too: else the deadline keeps the promise by itself.
        let is_wrong = seeded_bug::is("deadline-not-checked") || seeded_bug::is("fence-dropped");
        let certain = match is_wrong {
            true => ttl * 100,
            false => ttl * 2 / 3,
        };
        let until = sent.duration_since(self.began) + certain;
        let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX).max(1);
        self.alive_until_ms.fetch_max(until_ms, Ordering::AcqRel);
    }

    fn lose(&self) {
        self.alive_until_ms.store(0, Ordering::Release);
        self.lost.send_replace(true);
    }

    fn is_alive(&self) -> bool {
        let now = self.began.elapsed().as_millis();
        !*self.lost.borrow() && now < u128::from(self.alive_until_ms.load(Ordering::Acquire))
    }

    fn alive_until(&self) -> Option<Instant> {
        let until_ms = self.alive_until_ms.load(Ordering::Acquire);
        let known = until_ms > 0 && !*self.lost.borrow();
        known.then(|| self.began + Duration::from_millis(until_ms))
    }
}

impl Session {
    /// Opens the session of the broker that `record` describes, with a lease of `ttl`.
    ///
    /// A session key left over from this broker's own past (the same instance id, which lives in the data folder,
    /// which is locked) is replaced at once. Another's is waited for by nobody: it is an error that says who.
    pub async fn open(
        store: Arc<dyn MetadataStore>,
        keys: &Keys,
        record: &BrokerRecord,
        ttl: Duration,
    ) -> Result<Self, SessionError> {
        let key = keys.broker(record.broker_id);
        let sent = Instant::now();
        let lease = store.lease_grant(ttl).await?;
        remove_own_past(&*store, &key, record).await?;
        let broker_epoch = create(&*store, &key, record, lease.id).await?;
        let life = Arc::new(Life {
            began: sent,
            alive_until_ms: AtomicU64::new(0),
            lost: watch::Sender::new(false),
        });
        life.extend(sent, lease.ttl);
        let keep_alive = tokio::spawn(keep_alive(
            Arc::clone(&store),
            lease.id,
            lease.ttl,
            Arc::clone(&life),
        ));
        Ok(Self {
            store,
            key,
            record: record.clone(),
            broker_epoch,
            lease: lease.id,
            life,
            keep_alive,
        })
    }

    /// Whose session it is.
    pub fn broker_id(&self) -> BrokerId {
        self.record.broker_id
    }

    /// The revision that created it.
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.broker_epoch
    }

    /// The lease that its key is under: what else is put under it ends with the session.
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// F1: the comparison that every transaction of this session carries.
    pub fn fence(&self) -> Compare {
        Compare::created_at(self.key.clone(), Revision::from(self.broker_epoch))
    }

    /// F3: can the session be proved alive right now? Checked before every acknowledgement; costs one clock
    /// reading.
    pub fn is_alive(&self) -> bool {
        self.life.is_alive()
    }

    /// F3: until when the session is known to last; every keep-alive moves that on. `None`: it is lost.
    pub fn alive_until(&self) -> Option<Instant> {
        self.life.alive_until()
    }

    /// Declares the session lost: somebody's comparison failed against it.
    pub fn fenced(&self) {
        self.life.lose();
    }

    /// Whether the session is known to be lost, for good.
    pub fn is_lost(&self) -> bool {
        *self.life.lost.borrow()
    }

    /// Resolves when the session is lost.
    pub async fn lost(&self) {
        let mut lost = self.life.lost.subscribe();
        // The sender lives as long as `self`.
        let _held = lost.wait_for(|lost| *lost).await;
    }

    /// Is the session key still the one this session created? Read from the store (F6).
    pub async fn is_current(&self) -> Result<bool, StoreError> {
        let stands = self.store.get(self.key.clone()).await?;
        Ok(stands.is_some_and(|kv| kv.create_revision == Revision::from(self.broker_epoch)))
    }

    /// Tells the others that this broker is about to stop: what it leads shall be given to them.
    pub async fn announce_stop(&self) -> Result<(), StoreError> {
        let record = BrokerRecord {
            draining: true,
            ..self.record.clone()
        };
        let put = Op::put_leased(self.key.clone(), value::encode(&record), self.lease);
        let txn = Txn::new().when(self.fence()).then(put);
        // Applied twice it is the same; without the session there is nobody to tell anything of.
        self.store.txn_repeatable(txn).await.map(|_| ())
    }

    /// Ends the session: others may take over at once.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.keep_alive.abort();
        self.life.lose();
        match self.store.lease_revoke(self.lease).await {
            Ok(_) | Err(StoreError::LeaseNotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keep_alive.abort();
    }
}

async fn remove_own_past(
    store: &dyn MetadataStore,
    key: &bytes::Bytes,
    record: &BrokerRecord,
) -> Result<(), SessionError> {
    let Some(stands) = store.get(key.clone()).await? else {
        return Ok(());
    };
    let other = read(&stands, record.broker_id)?;
    if other.instance_id != record.instance_id {
        return Err(in_use(&other));
    }
    let txn = Txn::new()
        .when(Compare::unchanged_since(key.clone(), stands.mod_revision))
        .then(Op::delete(key.clone()));
    store.txn_repeatable(txn).await?;
    Ok(())
}

async fn create(
    store: &dyn MetadataStore,
    key: &bytes::Bytes,
    record: &BrokerRecord,
    lease: LeaseId,
) -> Result<BrokerEpoch, SessionError> {
    let value = value::encode(record);
    let txn = Txn::new()
        .when(Compare::absent(key.clone()))
        .then(Op::put_leased(key.clone(), value.clone(), lease))
        .or_else(Op::get(key.clone()));
    let response = store.txn_repeatable(txn).await?;
    if response.succeeded {
        return Ok(BrokerEpoch::from(response.revision));
    }
    match response.first_kv(0) {
        // F4: our own write whose reply was lost.
        Some(stands) if stands.lease == Some(lease) => {
            Ok(BrokerEpoch::from(stands.create_revision))
        }
        Some(stands) => Err(in_use(&read(stands, record.broker_id)?)),
        None => Err(StoreError::Unavailable {
            outcome: crate::store::Outcome::NotDone,
            reason: "the session key changed twice while the session was opened".to_owned(),
        }
        .into()),
    }
}

fn read(stands: &KeyValue, broker_id: BrokerId) -> Result<BrokerRecord, SessionError> {
    value::decode(&stands.value).map_err(|source| SessionError::Unreadable { broker_id, source })
}

fn in_use(other: &BrokerRecord) -> SessionError {
    SessionError::InUse {
        broker_id: other.broker_id,
        host: other.host.clone(),
        port: other.port,
    }
}

async fn keep_alive(store: Arc<dyn MetadataStore>, lease: LeaseId, ttl: Duration, life: Arc<Life>) {
    let mut pause = (ttl / 3).min(KEEP_ALIVE_PAUSE_MAX);
    let regular = pause;
    loop {
        tokio::time::sleep(pause).await;
        let sent = Instant::now();
        match store.lease_keep_alive(lease).await {
            Ok(ttl) => {
                life.extend(sent, ttl);
                pause = regular;
            }
            Err(StoreError::LeaseNotFound { .. }) => {
                warn!(%lease, "the session is lost: its lease ended");
                return life.lose();
            }
            Err(error) => {
                debug!(%lease, %error, "keep-alive failed");
                pause = KEEP_ALIVE_RETRY.min(regular);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::store::fault::{Fault, Faults, FaultyStore};
    use alluvium_common::rand::SeededRandom;
    use uuid::Uuid;

    const TTL: Duration = Duration::from_secs(9);

    fn record(instance: u128) -> BrokerRecord {
        BrokerRecord {
            broker_id: BrokerId(1),
            host: "localhost".to_owned(),
            port: 9092,
            rack: None,
            instance_id: Uuid::from_u128(instance),
            version: "0".to_owned(),
            started_ms: 0,
            rpc: None,
            draining: false,
            roles: crate::model::Roles::broker(),
        }
    }

    async fn open(store: &Arc<dyn MetadataStore>, instance: u128) -> Result<Session, SessionError> {
        Session::open(
            Arc::clone(store),
            &Keys::new("test"),
            &record(instance),
            TTL,
        )
        .await
    }

    async fn fenced_put(store: &Arc<dyn MetadataStore>, session: &Session) -> bool {
        let txn = Txn::new().when(session.fence()).then(Op::put("x", "y"));
        store.txn(txn).await.expect("txn").succeeded
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_replaces_its_own_past_and_fences_it() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let first = open(&store, 7).await.expect("first");
        assert!(fenced_put(&store, &first).await);
        let second = open(&store, 7).await.expect("second");
        assert!(second.broker_epoch() > first.broker_epoch());
        // F1: the fence of the first does not hold any more, whatever it believes of its lease.
        assert!(first.is_alive());
        assert!(!fenced_put(&store, &first).await);
        assert!(fenced_put(&store, &second).await);
    }

    #[tokio::test(start_paused = true)]
    async fn another_broker_of_the_same_number_is_refused_by_name() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let _first = open(&store, 7).await.expect("first");
        let error = open(&store, 8).await.expect_err("in use");
        assert!(
            matches!(error, SessionError::InUse { port: 9092, .. }),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_session_is_gone_at_once() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let first = open(&store, 7).await.expect("first");
        first.close().await.expect("closed");
        assert!(!first.is_alive());
        first.lost().await;
        open(&store, 8).await.expect("another may have the number");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_stops_says_so_in_the_same_session() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let session = open(&store, 7).await.expect("session");
        session.announce_stop().await.expect("told");
        assert!(session.is_current().await.expect("read"));
        let kv = store.get(Keys::new("test").broker(BrokerId(1))).await;
        let kv = kv.expect("read").expect("stands");
        let record: BrokerRecord = value::decode(&kv.value).expect("record");
        assert!(record.draining && kv.lease.is_some());
        // Of a later session nothing is said.
        let _second = open(&store, 7).await.expect("second");
        session.announce_stop().await.expect("nothing to tell");
        let kv = store.get(Keys::new("test").broker(BrokerId(1))).await;
        let kv = kv.expect("read").expect("stands");
        let record: BrokerRecord = value::decode(&kv.value).expect("record");
        assert!(!record.draining);
    }

    #[tokio::test(start_paused = true)]
    async fn keep_alives_hold_the_session_and_silence_ends_it_before_the_lease() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let session = open(&store, 7).await.expect("session");
        tokio::time::sleep(TTL * 5).await;
        assert!(session.is_alive());
        assert!(session.alive_until().expect("not lost") > Instant::now());
        // F3: without keep-alives (a frozen process) the deadline passes before the lease ends.
        session.keep_alive.abort();
        tokio::time::sleep(TTL * 2 / 3).await;
        assert!(!session.is_alive());
        assert!(session.alive_until().expect("not lost") <= Instant::now());
        assert!(session.is_current().await.expect("read"));
        session.fenced();
        assert_eq!(session.alive_until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_opens_though_replies_are_lost() {
        for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Refused] {
            // Calls of the second opening: grant, removal of the past, creation.
            for calls_before in 1..3 {
                let faults = Faults::new(SeededRandom::new(1));
                let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
                let store: Arc<dyn MetadataStore> =
                    Arc::new(FaultyStore::new(memory, Arc::clone(&faults)));
                let first = open(&store, 7).await.expect("first");
                faults.next(std::iter::repeat_n(Fault::None, calls_before).chain([fault]));
                let second = open(&store, 7).await.expect("second");
                assert!(second.broker_epoch() > first.broker_epoch());
                assert!(second.is_current().await.expect("read"));
                assert!(fenced_put(&store, &second).await);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_outage_suspends_a_session_and_a_long_one_ends_it() {
        let faults = Faults::new(SeededRandom::new(1));
        let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let store: Arc<dyn MetadataStore> = Arc::new(FaultyStore::new(memory, Arc::clone(&faults)));
        let session = open(&store, 7).await.expect("session");
        faults.away_for(TTL * 2 / 3);
        tokio::time::sleep(TTL * 2 / 3 + KEEP_ALIVE_RETRY * 2).await;
        assert!(session.is_alive(), "its lease had not ended");
        faults.away_for(TTL * 2);
        tokio::time::timeout(TTL * 3, session.lost())
            .await
            .expect("it notices");
        assert!(!session.is_current().await.expect("read"));
    }
}

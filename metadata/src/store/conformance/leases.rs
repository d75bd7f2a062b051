//! Leases: attachment, keep-alive, revocation, expiry.

use std::time::Duration;

use super::{Harness, keys, next, put, refused, revision};
use crate::store::{
    Event, KeyRange, LEASE_TTL_MAX, LeaseId, MetadataStore, MetadataStoreExt, Op, Revision,
    StoreError, Txn, WatchRequest,
};

pub(super) async fn run(harness: &impl Harness) {
    let ttl = harness.ttl();
    revocation_deletes_keys_as_one_revision(&*harness.store().await).await;
    keys_follow_their_last_lease(&*harness.store().await).await;
    ended_leases_are_gone(&*harness.store().await, ttl).await;
    // Together, because real stores spend real time on them.
    let (one, other, third) = (
        harness.store().await,
        harness.store().await,
        harness.store().await,
    );
    tokio::join!(
        expiry_deletes_keys_as_one_revision(&*one, ttl),
        keep_alive_keeps_alive(&*other, ttl),
        leases_are_apart(&*third, ttl),
    );
}

async fn grant(store: &dyn MetadataStore, ttl: Duration) -> LeaseId {
    let lease = store.lease_grant(ttl).await.unwrap();
    assert!(lease.ttl >= ttl);
    lease.id
}

async fn put_leased(store: &dyn MetadataStore, key: &'static str, lease: LeaseId) -> Revision {
    store
        .txn(Txn::new().then(Op::put_leased(key, "x", lease)))
        .await
        .unwrap()
        .revision
}

/// A lease that no test waits for.
const LONG: Duration = Duration::from_secs(3600);

async fn revocation_deletes_keys_as_one_revision(store: &dyn MetadataStore) {
    let lease = grant(store, LONG).await;
    assert_eq!(
        revision(store).await,
        Revision::FIRST,
        "a lease is no revision"
    );
    put_leased(store, "a", lease).await;
    put(store, "b", "stays").await;
    put_leased(store, "c", lease).await;
    assert_eq!(store.get("a").await.unwrap().unwrap().lease, Some(lease));
    let before = revision(store).await;
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()))
        .await
        .unwrap();
    assert_eq!(store.lease_revoke(lease).await.unwrap(), before.next());
    let batch = next(&mut watch).await;
    let deleted = |key: &'static str| Event::Delete {
        key: key.into(),
        revision: before.next(),
    };
    assert_eq!(batch.events, [deleted("a"), deleted("c")]);
    let (_, kvs) = store.list(KeyRange::all()).await.unwrap();
    assert_eq!(keys(&kvs), ["b"]);
}

async fn keys_follow_their_last_lease(store: &dyn MetadataStore) {
    let (one, other) = (grant(store, LONG).await, grant(store, LONG).await);
    assert_ne!(one, other);
    put_leased(store, "moved", one).await;
    put_leased(store, "moved", other).await;
    put_leased(store, "freed", one).await;
    put(store, "freed", "x").await;
    assert_eq!(store.get("freed").await.unwrap().unwrap().lease, None);
    put_leased(store, "deleted", one).await;
    store.delete("deleted").await.unwrap();
    put(store, "deleted", "again").await;
    let before = revision(store).await;
    assert_eq!(
        store.lease_revoke(one).await.unwrap(),
        before,
        "nothing was left to delete"
    );
    let (_, kvs) = store.list(KeyRange::all()).await.unwrap();
    assert_eq!(keys(&kvs), ["deleted", "freed", "moved"]);
    store.lease_revoke(other).await.unwrap();
    assert_eq!(store.get("moved").await.unwrap(), None);
}

async fn ended_leases_are_gone(store: &dyn MetadataStore, ttl: Duration) {
    let lease = grant(store, ttl).await;
    store.lease_revoke(lease).await.unwrap();
    let gone = StoreError::LeaseNotFound { lease };
    assert_eq!(refused(store.lease_keep_alive(lease).await), gone);
    assert_eq!(refused(store.lease_revoke(lease).await), gone);
    let put = store
        .txn(Txn::new().then(Op::put_leased("k", "x", lease)))
        .await;
    assert_eq!(refused(put), gone);
    assert_eq!(store.get("k").await.unwrap(), None);
    for ttl in [Duration::ZERO, LEASE_TTL_MAX + Duration::from_secs(1)] {
        assert_eq!(
            refused(store.lease_grant(ttl).await),
            StoreError::LeaseTtlOutOfRange { ttl }
        );
    }
}

async fn expiry_deletes_keys_as_one_revision(store: &dyn MetadataStore, ttl: Duration) {
    let started = tokio::time::Instant::now();
    let lease = grant(store, ttl).await;
    let txn = Txn::new()
        .then(Op::put_leased("a", "x", lease))
        .then(Op::put_leased("b", "x", lease));
    let before = store.txn(txn).await.unwrap().revision;
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()))
        .await
        .unwrap();
    let batch = next(&mut watch).await;
    assert!(started.elapsed() >= ttl, "not before its time");
    assert_eq!((batch.revision, batch.events.len()), (before.next(), 2));
    assert_eq!(
        refused(store.lease_keep_alive(lease).await),
        StoreError::LeaseNotFound { lease }
    );
    assert_eq!(store.list(KeyRange::all()).await.unwrap().1, []);
}

async fn keep_alive_keeps_alive(store: &dyn MetadataStore, ttl: Duration) {
    let started = tokio::time::Instant::now();
    let lease = grant(store, ttl).await;
    put_leased(store, "k", lease).await;
    let mut ticks = tokio::time::interval(ttl / 4);
    while started.elapsed() < ttl * 3 / 2 {
        ticks.tick().await;
        assert!(store.lease_keep_alive(lease).await.unwrap() >= ttl);
    }
    assert!(
        store.get("k").await.unwrap().is_some(),
        "it outlived its first deadline"
    );
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()))
        .await
        .unwrap();
    let last = tokio::time::Instant::now();
    next(&mut watch).await;
    assert!(
        last.elapsed() >= ttl / 2,
        "and ended a time to live after the last keep-alive"
    );
}

async fn leases_are_apart(store: &dyn MetadataStore, ttl: Duration) {
    let long = grant(store, LONG).await;
    let short = grant(store, ttl).await;
    put_leased(store, "long", long).await;
    put_leased(store, "short", short).await;
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()))
        .await
        .unwrap();
    let batch = next(&mut watch).await;
    assert_eq!(batch.events[0].key(), "short");
    assert!(store.get("long").await.unwrap().is_some());
    assert_eq!(store.lease_keep_alive(long).await.unwrap(), LONG);
}

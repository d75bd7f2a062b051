//! Answers that never arrive: the outcome is unknown, and the write is found by its key (M4, F4).

use std::time::Duration;

use alluvium_common::error::Outcome;
use alluvium_metadata::store::{
    Compare, EtcdOptions, KeyRange, MetadataStore, MetadataStoreExt, Op, StoreError, Txn,
    WatchRequest,
};
use alluvium_tests::etcd::skipped;
use alluvium_tests::proxy::Link;

use super::proxied::Proxied;

/// With time limits that a test can wait for.
async fn impatient() -> Proxied {
    let world = Proxied::start(|options| EtcdOptions {
        call_timeout: Duration::from_secs(2),
        attempt_timeout: Duration::from_millis(500),
        ..options
    })
    .await;
    world.store.put("warm", "").await.expect("a connection");
    world
}

fn create(key: &'static str) -> Txn {
    Txn::new()
        .when(Compare::absent(key))
        .then(Op::put(key, "mine"))
        .or_else(Op::get(key))
}

/// The error of a transaction that etcd has applied, but whose answer is lost: with the connection, or in silence.
async fn applied_and_lost(world: &Proxied, txn: Txn, key: &'static str, cut: bool) -> StoreError {
    let request = WatchRequest::new(KeyRange::key(key));
    let mut applied = world.direct.watch(request).await.expect("a watch");
    world.proxy.set(Link::LOSE_ANSWERS);
    let calling = tokio::spawn({
        let store = world.store.clone();
        async move { store.txn(txn).await }
    });
    applied.next().await.expect("etcd has applied it");
    if cut {
        world.proxy.cut();
    }
    let error = calling.await.expect("it runs").expect_err("no answer");
    world.proxy.set(Link::PASS);
    error
}

#[tokio::test]
async fn a_connection_cut_after_the_request_leaves_the_outcome_unknown() {
    if skipped() {
        return;
    }
    let world = impatient().await;
    let error = applied_and_lost(&world, create("k"), "k", true).await;
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    // The same transaction again fails its comparison and finds its own value.
    let again = world.store.txn(create("k")).await.expect("connects again");
    assert!(!again.succeeded);
    let found = again.first_kv(0).expect("the write");
    assert_eq!((&found.value[..], found.version), (&b"mine"[..], 1));
}

#[tokio::test]
async fn silence_after_the_request_leaves_the_outcome_unknown() {
    if skipped() {
        return;
    }
    let world = impatient().await;
    let error = applied_and_lost(&world, create("k"), "k", false).await;
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert!(error.to_string().contains("no answer within"), "{error}");
    let again = world
        .store
        .txn(create("k"))
        .await
        .expect("a new connection");
    assert!(!again.succeeded, "it was done");
}

#[tokio::test]
async fn a_request_that_never_arrived_is_as_unknown() {
    if skipped() {
        return;
    }
    let world = impatient().await;
    world.proxy.set(Link::LOSE_ALL);
    let error = world.store.txn(create("k")).await.expect_err("no answer");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    // Reads and keep-alives have no effect to be unsure of.
    let error = world.store.get("k").await.expect_err("no answer");
    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
    world.proxy.set(Link::PASS);
    world.proxy.cut();
    let again = world.store.txn(create("k")).await.expect("connects again");
    assert!(again.succeeded, "it was not done");
}

#[tokio::test]
async fn what_may_be_repeated_is_until_an_answer_arrives() {
    if skipped() {
        return;
    }
    let world = impatient().await;
    let ttl = Duration::from_secs(60);
    let lease = world.store.lease_grant(ttl).await.expect("a lease");
    let calls = async {
        let grant = world.store.lease_grant(ttl).await;
        let kept = world.store.lease_keep_alive(lease.id).await;
        let read = world.store.get("warm").await;
        (grant, kept, read)
    };
    world.proxy.set(Link::LOSE_ANSWERS);
    let (calls, ()) = tokio::join!(calls, async {
        // The first attempt has waited in vain and left the connection.
        world.proxy.next_connection().await;
        world.proxy.set(Link::PASS);
    });
    let (grant, kept, read) = calls;
    assert!(grant.expect("granted").ttl >= ttl);
    assert!(kept.expect("kept") >= ttl);
    assert!(read.expect("read").is_some());
}

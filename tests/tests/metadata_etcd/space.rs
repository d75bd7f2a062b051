//! An etcd whose quota is used up.

use std::time::Duration;

use alluvium_common::error::Outcome;
use alluvium_metadata::store::{MetadataStore, MetadataStoreExt, StoreError};
use alluvium_protocol::error_code::ErrorCode;
use alluvium_tests::broker::BrokerOptions;
use alluvium_tests::client::{Client, batch, only, produce_request};
use alluvium_tests::etcd::{ClusterOptions, skipped};

/// A little more than etcd needs for nothing.
const QUOTA: &str = "--quota-backend-bytes=8388608";
/// Every write is counted at once, not ten times a second.
const COUNTED: &str = "--backend-batch-limit=1";

#[tokio::test]
async fn a_full_etcd_says_what_to_do_and_goes_on_reading() {
    if skipped() {
        return;
    }
    let cluster = ClusterOptions::single()
        .flag(QUOTA)
        .flag(COUNTED)
        .start()
        .await;
    let store = cluster.store().await;
    let value = vec![7; 1_000_000];
    let mut written = 0;
    let error = loop {
        match store.put("k", value.clone()).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the quota has no effect");
    };
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    // etcd says so even where it has applied what exceeded the quota.
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    for words in [
        "database space exceeded",
        "compact",
        "defrag",
        "alarm disarm",
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
    let space = store
        .space()
        .await
        .expect("it answers")
        .expect("etcd tells");
    assert!(
        space.is_exhausted && space.size_bytes > 1_000_000,
        "{space:?}"
    );
    let kv = store.get("k").await.expect("reads go on").expect("a key");
    assert!(kv.version >= written);

    // What the error says helps.
    store.compact(kv.mod_revision).await.expect("compacted");
    cluster.ctl_ok(&["defrag"]).await;
    cluster.ctl_ok(&["alarm", "disarm"]).await;
    store.put("k", "small").await.expect("there is space again");
    let space = store
        .space()
        .await
        .expect("it answers")
        .expect("etcd tells");
    assert!(!space.is_exhausted, "{space:?}");
}

/// Producers are told to try again, in time; what is committed is read all the while; and all goes on by itself once
/// there is space.
#[tokio::test]
async fn a_broker_with_a_full_etcd_refuses_for_a_while_and_goes_on_reading() {
    if skipped() {
        return;
    }
    let cluster = ClusterOptions::single()
        .flag(QUOTA)
        .flag(COUNTED)
        .start()
        .await;
    let options = BrokerOptions::new().durability_object();
    let broker = options.set("metadata", cluster.url()).start().await;
    broker.expect_log("database space exceeded");
    broker.expect_log("used up its space");
    let mut client = Client::connect(&broker.endpoint()).await;
    let topic = client.create_topic("orders", 1, &[]).await;
    client.produce_values(&topic, 0, &["before"]).await;
    let store = cluster.store().await;
    let value = vec![7; 1_000_000];
    while store.put("k", value.clone()).await.is_ok() {}

    let mut request = produce_request(9, -1, &topic, vec![(0, batch(&["meanwhile"]))]);
    request.timeout_ms = 1_500;
    let asked = tokio::time::Instant::now();
    let answer = client.call_version(&request, 9).await;
    let answer = only(only(answer.responses).partition_responses);
    let code = ErrorCode::from(answer.error_code);
    assert!(code.is_retriable(), "{code}");
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(client.values(&topic, 0).await, ["before"]);

    let kv = store.get("k").await.expect("reads go on").expect("a key");
    store.compact(kv.mod_revision).await.expect("compacted");
    cluster.ctl_ok(&["defrag"]).await;
    cluster.ctl_ok(&["alarm", "disarm"]).await;
    client.produce_values(&topic, 0, &["after"]).await;
    let values = client.values(&topic, 0).await;
    assert_eq!(values, ["before", "meanwhile", "after"]);
}

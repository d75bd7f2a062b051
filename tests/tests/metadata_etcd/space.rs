//! An etcd whose quota is used up.

use alluvium_common::error::Outcome;
use alluvium_metadata::store::{MetadataStore, MetadataStoreExt, StoreError};
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
    let kv = store.get("k").await.expect("reads go on").expect("a key");
    assert!(kv.version >= written);

    // What the error says helps.
    store.compact(kv.mod_revision).await.expect("compacted");
    cluster.ctl_ok(&["defrag"]).await;
    cluster.ctl_ok(&["alarm", "disarm"]).await;
    store.put("k", "small").await.expect("there is space again");
}

use std::sync::Arc;

use async_trait::async_trait;

use crate::store::conformance::{Harness, run};
use crate::store::{
    KeyRange, MemoryStore, MetadataStore, MetadataStoreExt, RangeRequest, Revision, StoreError,
    WatchError, WatchRequest,
};

struct InMemory;

#[async_trait]
impl Harness for InMemory {
    async fn store(&self) -> Arc<dyn MetadataStore> {
        Arc::new(MemoryStore::new())
    }
}

#[tokio::test(start_paused = true)]
async fn conforms() {
    run(&InMemory).await;
}

#[tokio::test]
async fn history_compacts_itself() {
    let store = MemoryStore::with_history(10, u64::MAX);
    let mut slow = store
        .watch(WatchRequest::new(KeyRange::all()))
        .await
        .unwrap();
    for n in 0..100 {
        store.put("k", format!("{n}")).await.unwrap();
    }
    let newest = Revision(101);
    let oldest = Revision(newest.0 - 9);
    let past = |revision| store.range(RangeRequest::new(KeyRange::all()).at(revision));
    assert_eq!(past(oldest).await.unwrap().kvs[0].mod_revision, oldest);
    let before = Revision(oldest.0 - 1);
    assert_eq!(
        past(before).await,
        Err(StoreError::Compacted {
            requested: before,
            compacted: oldest
        })
    );
    assert!(
        matches!(slow.next().await, Err(WatchError::Compacted { .. })),
        "too slow"
    );
    assert_eq!(store.get("k").await.unwrap().unwrap().version, 100);
}

#[tokio::test]
async fn history_is_bounded_in_bytes_but_keeps_the_newest_revision() {
    let store = MemoryStore::with_history(u64::MAX, 1000);
    for _ in 0..3 {
        store.put("k", vec![0; 4000]).await.unwrap();
    }
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()).from(Revision(4)))
        .await
        .unwrap();
    assert_eq!(watch.next().await.unwrap().revision, Revision(4));
    assert!(
        store
            .range(RangeRequest::new(KeyRange::all()).at(Revision(3)))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn watches_end_with_their_store() {
    let store = MemoryStore::new();
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()))
        .await
        .unwrap();
    drop(store);
    assert!(matches!(
        watch.next().await,
        Err(WatchError::Ended(StoreError::Stopped { .. }))
    ));
}

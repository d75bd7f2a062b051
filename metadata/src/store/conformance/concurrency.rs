//! Races: one winner, no lost update, no torn read.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Harness, next};
use crate::store::{
    Cas, Change, KeyRange, MetadataStore, MetadataStoreExt, Op, RangeRequest, Revision, StoreError,
    Txn, WatchRequest,
};

pub(super) async fn run(harness: &impl Harness) {
    one_of_32_creates_wins(harness.store().await).await;
    increments_are_not_lost(harness.store().await).await;
    readers_see_transactions_whole(harness.store().await).await;
    answered_writes_are_read(harness.store().await).await;
}

async fn one_of_32_creates_wins(store: Arc<dyn MetadataStore>) {
    for round in 0..5 {
        let mut tasks = JoinSet::new();
        for writer in 0..32 {
            let store = store.clone();
            tasks.spawn(async move {
                let value = format!("{writer}");
                (
                    store
                        .put_if_absent(format!("k{round}"), value.clone(), None)
                        .await
                        .unwrap(),
                    value,
                )
            });
        }
        let (won, lost): (Vec<_>, Vec<_>) = tasks
            .join_all()
            .await
            .into_iter()
            .partition(|(cas, _)| matches!(cas, Cas::Done(_)));
        assert_eq!((won.len(), lost.len()), (1, 31));
        let winner = Bytes::from(won[0].1.clone());
        for (cas, _) in lost {
            assert!(
                matches!(cas, Cas::Conflict(Some(kv)) if kv.value == winner),
                "losers see the winner"
            );
        }
    }
}

async fn increments_are_not_lost(store: Arc<dyn MetadataStore>) {
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..10 {
                increment(&*store).await;
            }
        });
    }
    tasks.join_all().await;
    let kv = store.get("counter").await.unwrap().unwrap();
    assert_eq!((&kv.value[..], kv.version), (&b"320"[..], 320));
}

async fn increment(store: &dyn MetadataStore) {
    let increased = store.update("counter", |kv| {
        let count: u32 = kv.map_or(0, |kv| String::from_utf8_lossy(&kv.value).parse().unwrap());
        Ok::<_, StoreError>((Change::Put((count + 1).to_string().into()), ()))
    });
    increased.await.unwrap();
}

async fn readers_see_transactions_whole(store: Arc<dyn MetadataStore>) {
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for n in 0..100 {
            let ops = (0..10).map(|m| Op::put(format!("k{m}"), format!("{n}")));
            writer.txn(ops.fold(Txn::new(), Txn::then)).await.unwrap();
        }
    });
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::prefix("k")).from(Revision::FIRST))
        .await
        .unwrap();
    for _ in 0..100 {
        assert_eq!(next(&mut watch).await.events.len(), 10);
        let read = store
            .range(RangeRequest::new(KeyRange::prefix("k")))
            .await
            .unwrap();
        assert!(
            read.kvs.iter().all(|kv| kv.mod_revision == read.revision),
            "a torn read"
        );
    }
    writing.await.unwrap();
}

async fn answered_writes_are_read(store: Arc<dyn MetadataStore>) {
    let mut tasks = JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0..20 {
                let key = format!("k{writer}");
                let revision = store.put(key.clone(), format!("{n}")).await.unwrap();
                let kv = store.get(key).await.unwrap().unwrap();
                assert_eq!(
                    (kv.mod_revision, kv.value),
                    (revision, Bytes::from(format!("{n}")))
                );
            }
        });
    }
    tasks.join_all().await;
}

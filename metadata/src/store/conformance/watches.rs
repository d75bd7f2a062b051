//! Watches: replay, live, compaction, order.

use std::sync::Arc;

use super::{Harness, next, put, revision};
use crate::store::{
    Event, KeyRange, MetadataStore, MetadataStoreExt, Op, Revision, Txn, WatchError, WatchRequest,
};

pub(super) async fn run(harness: &impl Harness) {
    watches_deliver_what_is_written(&*harness.store().await).await;
    a_revision_is_delivered_whole(&*harness.store().await).await;
    watches_replay_then_follow(&*harness.store().await).await;
    watches_may_wait_for_the_future(&*harness.store().await).await;
    compacted_starts_are_reported(&*harness.store().await).await;
    long_histories_replay_in_order(&*harness.store().await).await;
    slow_watchers_lose_nothing_silently(&*harness.store().await).await;
    watching_while_writing_misses_nothing(harness.store().await).await;
}

async fn watch(
    store: &dyn MetadataStore,
    prefix: &'static str,
    from: Option<Revision>,
) -> crate::store::Watch {
    store
        .watch(WatchRequest {
            range: KeyRange::prefix(prefix),
            from,
        })
        .await
        .unwrap()
}

async fn watches_deliver_what_is_written(store: &dyn MetadataStore) {
    put(store, "p/old", "0").await;
    let mut watch = watch(store, "p/", None).await;
    put(store, "q", "x").await;
    let created = put(store, "p/a", "1").await;
    let modified = put(store, "p/a", "2").await;
    store.delete("p/a").await.unwrap();
    let deleted = revision(store).await;
    let batch = next(&mut watch).await;
    assert_eq!(
        batch.revision, created,
        "nothing from before, nothing from elsewhere"
    );
    let [Event::Put(kv)] = &batch.events[..] else {
        panic!("{batch:?}")
    };
    assert_eq!(
        (&kv.key[..], &kv.value[..], kv.version),
        (&b"p/a"[..], &b"1"[..], 1)
    );
    assert_eq!((kv.create_revision, kv.mod_revision), (created, created));
    let batch = next(&mut watch).await;
    let [Event::Put(kv)] = &batch.events[..] else {
        panic!("{batch:?}")
    };
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (created, modified, 2)
    );
    let batch = next(&mut watch).await;
    assert_eq!(
        batch.events,
        [Event::Delete {
            key: "p/a".into(),
            revision: deleted
        }]
    );
    assert_eq!(batch.revision, deleted);
}

async fn a_revision_is_delivered_whole(store: &dyn MetadataStore) {
    put(store, "p/gone", "x").await;
    let mut watch = watch(store, "p/", None).await;
    let ops = (0..99).map(|n| Op::put(format!("p/{n:03}"), "x"));
    let txn = ops
        .fold(Txn::new(), Txn::then)
        .then(Op::delete("p/gone"))
        .then(Op::put("q", "x"));
    let revision = store.txn(txn).await.unwrap().revision;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, batch.events.len()), (revision, 100));
    assert!(
        batch
            .events
            .iter()
            .all(|event| event.revision() == revision)
    );
}

async fn watches_replay_then_follow(store: &dyn MetadataStore) {
    let first = put(store, "p/a", "1").await;
    put(store, "q", "x").await;
    let second = put(store, "p/b", "2").await;
    let mut all = watch(store, "p/", Some(Revision::FIRST)).await;
    let mut some = watch(store, "p/", Some(second)).await;
    assert_eq!(next(&mut all).await.revision, first);
    assert_eq!(next(&mut all).await.revision, second);
    assert_eq!(next(&mut some).await.revision, second);
    let third = put(store, "p/c", "3").await;
    assert_eq!(next(&mut all).await.revision, third);
    assert_eq!(next(&mut some).await.revision, third);
}

async fn watches_may_wait_for_the_future(store: &dyn MetadataStore) {
    let mut watch = watch(store, "p/", Some(Revision(4))).await;
    put(store, "p/a", "2").await;
    put(store, "p/a", "3").await;
    let fourth = put(store, "p/a", "4").await;
    assert_eq!(
        (fourth, next(&mut watch).await.revision),
        (Revision(4), Revision(4))
    );
}

async fn compacted_starts_are_reported(store: &dyn MetadataStore) {
    let first = put(store, "p/a", "1").await;
    let second = put(store, "p/a", "2").await;
    put(store, "p/a", "3").await;
    store.compact(second).await.unwrap();
    let mut late = watch(store, "p/", Some(first)).await;
    let error = WatchError::Compacted {
        requested: first,
        compacted: second,
    };
    assert_eq!(late.next().await, Err(error.clone()));
    assert_eq!(late.next().await, Err(error), "it stays ended");
    let mut kept = watch(store, "p/", Some(second)).await;
    assert_eq!(
        next(&mut kept).await.revision,
        second,
        "the compacted revision itself replays"
    );
    // The way back: read, then watch from behind the read.
    let (read, kvs) = store.list(KeyRange::prefix("p/")).await.unwrap();
    assert_eq!(kvs[0].value, "3");
    let mut again = watch(store, "p/", Some(read.next())).await;
    let fourth = put(store, "p/a", "4").await;
    assert_eq!(next(&mut again).await.revision, fourth);
}

async fn long_histories_replay_in_order(store: &dyn MetadataStore) {
    let mut expected = Vec::new();
    for n in 0..60 {
        let ops = (0..100).map(|m| Op::put(format!("p/{m}"), format!("{n}")));
        expected.push(
            store
                .txn(ops.fold(Txn::new(), Txn::then))
                .await
                .unwrap()
                .revision,
        );
    }
    let mut watch = watch(store, "p/", Some(Revision::FIRST)).await;
    for revision in expected {
        let batch = next(&mut watch).await;
        assert_eq!((batch.revision, batch.events.len()), (revision, 100));
    }
}

async fn slow_watchers_lose_nothing_silently(store: &dyn MetadataStore) {
    let mut slow = watch(store, "p/", None).await;
    for _ in 0..50 {
        put(store, "p/a", "x").await;
    }
    let newest = revision(store).await;
    store.compact(newest).await.unwrap();
    // Whatever the watch had in hand may come first, in order; then it must say that it fell behind,
    // unless it had everything in hand.
    let mut last = Revision::NONE;
    loop {
        if last == newest {
            break;
        }
        match slow.next().await {
            Ok(batch) => {
                assert!(
                    last == Revision::NONE || batch.revision == last.next(),
                    "a silent gap"
                );
                last = batch.revision;
            }
            Err(error) => {
                assert!(
                    matches!(error, WatchError::Compacted { compacted, .. } if compacted == newest)
                );
                break;
            }
        }
    }
}

async fn watching_while_writing_misses_nothing(store: Arc<dyn MetadataStore>) {
    const WRITES: u64 = 200;
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for n in 0..WRITES {
            writer.put("p/a", format!("{n}")).await.unwrap();
        }
    });
    // Started at any moment of the writing, a watch from the first revision sees every write once.
    for _ in 0..4 {
        let mut watch = watch(&*store, "p/", Some(Revision::FIRST)).await;
        for n in 0..WRITES {
            let batch = next(&mut watch).await;
            assert_eq!(batch.revision, Revision(n + 2));
        }
    }
    writing.await.unwrap();
}

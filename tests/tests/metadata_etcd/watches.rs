//! Watches whose streams break: nothing twice, nothing missing, or an error (M5).

use alluvium_metadata::store::{
    Event, KeyRange, MetadataStore, MetadataStoreExt, Op, Revision, Txn, Watch, WatchBatch,
    WatchError, WatchRequest,
};
use alluvium_tests::broker::PATIENCE;
use alluvium_tests::etcd::skipped;
use alluvium_tests::proxy::Link;
use tokio::time::timeout;

use super::proxied::Proxied;

async fn world() -> Proxied {
    Proxied::start(|options| options).await
}

/// A watch of one key that has seen its first write, of that revision, and now sees nothing more.
async fn blinded(world: &Proxied) -> (Watch, Revision) {
    let request = WatchRequest::new(KeyRange::key("k"));
    let mut watch = world.store.watch(request).await.expect("a watch");
    let first = world.direct.put("k", "1").await.expect("put");
    assert_eq!(next(&mut watch).await.revision, first);
    world.proxy.set(Link::LOSE_ALL);
    (watch, first)
}

async fn next(watch: &mut Watch) -> WatchBatch {
    let next = timeout(PATIENCE, watch.next()).await;
    next.expect("in time").expect("the watch goes on")
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_behind_what_was_delivered() {
    if skipped() {
        return;
    }
    let world = world().await;
    let request = WatchRequest::new(KeyRange::prefix("k"));
    let mut watch = world.store.watch(request).await.expect("a watch");
    let mut expected = Revision::FIRST;
    for round in 0..20 {
        for n in 0..10 {
            let ops = (0..3).map(|m| Op::put(format!("k{m}"), format!("{round}/{n}")));
            let txn = ops.fold(Txn::new(), Txn::then);
            world.direct.txn(txn).await.expect("written");
            if n == round % 10 {
                world.proxy.cut();
            }
        }
        for _ in 0..10 {
            let batch = next(&mut watch).await;
            expected = expected.next();
            assert_eq!((batch.revision, batch.events.len()), (expected, 3));
        }
    }
}

#[tokio::test]
async fn large_histories_arrive_in_pieces_and_whole() {
    if skipped() {
        return;
    }
    let world = world().await;
    let value = vec![7; 500_000];
    for n in 0..10 {
        let one = Op::put(format!("k{n}"), value.clone());
        let other = Op::put(format!("l{n}"), value.clone());
        let txn = Txn::new().then(one).then(other);
        world.direct.txn(txn).await.expect("written");
    }
    let request = WatchRequest::new(KeyRange::all()).from(Revision::FIRST);
    let mut watch = world.store.watch(request).await.expect("a watch");
    for n in 0..10 {
        let batch = next(&mut watch).await;
        assert_eq!((batch.revision, batch.events.len()), (Revision(n + 2), 2));
        let whole = |event: &Event| matches!(event, Event::Put(kv) if kv.value == value);
        assert!(batch.events.iter().all(whole));
    }
}

#[tokio::test]
async fn compaction_during_a_break_is_told() {
    if skipped() {
        return;
    }
    let world = world().await;
    let (mut watch, first) = blinded(&world).await;
    // What the watcher has not seen is forgotten.
    world.direct.put("k", "2").await.expect("put");
    world.direct.delete("k").await.expect("delete");
    let newest = world.direct.put("k", "4").await.expect("put");
    world.direct.compact(newest).await.expect("compacted");
    world.proxy.set(Link::PASS);
    world.proxy.cut();
    let error = timeout(PATIENCE, watch.next()).await.expect("in time");
    assert_eq!(
        error,
        Err(WatchError::Compacted {
            requested: first.next(),
            compacted: newest
        })
    );
}

/// etcd before 3.4.34 and 3.5.16 forgets a deletion at the very revision that it compacts to.
#[tokio::test]
async fn a_deletion_that_was_compacted_to_is_not_skipped() {
    if skipped() {
        return;
    }
    let world = world().await;
    let (mut watch, _) = blinded(&world).await;
    let txn = Txn::new().then(Op::delete("k"));
    let deleted = world.direct.txn(txn).await.expect("deleted").revision;
    world.direct.compact(deleted).await.expect("compacted");
    world.proxy.set(Link::PASS);
    world.proxy.cut();
    let told = timeout(PATIENCE, watch.next()).await.expect("in time");
    assert!(
        matches!(&told, Err(WatchError::Compacted { compacted, .. }) if *compacted == deleted),
        "{told:?}"
    );
}

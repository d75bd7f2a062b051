//! Reads of the past, and compaction.

use super::{Harness, put, refused, revision};
use crate::store::{
    KeyRange, KeyValue, MetadataStore, MetadataStoreExt, Op, RangeRequest, Revision, StoreError,
    Txn,
};

pub(super) async fn run(harness: &impl Harness) {
    the_past_reads_as_it_was(&*harness.store().await).await;
    every_revision_reads_as_it_was(&*harness.store().await).await;
    pages_stay_at_their_revision(&*harness.store().await).await;
    compaction_forgets_the_past_only(&*harness.store().await).await;
}

async fn at(store: &dyn MetadataStore, range: KeyRange, revision: Revision) -> Vec<KeyValue> {
    store
        .range(RangeRequest::new(range).at(revision))
        .await
        .unwrap()
        .kvs
}

async fn the_past_reads_as_it_was(store: &dyn MetadataStore) {
    let created = put(store, "k", "1").await;
    let modified = put(store, "k", "2").await;
    store.delete("k").await.unwrap();
    let deleted = revision(store).await;
    put(store, "k", "3").await;
    assert_eq!(at(store, KeyRange::all(), Revision::FIRST).await, []);
    let old = at(store, KeyRange::key("k"), created).await;
    assert_eq!((old[0].value.as_ref(), old[0].version), (&b"1"[..], 1));
    let old = at(store, KeyRange::key("k"), modified).await;
    assert_eq!(
        (
            old[0].value.as_ref(),
            old[0].version,
            old[0].create_revision
        ),
        (&b"2"[..], 2, created)
    );
    assert_eq!(at(store, KeyRange::key("k"), deleted).await, []);
    let newest = revision(store).await;
    let future = store
        .range(RangeRequest::new(KeyRange::all()).at(newest.next()))
        .await;
    assert_eq!(
        refused(future),
        StoreError::FutureRevision {
            requested: newest.next(),
            newest
        }
    );
}

/// Writes pseudo-random changes and checks each revision against what was read when it was the newest.
async fn every_revision_reads_as_it_was(store: &dyn MetadataStore) {
    let mut states = vec![(revision(store).await, Vec::new())];
    for step in 0_u32..60 {
        let mixed = step.wrapping_mul(2_654_435_761) >> 16;
        let (one, other) = (mixed % 7, 7 + mixed % 5);
        let mut txn = Txn::new().then(Op::put(format!("k{other:02}"), format!("{step}")));
        txn = match mixed % 3 {
            0 => txn.then(Op::delete(format!("k{one:02}"))),
            1 => txn.then(Op::put(format!("k{one:02}"), format!("{step}"))),
            _ => txn.then(Op::delete_range(KeyRange::between(
                "k03",
                format!("k{one:02}"),
            ))),
        };
        store.txn(txn).await.unwrap();
        states.push(store.list(KeyRange::all()).await.unwrap());
    }
    for (revision, state) in states {
        assert_eq!(
            at(store, KeyRange::all(), revision).await,
            state,
            "at {revision}"
        );
        let range = KeyRange::between("k02", "k09");
        let some = state
            .into_iter()
            .filter(|kv| range.contains(&kv.key))
            .collect::<Vec<_>>();
        assert_eq!(
            at(store, range.clone(), revision).await,
            some,
            "some at {revision}"
        );
        let limited = RangeRequest::new(range).at(revision).limit(2);
        let limited = store.range(limited).await.unwrap();
        assert_eq!(limited.kvs, some[..some.len().min(2)], "two at {revision}");
        assert_eq!(limited.more, some.len() > 2);
    }
}

async fn pages_stay_at_their_revision(store: &dyn MetadataStore) {
    for key in ["p1", "p2", "p3"] {
        put(store, key, "old").await;
    }
    let range = KeyRange::prefix("p");
    let first = store
        .range(RangeRequest::new(range.clone()).limit(1))
        .await
        .unwrap();
    store.delete("p2").await.unwrap();
    put(store, "p3", "new").await;
    put(store, "p0", "new").await;
    put(store, "p4", "new").await;
    let rest = first.continuation(&range).unwrap();
    let rest = at(store, rest, first.revision).await;
    assert_eq!(super::keys(&rest), ["p2", "p3"]);
    assert!(rest.iter().all(|kv| kv.value == "old"));
}

async fn compaction_forgets_the_past_only(store: &dyn MetadataStore) {
    let first = put(store, "k", "1").await;
    let second = put(store, "k", "2").await;
    let third = put(store, "other", "3").await;
    store.compact(second).await.unwrap();
    let old = store
        .range(RangeRequest::new(KeyRange::all()).at(first))
        .await;
    assert_eq!(
        refused(old),
        StoreError::Compacted {
            requested: first,
            compacted: second
        }
    );
    assert_eq!(
        at(store, KeyRange::key("k"), second).await[0].value,
        "2",
        "the compacted revision reads"
    );
    assert_eq!(at(store, KeyRange::all(), second).await.len(), 1);
    assert_eq!(
        store.get("k").await.unwrap().unwrap().version,
        2,
        "what stands is not touched"
    );
    assert_eq!(
        refused(store.compact(second).await),
        StoreError::Compacted {
            requested: second,
            compacted: second
        }
    );
    assert_eq!(
        refused(store.compact(third.next()).await),
        StoreError::FutureRevision {
            requested: third.next(),
            newest: third
        }
    );
    assert_eq!(revision(store).await, third, "compaction is no revision");
}

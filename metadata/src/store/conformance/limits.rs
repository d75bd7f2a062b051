//! Limits and rules of a transaction: typed errors, at the limit exactly, without effect.

use super::{Harness, refused, revision};
use crate::store::{
    Compare, DELETE_KEYS_MAX, KeyRange, LeaseId, MetadataStore, MetadataStoreExt, Op, OpResult,
    Outcome, Revision, StoreError, TXN_BYTES_MAX, TXN_BYTES_PER_OPERATION, TXN_OPERATIONS_MAX, Txn,
};

pub(super) async fn run(harness: &impl Harness) {
    operations_are_limited(&*harness.store().await).await;
    bytes_are_limited(&*harness.store().await).await;
    deletes_are_limited(&*harness.store().await).await;
    keys_are_written_once(&*harness.store().await).await;
    refusals_leave_no_trace(&*harness.store().await).await;
}

fn puts(count: usize) -> Txn {
    (0..count)
        .map(|n| Op::put(format!("k{n:05}"), "x"))
        .fold(Txn::new(), Txn::then)
}

async fn operations_are_limited(store: &dyn MetadataStore) {
    let limit = TXN_OPERATIONS_MAX;
    store.txn(puts(limit)).await.unwrap();
    let too_many = StoreError::TooManyOperations {
        count: limit + 1,
        limit,
    };
    assert_eq!(refused(store.txn(puts(limit + 1)).await), too_many);
    let compares = (0..=limit)
        .map(|n| Compare::exists(format!("k{n}")))
        .fold(Txn::new(), Txn::when);
    assert_eq!(refused(store.txn(compares).await), too_many);
    let elses = (0..=limit)
        .map(|n| Op::get(format!("k{n}")))
        .fold(Txn::new(), Txn::or_else);
    assert_eq!(
        refused(store.txn(elses).await),
        too_many,
        "the list that does not run counts too"
    );
    assert_eq!(too_many.outcome(), Outcome::NotDone);
    let both = puts(limit)
        .when(Compare::exists("k00000"))
        .or_else(Op::get("a"));
    assert!(
        store.txn(both).await.unwrap().succeeded,
        "each list counts for itself"
    );
}

async fn bytes_are_limited(store: &dyn MetadataStore) {
    let room = TXN_BYTES_MAX - TXN_BYTES_PER_OPERATION - 1;
    store.put("k", vec![1; room]).await.unwrap();
    let error = refused(store.put("k", vec![2; room + 1]).await);
    assert_eq!(
        error,
        StoreError::TooLarge {
            bytes: TXN_BYTES_MAX + 1,
            limit: TXN_BYTES_MAX
        }
    );
    let kv = store.get("k").await.unwrap().unwrap();
    assert!(kv.version == 1 && kv.value.len() == room && kv.value[0] == 1);
}

async fn deletes_are_limited(store: &dyn MetadataStore) {
    let mut written = 0;
    while written <= DELETE_KEYS_MAX {
        let ops = (written..written + 125).map(|n| Op::put(format!("d{n:06}"), ""));
        store.txn(ops.fold(Txn::new(), Txn::then)).await.unwrap();
        written += 125;
    }
    let all = Txn::new()
        .then(Op::put("x", ""))
        .then(Op::delete_range(KeyRange::prefix("d")));
    assert_eq!(
        refused(store.txn(all).await),
        StoreError::TooManyDeletes {
            limit: DELETE_KEYS_MAX
        }
    );
    assert_eq!(
        store.get("x").await.unwrap(),
        None,
        "nothing of it was done"
    );
    let end = format!("d{DELETE_KEYS_MAX:06}");
    let most = Txn::new().then(Op::delete_range(KeyRange::between("d", end)));
    assert_eq!(
        store.txn(most).await.unwrap().results,
        [OpResult::Deleted(DELETE_KEYS_MAX as u64)]
    );
}

async fn keys_are_written_once(store: &dyn MetadataStore) {
    let twice = Txn::new().then(Op::put("k", "1")).then(Op::put("k", "2"));
    assert_eq!(
        refused(store.txn(twice).await),
        StoreError::DuplicateKey { key: "k".into() }
    );
    let put_and_delete = Txn::new()
        .when(Compare::exists("absent"))
        .or_else(Op::put("k", "1"))
        .or_else(Op::delete_range(KeyRange::prefix("k")));
    assert_eq!(
        refused(store.txn(put_and_delete).await),
        StoreError::DuplicateKey { key: "k".into() }
    );
    let one_per_branch = Txn::new()
        .then(Op::put("k", "1"))
        .or_else(Op::put("k", "2"));
    assert!(store.txn(one_per_branch).await.unwrap().succeeded);
    assert_eq!(refused(store.put("", "x").await), StoreError::EmptyKey);
    assert_eq!(
        refused(store.txn(Txn::new().when(Compare::exists(""))).await),
        StoreError::EmptyKey
    );
}

async fn refusals_leave_no_trace(store: &dyn MetadataStore) {
    let before = revision(store).await;
    let no_lease = LeaseId(u64::from(u32::MAX));
    let txn = Txn::new()
        .then(Op::put("a", "1"))
        .then(Op::put_leased("b", "1", no_lease));
    assert_eq!(
        refused(store.txn(txn).await),
        StoreError::LeaseNotFound { lease: no_lease }
    );
    let future = Revision(before.0 + 1);
    let read = crate::store::RangeRequest::new(KeyRange::all()).at(future);
    let txn = Txn::new().then(Op::put("a", "1")).then(Op::Range(read));
    assert_eq!(
        refused(store.txn(txn).await),
        StoreError::FutureRevision {
            requested: future,
            newest: before
        }
    );
    assert_eq!(store.list(KeyRange::all()).await.unwrap(), (before, vec![]));
}

//! Revisions, comparisons, branches, atomicity.

use super::{Harness, put, refused, revision};
use crate::store::{
    Cas, Change, Compare, Comparison, KeyRange, MetadataStore, MetadataStoreExt, Op, OpResult,
    Outcome, Revision, StoreError, Target, Txn,
};

pub(super) async fn run(harness: &impl Harness) {
    revisions_count_writing_transactions(&*harness.store().await).await;
    a_key_remembers_its_revisions(&*harness.store().await).await;
    comparisons_compare(&*harness.store().await).await;
    comparisons_with_absent_keys(&*harness.store().await).await;
    branches_run_as_a_whole(&*harness.store().await).await;
    a_transaction_sees_its_own_writes(&*harness.store().await).await;
    deletes_count_and_leave_no_trace(&*harness.store().await).await;
    compare_and_set_has_one_truth(&*harness.store().await).await;
    updates_read_decide_and_write(&*harness.store().await).await;
}

async fn revisions_count_writing_transactions(store: &dyn MetadataStore) {
    assert_eq!(
        revision(store).await,
        Revision::FIRST,
        "a new store stands at 1"
    );
    assert_eq!(put(store, "a", "1").await, Revision(2));
    let two_puts = Txn::new().then(Op::put("b", "1")).then(Op::put("c", "1"));
    assert_eq!(
        store.txn(two_puts).await.unwrap().revision,
        Revision(3),
        "one revision per transaction"
    );
    let read = store.txn(Txn::new().then(Op::get("a"))).await.unwrap();
    assert_eq!(read.revision, Revision(3), "reading moves nothing");
    let nothing = store
        .txn(Txn::new().then(Op::delete("absent")))
        .await
        .unwrap();
    assert_eq!(
        (nothing.revision, nothing.results),
        (Revision(3), vec![OpResult::Deleted(0)])
    );
    assert_eq!(
        put(store, "a", "1").await,
        Revision(4),
        "an equal value is a write all the same"
    );
    let empty = store.txn(Txn::new()).await.unwrap();
    assert!(empty.succeeded && empty.results.is_empty() && empty.revision == Revision(4));
}

async fn a_key_remembers_its_revisions(store: &dyn MetadataStore) {
    let created = put(store, "k", "1").await;
    put(store, "other", "x").await;
    let modified = put(store, "k", "2").await;
    let kv = store.get("k").await.unwrap().unwrap();
    assert_eq!((&kv.key[..], &kv.value[..]), (&b"k"[..], &b"2"[..]));
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (created, modified, 2)
    );
    assert_eq!(kv.lease, None);
    assert!(store.delete("k").await.unwrap() && !store.delete("k").await.unwrap());
    let again = put(store, "k", "3").await;
    let kv = store.get("k").await.unwrap().unwrap();
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (again, again, 1),
        "a new life"
    );
}

async fn holds(
    store: &dyn MetadataStore,
    key: &'static str,
    comparison: Comparison,
    target: Target,
) -> bool {
    let txn = Txn::new().when(Compare::new(key, comparison, target));
    store.txn(txn).await.unwrap().succeeded
}

async fn comparisons_compare(store: &dyn MetadataStore) {
    let created = put(store, "k", "m").await;
    let modified = put(store, "k", "m").await;
    let around = |at: u64, make: fn(u64) -> Target| [at - 1, at, at + 1].map(make);
    let cases = [
        around(created.0, |n| Target::CreateRevision(Revision(n))),
        around(modified.0, |n| Target::ModRevision(Revision(n))),
        around(2, Target::Version),
        ["l", "m", "n"].map(|value| Target::Value(value.into())),
    ];
    for [below, same, above] in cases {
        for (target, equal, less, greater) in [
            (below, false, false, true),
            (same, true, false, false),
            (above, false, true, false),
        ] {
            let expected = [
                (Comparison::Equal, equal),
                (Comparison::NotEqual, !equal),
                (Comparison::Less, less),
                (Comparison::Greater, greater),
            ];
            for (comparison, expected) in expected {
                let held = holds(store, "k", comparison, target.clone()).await;
                assert_eq!(held, expected, "{comparison:?} {target:?}");
            }
        }
    }
}

async fn comparisons_with_absent_keys(store: &dyn MetadataStore) {
    for target in [
        Target::CreateRevision(Revision::NONE),
        Target::ModRevision(Revision::NONE),
        Target::Version(0),
    ] {
        assert!(holds(store, "absent", Comparison::Equal, target.clone()).await);
        assert!(!holds(store, "absent", Comparison::Greater, target).await);
    }
    for comparison in [
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::Greater,
    ] {
        let held = holds(store, "absent", comparison, Target::Value("x".into())).await;
        assert!(!held, "no value to compare with: {comparison:?}");
    }
    assert!(!holds(store, "absent", Comparison::Equal, Target::Value("".into())).await);
}

async fn branches_run_as_a_whole(store: &dyn MetadataStore) {
    put(store, "k", "1").await;
    let txn = |wanted: &'static str| {
        Txn::new()
            .when(Compare::exists("k"))
            .when(Compare::new(
                "k",
                Comparison::Equal,
                Target::Value(wanted.into()),
            ))
            .then(Op::put("then", wanted))
            .then(Op::put("both", wanted))
            .or_else(Op::put("else", wanted))
            .or_else(Op::get("k"))
    };
    let held = store.txn(txn("1")).await.unwrap();
    assert!(held.succeeded && held.results == [OpResult::Put, OpResult::Put]);
    let not = store.txn(txn("2")).await.unwrap();
    assert!(!not.succeeded, "one comparison that fails is enough");
    assert_eq!(not.first_kv(1).unwrap().value, "1");
    let (_, kvs) = store.list(KeyRange::all()).await.unwrap();
    assert_eq!(super::keys(&kvs), ["both", "else", "k", "then"]);
    assert_eq!(
        kvs[0].mod_revision, kvs[3].mod_revision,
        "one revision for all"
    );
}

async fn a_transaction_sees_its_own_writes(store: &dyn MetadataStore) {
    put(store, "a", "old").await;
    let txn = Txn::new()
        .then(Op::get("a"))
        .then(Op::put("a", "new"))
        .then(Op::get("a"))
        .then(Op::delete_range(KeyRange::prefix("b")))
        .then(Op::get("a"));
    let response = store.txn(txn).await.unwrap();
    let values = [0, 2, 4].map(|index| response.first_kv(index).unwrap().value.clone());
    assert_eq!(values, ["old", "new", "new"]);
    assert_eq!(
        response.first_kv(2).unwrap().mod_revision,
        response.revision
    );
}

async fn deletes_count_and_leave_no_trace(store: &dyn MetadataStore) {
    for key in ["a1", "a2", "a3", "b1"] {
        put(store, key, "x").await;
    }
    let delete = Txn::new()
        .then(Op::delete_range(KeyRange::between("a2", "b")))
        .then(Op::delete_range(KeyRange::prefix("a")));
    let response = store.txn(delete).await.unwrap();
    assert_eq!(
        response.results,
        [OpResult::Deleted(2), OpResult::Deleted(1)],
        "overlaps are deleted once"
    );
    let (_, kvs) = store.list(KeyRange::all()).await.unwrap();
    assert_eq!(super::keys(&kvs), ["b1"]);
}

async fn compare_and_set_has_one_truth(store: &dyn MetadataStore) {
    let Cas::Done(first) = store.put_if_absent("k", "1", None).await.unwrap() else {
        panic!("nobody was there");
    };
    let Cas::Conflict(Some(there)) = store.put_if_absent("k", "2", None).await.unwrap() else {
        panic!("somebody was there");
    };
    assert_eq!((there.mod_revision, &there.value[..]), (first, &b"1"[..]));
    let Cas::Done(second) = store.compare_and_set("k", first, "2", None).await.unwrap() else {
        panic!("nothing had changed");
    };
    assert!(second > first);
    let stale = store.compare_and_set("k", first, "3", None).await.unwrap();
    assert!(matches!(stale, Cas::Conflict(Some(kv)) if kv.value == "2"));
    let gone = store
        .compare_and_set("gone", first, "3", None)
        .await
        .unwrap();
    assert_eq!(gone, Cas::Conflict(None));
}

async fn updates_read_decide_and_write(store: &dyn MetadataStore) {
    let put = store
        .update("k", |kv| {
            Ok::<_, StoreError>((Change::Put("1".into()), kv.is_none()))
        })
        .await
        .unwrap();
    assert!(put.output, "it was new");
    let kept = store
        .update("k", |kv| Ok::<_, StoreError>((Change::Keep, kv.cloned())))
        .await
        .unwrap();
    assert_eq!(kept.revision, put.revision);
    assert_eq!(kept.output.unwrap().value, "1");
    store
        .update("k", |_| Ok::<_, StoreError>((Change::Delete, ())))
        .await
        .unwrap();
    assert_eq!(store.get("k").await.unwrap(), None);
    let own = StoreError::Unavailable {
        outcome: Outcome::NotDone,
        reason: "no".to_owned(),
    };
    let refusal = store
        .update("k", |_| Err::<(Change, ()), _>(own.clone()))
        .await;
    assert_eq!(refused(refusal), own);
}

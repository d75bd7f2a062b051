//! Order, limits and continuation of reads.

use super::{Harness, keys, put};
use crate::store::{
    KeyRange, MetadataStore, MetadataStoreExt, Op, RANGE_KEYS_MAX, RangeRequest, Txn,
};

pub(super) async fn run(harness: &impl Harness) {
    keys_are_bytes_in_order(&*harness.store().await).await;
    limits_leave_a_continuation(&*harness.store().await).await;
    large_ranges_come_in_pages(&*harness.store().await).await;
    large_values_come_in_pages(&*harness.store().await).await;
}

async fn keys_are_bytes_in_order(store: &dyn MetadataStore) {
    let all: [&[u8]; 6] = [b"\0", b"a", b"a\0", b"b", b"\xff", b"\xff\xff"];
    for key in all.iter().rev() {
        store.put(key.to_vec(), "x").await.unwrap();
    }
    let read = async |range: KeyRange| {
        let response = store.range(RangeRequest::new(range)).await.unwrap();
        response
            .kvs
            .into_iter()
            .map(|kv| kv.key.to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(read(KeyRange::all()).await, all);
    assert_eq!(read(KeyRange::prefix("a")).await, all[1..3]);
    assert_eq!(read(KeyRange::prefix(vec![0xff])).await, all[4..]);
    assert_eq!(read(KeyRange::key("a")).await, all[1..2]);
    assert_eq!(read(KeyRange::between("a", "b")).await, all[1..3]);
    assert_eq!(read(KeyRange::between("b", "b")).await, [] as [&[u8]; 0]);
    assert_eq!(read(KeyRange::between("b", "a")).await, [] as [&[u8]; 0]);
}

async fn limits_leave_a_continuation(store: &dyn MetadataStore) {
    for key in ["p1", "p2", "p3", "q"] {
        put(store, key, "x").await;
    }
    let range = KeyRange::prefix("p");
    let first = store
        .range(RangeRequest::new(range.clone()).limit(2))
        .await
        .unwrap();
    assert_eq!(
        (keys(&first.kvs), first.more),
        (vec!["p1".to_owned(), "p2".to_owned()], true)
    );
    let rest = first.continuation(&range).unwrap();
    let second = store
        .range(RangeRequest::new(rest.clone()).limit(2))
        .await
        .unwrap();
    assert_eq!(
        (keys(&second.kvs), second.more),
        (vec!["p3".to_owned()], false)
    );
    assert_eq!(second.continuation(&rest), None);
    let exact = store
        .range(RangeRequest::new(range).limit(3))
        .await
        .unwrap();
    assert!(exact.kvs.len() == 3 && !exact.more, "nothing was left out");
}

async fn large_ranges_come_in_pages(store: &dyn MetadataStore) {
    let count = RANGE_KEYS_MAX + 1;
    for chunk in (0..count).collect::<Vec<_>>().chunks(100) {
        let puts = chunk.iter().map(|n| Op::put(format!("k{n:05}"), "x"));
        store.txn(puts.fold(Txn::new(), Txn::then)).await.unwrap();
    }
    let page = store
        .range(RangeRequest::new(KeyRange::prefix("k")))
        .await
        .unwrap();
    assert!(
        page.kvs.len() <= RANGE_KEYS_MAX && page.more,
        "an answer is bounded"
    );
    let (revision, all) = store.list(KeyRange::prefix("k")).await.unwrap();
    assert_eq!((revision, all.len()), (page.revision, count));
    assert!(all.is_sorted_by(|a, b| a.key < b.key));
}

async fn large_values_come_in_pages(store: &dyn MetadataStore) {
    let value = vec![7; 1024 * 1024];
    for n in 0..4 {
        store.put(format!("k{n}"), value.clone()).await.unwrap();
    }
    let page = store
        .range(RangeRequest::new(KeyRange::all()))
        .await
        .unwrap();
    assert!(
        page.more && page.kvs.len() < 4,
        "an answer's bytes are bounded"
    );
    let (_, all) = store.list(KeyRange::all()).await.unwrap();
    assert!(all.len() == 4 && all.iter().all(|kv| kv.value == value));
}

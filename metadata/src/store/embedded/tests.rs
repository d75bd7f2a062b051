use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redb::backends::InMemoryBackend;

use super::*;
use crate::store::conformance::{Harness, run};
use crate::store::{
    Event, KeyRange, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, Txn, WatchRequest,
};

fn options() -> EmbeddedOptions {
    EmbeddedOptions::new("test")
}

/// The store as it runs in a server, with its thread and in real time. Without a file, whose thousands of syncs
/// would only measure the disk; files are opened below.
struct Threaded;

#[async_trait]
impl Harness for Threaded {
    async fn store(&self) -> Arc<dyn MetadataStore> {
        Arc::new(EmbeddedStore::open_with_backend(InMemoryBackend::new(), &options()).unwrap())
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(400)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_with_its_thread() {
    run(&Threaded).await;
}

/// The store as it runs in a simulation: no file, no thread, no time.
struct Simulated;

#[async_trait]
impl Harness for Simulated {
    async fn store(&self) -> Arc<dyn MetadataStore> {
        let options = EmbeddedOptions {
            commit_by: CommitBy::Caller,
            ..options()
        };
        Arc::new(EmbeddedStore::open_with_backend(InMemoryBackend::new(), &options).unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn conforms_simulated() {
    run(&Simulated).await;
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), &options()).unwrap();
    let first = store.put("a", "1").await.unwrap();
    let second = store.put("a", "2").await.unwrap();
    store.put("b", "3").await.unwrap();
    store.compact(second).await.unwrap();
    let before = store.list(KeyRange::all()).await.unwrap();
    drop(store);

    let store = EmbeddedStore::open(folder.path(), &options()).unwrap();
    assert_eq!(store.list(KeyRange::all()).await.unwrap(), before);
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()).from(second))
        .await
        .unwrap();
    assert_eq!(
        watch.next().await.unwrap().revision,
        second,
        "history is durable too"
    );
    let old = store
        .range(crate::store::RangeRequest::new(KeyRange::all()).at(first))
        .await;
    assert_eq!(
        old,
        Err(StoreError::Compacted {
            requested: first,
            compacted: second
        })
    );
    assert_eq!(store.put("a", "4").await.unwrap(), before.0.next());
}

#[tokio::test]
async fn leases_end_when_the_store_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), &options()).unwrap();
    let lease = store
        .lease_grant(Duration::from_secs(3600))
        .await
        .unwrap()
        .id;
    let txn = Txn::new()
        .then(Op::put_leased("a", "x", lease))
        .then(Op::put_leased("b", "x", lease));
    let put = store.txn(txn).await.unwrap().revision;
    drop(store);

    let store = EmbeddedStore::open(folder.path(), &options()).unwrap();
    assert_eq!(
        store.list(KeyRange::all()).await.unwrap(),
        (put.next(), vec![])
    );
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()).from(put.next()))
        .await
        .unwrap();
    let deleted = ["a", "b"].map(|key| Event::Delete {
        key: key.into(),
        revision: put.next(),
    });
    assert_eq!(
        watch.next().await.unwrap().events,
        deleted,
        "as a revision like any other"
    );
    assert!(store.lease_keep_alive(lease).await.is_err());
    let next = store
        .lease_grant(Duration::from_secs(3600))
        .await
        .unwrap()
        .id;
    assert!(next > lease, "no id is given twice");
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), &options()).unwrap();
    let error = EmbeddedStore::open(folder.path(), &options()).unwrap_err();
    assert!(matches!(&error, OpenError::InUse { folder: named } if named == folder.path()));
    assert!(
        error
            .to_string()
            .contains(&folder.path().display().to_string()),
        "{error}"
    );
    drop(store);
    EmbeddedStore::open(folder.path(), &options()).unwrap();
}

#[tokio::test]
async fn another_clusters_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(folder.path(), &options()).unwrap());
    let error = EmbeddedStore::open(folder.path(), &EmbeddedOptions::new("other")).unwrap_err();
    assert!(matches!(error, OpenError::OtherCluster { .. }), "{error}");
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.redb");
    let db = redb::Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    let newer = codec::seal(
        codec::Table::Meta,
        b"format",
        &(codec::FORMAT + 1).to_be_bytes(),
    );
    let meta = redb::TableDefinition::<&[u8], &[u8]>::new("meta");
    txn.open_table(meta)
        .unwrap()
        .insert(&b"format"[..], &newer[..])
        .unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = EmbeddedStore::open(folder.path(), &options()).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::NewerFormat {
                found: 2,
                supported: 1
            }
        ),
        "{error}"
    );
}

#[test]
fn what_is_no_store_is_refused() {
    for content in [&b""[..], b"something else", &[0; 8192]] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metadata.redb"), content).unwrap();
        let error = EmbeddedStore::open(folder.path(), &options()).unwrap_err();
        assert!(
            matches!(error, OpenError::Damaged { .. } | OpenError::Io { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_half_made_store_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("metadata.redb.new"), b"half").unwrap();
    let store = EmbeddedStore::open(folder.path(), &options()).unwrap();
    store.put("a", "1").await.unwrap();
}

#[tokio::test]
async fn flipped_bits_are_errors_not_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.redb");
    let store = EmbeddedStore::open(folder.path(), &options()).unwrap();
    let (needle, other) = (vec![0xa5; 64], vec![0x5a; 64]);
    store.put("damaged", needle.clone()).await.unwrap();
    store.put("whole", other.clone()).await.unwrap();
    drop(store);

    let mut file = std::fs::read(&path).unwrap();
    let places: Vec<_> = file
        .windows(64)
        .enumerate()
        .filter(|(_, bytes)| *bytes == needle)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    for place in places {
        file[place + 10] ^= 1;
    }
    std::fs::write(&path, file).unwrap();
    let store = EmbeddedStore::open(folder.path(), &options()).unwrap();
    let error = store.get("damaged").await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(store.get("whole").await.unwrap().unwrap().value, other);
    // Writers that do not touch it go on, even in one commit with one that does.
    let (overwrite, write) = tokio::join!(store.put("damaged", "x"), store.put("c", "x"));
    assert!(
        matches!(overwrite, Err(StoreError::Damaged { .. })),
        "{overwrite:?}"
    );
    assert!(write.is_ok());
}

#[tokio::test]
async fn abandoned_calls_still_release_their_lease() {
    let options = EmbeddedOptions {
        commit_by: CommitBy::Caller,
        ..options()
    };
    let store = EmbeddedStore::open_with_backend(InMemoryBackend::new(), &options).unwrap();
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::all()))
        .await
        .unwrap();
    let ttl = Duration::from_millis(100);
    // Dropped at its first wait: the lease is granted all the same, with an id that can be foreseen.
    let _ = tokio::time::timeout(Duration::ZERO, store.lease_grant(ttl)).await;
    let id = store.lease_grant(Duration::from_secs(60)).await.unwrap().id;
    let lost = crate::store::LeaseId(id.0 - 1);
    store
        .txn(Txn::new().then(Op::put_leased("k", "x", lost)))
        .await
        .unwrap();
    assert!(matches!(
        watch.next().await.unwrap().events[0],
        Event::Put(_)
    ));
    assert!(
        matches!(watch.next().await.unwrap().events[0], Event::Delete { .. }),
        "it was timed"
    );
}

#[tokio::test]
async fn history_stays_within_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions {
        history_events_max: 10,
        ..options()
    };
    let store = EmbeddedStore::open(folder.path(), &options).unwrap();
    for n in 0..50 {
        store.put("k", format!("{n}")).await.unwrap();
    }
    let mut kept = store
        .watch(WatchRequest::new(KeyRange::all()).from(Revision(42)))
        .await
        .unwrap();
    assert_eq!(kept.next().await.unwrap().revision, Revision(42));
    let mut gone = store
        .watch(WatchRequest::new(KeyRange::all()).from(Revision(41)))
        .await
        .unwrap();
    assert!(gone.next().await.is_err());
}

//! What every store must do, as one suite that each implementation passes: the local folder, memory,
//! our S3 server and a foreign one. It is part of the crate, not of its tests, so that other crates'
//! tests can run it against stores that only they can start.
//!
//! Every case works below a prefix of its own and panics with what was expected.

use std::collections::BTreeSet;

use ::object_store::path::Path;
use ::object_store::{
    Error, GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

/// What a store cannot do, although the suite would ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceptions {
    /// Create-if-absent is honoured, also under a race.
    pub honours_create: bool,
}

/// Runs every case against `store`, which may hold other objects outside of `prefix`.
///
/// # Panics
/// When the store does not do what a case expects.
pub async fn run(store: &dyn ObjectStore, prefix: &str, exceptions: Exceptions) {
    let at = |case: &str| Path::from(format!("{prefix}/{case}"));
    put_and_get(store, at("put-get")).await;
    empty_objects(store, at("empty")).await;
    chunked_payloads(store, at("chunks")).await;
    ranges(store, at("ranges")).await;
    missing_objects(store, at("missing")).await;
    overwriting(store, at("overwrite")).await;
    conditional_gets(store, at("conditional-get")).await;
    odd_names(store, at("odd names")).await;
    listing(store, at("list")).await;
    deleting(store, at("delete")).await;
    copying(store, at("copy")).await;
    uploading_in_parts(store, at("parts")).await;
    if exceptions.honours_create {
        creating(store, at("create")).await;
    }
}

fn bytes(length: usize, salt: u8) -> Bytes {
    let byte = |i: usize| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ salt;
    (0..length).map(byte).collect()
}

async fn put(store: &dyn ObjectStore, name: &Path, content: &Bytes) {
    let stored = store.put(name, content.clone().into()).await;
    stored.unwrap_or_else(|error| panic!("put {name}: {error}"));
}

async fn get(store: &dyn ObjectStore, name: &Path) -> Bytes {
    let read = async { store.get(name).await?.bytes().await };
    read.await
        .unwrap_or_else(|error: Error| panic!("get {name}: {error}"))
}

async fn names_below(store: &dyn ObjectStore, prefix: &Path) -> BTreeSet<Path> {
    let names = store.list(Some(prefix)).map_ok(|meta| meta.location);
    let names: Result<_, Error> = names.try_collect().await;
    names.unwrap_or_else(|error| panic!("list {prefix}: {error}"))
}

async fn put_and_get(store: &dyn ObjectStore, at: Path) {
    let content = bytes(100_000, 1);
    let name = at.clone().join("object");
    put(store, &name, &content).await;
    assert_eq!(get(store, &name).await, content, "what was put is read");
    let meta = store.head(&name).await.expect("head of an object");
    assert_eq!((meta.size, &meta.location), (100_000, &name));
    let result = store.get(&name).await.expect("get of an object");
    assert_eq!(result.range, 0..100_000);
    assert!(matches!(result.payload, GetResultPayload::Stream(_)));
    let chunks: Vec<Bytes> = result
        .into_stream()
        .try_collect()
        .await
        .expect("body as a stream");
    assert_eq!(chunks.concat(), content, "the stream has the same bytes");
}

async fn empty_objects(store: &dyn ObjectStore, at: Path) {
    let name = at.clone().join("nothing");
    put(store, &name, &Bytes::new()).await;
    assert_eq!(get(store, &name).await, Bytes::new());
    assert_eq!(store.head(&name).await.expect("head").size, 0);
}

async fn chunked_payloads(store: &dyn ObjectStore, at: Path) {
    // 12 MiB in uneven chunks: how a segment is handed over, and larger than any internal buffer.
    let content = bytes(12 << 20, 2);
    let payload: PutPayload = [0..1, 1..100_000, 100_000..100_000, 100_000..(12 << 20)]
        .into_iter()
        .map(|range| content.slice(range))
        .collect();
    let name = at.clone().join("large");
    store.put(&name, payload).await.expect("put in chunks");
    assert!(get(store, &name).await == content, "12 MiB come back whole");
    let crumbs: PutPayload = (0..5_000)
        .map(|i| content.slice(i * 3..i * 3 + (i % 4)))
        .collect();
    let expected: Vec<u8> = crumbs.iter().flatten().copied().collect();
    let many = at.clone().join("crumbs");
    store.put(&many, crumbs).await.expect("put in crumbs");
    assert_eq!(
        get(store, &many).await,
        expected,
        "5,000 chunks, some empty"
    );
    let range = (5 << 20)..(11 << 20);
    let part = store
        .get_range(&name, range.start as u64..range.end as u64)
        .await
        .expect("a large range");
    assert!(part == content.slice(range), "a range over several reads");
}

async fn ranges(store: &dyn ObjectStore, at: Path) {
    let content = bytes(10_000, 3);
    let name = at.clone().join("object");
    put(store, &name, &content).await;
    let part = store.get_range(&name, 100..1100).await.expect("a range");
    assert_eq!(part, content.slice(100..1100));
    let over_the_end = store.get_range(&name, 9_990..20_000).await;
    assert_eq!(
        over_the_end.expect("cut at the end"),
        content.slice(9_990..)
    );
    let beyond = store.get_range(&name, 10_000..10_010).await;
    assert!(beyond.is_err(), "a range that begins at the end is refused");
    for (range, wanted) in [
        (GetRange::Suffix(10), 9_990..10_000),
        (GetRange::Offset(9_000), 9_000..10_000),
    ] {
        let options = GetOptions::new().with_range(Some(range));
        let result = store.get_opts(&name, options).await.expect("open range");
        assert_eq!(result.range, wanted.start as u64..wanted.end as u64);
        assert_eq!(result.meta.size, 10_000, "the size is the object's");
        assert_eq!(result.bytes().await.expect("body"), content.slice(wanted));
    }
    let wanted = [5_000..5_010, 0..1, 5_005..5_020];
    let several = store.get_ranges(&name, &wanted).await.expect("ranges");
    let expected: Vec<Bytes> = wanted
        .iter()
        .map(|range| content.slice(range.start as usize..range.end as usize))
        .collect();
    assert_eq!(several, expected, "several ranges, in the order asked");
}

async fn missing_objects(store: &dyn ObjectStore, at: Path) {
    let name = at.clone().join("nobody").join("wrote").join("this");
    let not_found = |error: Option<Error>, what: &str| {
        let missing = matches!(error, Some(Error::NotFound { .. }));
        assert!(missing, "{what} of nothing: {error:?}");
    };
    not_found(store.get(&name).await.err(), "get");
    not_found(store.head(&name).await.err(), "head");
    not_found(store.get_range(&name, 0..1).await.err(), "range");
    not_found(
        store.copy(&name, &at.clone().join("to")).await.err(),
        "copy",
    );
    assert_eq!(names_below(store, &at).await, BTreeSet::new());
}

async fn overwriting(store: &dyn ObjectStore, at: Path) {
    let name = at.clone().join("object");
    put(store, &name, &bytes(50, 4)).await;
    let before = store.head(&name).await.expect("head").e_tag;
    let content = bytes(70, 5);
    put(store, &name, &content).await;
    assert_eq!(get(store, &name).await, content, "the later put is read");
    let after = store.head(&name).await.expect("head").e_tag;
    assert_ne!(before, after, "another content has another entity tag");
}

async fn conditional_gets(store: &dyn ObjectStore, at: Path) {
    let name = at.clone().join("object");
    put(store, &name, &bytes(10, 6)).await;
    let tag = store.head(&name).await.expect("head").e_tag;
    assert!(tag.is_some(), "an object has an entity tag");
    let same = GetOptions::new().with_if_match(tag.clone());
    assert!(store.get_opts(&name, same).await.is_ok());
    let other = GetOptions::new().with_if_match(Some("\"another\""));
    let refused = store.get_opts(&name, other).await.err();
    assert!(
        matches!(refused, Some(Error::Precondition { .. })),
        "If-Match with another tag: {refused:?}"
    );
    let unchanged = GetOptions::new().with_if_none_match(tag);
    let refused = store.get_opts(&name, unchanged).await.err();
    assert!(
        matches!(refused, Some(Error::NotModified { .. })),
        "If-None-Match with the same tag: {refused:?}"
    );
}

async fn odd_names(store: &dyn ObjectStore, at: Path) {
    let odd = [
        "a space",
        "a+plus",
        "a=b&c",
        "ünïcödé",
        "comma,semi;colon",
        "per%cent",
        "quote'",
        "dot.",
        ".hidden",
        "a:b@c$",
        "(round)",
        "UPPER",
        "upper",
    ];
    let names: BTreeSet<Path> = odd.iter().map(|name| at.clone().join(*name)).collect();
    for name in &names {
        put(store, name, &Bytes::from(name.to_string())).await;
    }
    for name in &names {
        assert_eq!(get(store, name).await, name.to_string(), "name {name}");
    }
    assert_eq!(names_below(store, &at).await, names, "odd names are listed");
}

async fn listing(store: &dyn ObjectStore, at: Path) {
    let name = |text: &str| Path::from(format!("{at}/{text}"));
    let all: BTreeSet<Path> = ["a/1", "a/2", "a/b/3", "ab/4", "c"].map(name).into();
    for name in &all {
        put(store, name, &Bytes::from_static(b"x")).await;
    }
    assert_eq!(names_below(store, &at).await, all, "listing is recursive");
    let below_a: BTreeSet<Path> = ["a/1", "a/2", "a/b/3"].map(name).into();
    let a = at.clone().join("a");
    assert_eq!(names_below(store, &a).await, below_a, "a/ is not ab/");
    let after: Result<BTreeSet<Path>, Error> = store
        .list_with_offset(Some(&at), &name("a/2"))
        .map_ok(|meta| meta.location)
        .try_collect()
        .await;
    let expected: BTreeSet<Path> = ["a/b/3", "ab/4", "c"].map(name).into();
    assert_eq!(
        after.expect("list after"),
        expected,
        "the offset is excluded"
    );
    let level = store.list_with_delimiter(Some(&at)).await.expect("a level");
    let folders: BTreeSet<Path> = level.common_prefixes.into_iter().collect();
    assert_eq!(folders, ["a", "ab"].map(name).into());
    let objects: Vec<Path> = level
        .objects
        .into_iter()
        .map(|meta| meta.location)
        .collect();
    assert_eq!(objects, [name("c")]);
    let sizes = store.list(Some(&a)).map_ok(|meta| meta.size);
    let sizes: Vec<u64> = sizes.try_collect().await.expect("sizes");
    assert_eq!(sizes, [1, 1, 1]);
}

async fn deleting(store: &dyn ObjectStore, at: Path) {
    let names: Vec<Path> = (0..25).map(|i| at.clone().join(format!("{i}"))).collect();
    for name in &names {
        put(store, name, &Bytes::from_static(b"x")).await;
    }
    store.delete(&names[0]).await.expect("delete one");
    assert!(store.head(&names[0]).await.is_err(), "it is gone");
    let again = store.delete(&names[0]).await;
    assert!(
        matches!(again, Ok(()) | Err(Error::NotFound { .. })),
        "deleting nothing: {again:?}"
    );
    let rest = futures::stream::iter(names[1..].to_vec()).map(Ok).boxed();
    let deleted: Vec<Path> = store
        .delete_stream(rest)
        .try_collect()
        .await
        .expect("delete many");
    assert_eq!(deleted, names[1..], "in the order asked");
    assert_eq!(names_below(store, &at).await, BTreeSet::new());
}

async fn copying(store: &dyn ObjectStore, at: Path) {
    let (from, to) = (at.clone().join("from"), at.clone().join("sub").join("to"));
    let content = bytes(1000, 7);
    put(store, &from, &content).await;
    put(store, &to, &bytes(2000, 8)).await;
    store.copy(&from, &to).await.expect("copy");
    assert_eq!(get(store, &to).await, content, "the copy replaces");
    put(store, &from, &bytes(10, 9)).await;
    assert_eq!(get(store, &to).await, content, "the copy stands alone");
    let moved = at.clone().join("moved");
    store.rename(&to, &moved).await.expect("rename");
    assert_eq!(get(store, &moved).await, content);
    assert!(store.head(&to).await.is_err(), "renamed away");
}

async fn uploading_in_parts(store: &dyn ObjectStore, at: Path) {
    let name = at.clone().join("object");
    let content = bytes((11 << 20) + 5, 10); // S3's parts are 5 MiB at least, except the last
    let mut upload = store.put_multipart(&name).await.expect("begin an upload");
    let parts = [
        0..(5 << 20),
        (5 << 20)..(10 << 20),
        (10 << 20)..content.len(),
    ];
    let sent = parts.map(|range| upload.put_part(content.slice(range).into()));
    futures::future::try_join_all(sent).await.expect("parts");
    assert!(
        store.head(&name).await.is_err(),
        "nothing is visible before the upload is complete"
    );
    upload.complete().await.expect("complete an upload");
    assert!(get(store, &name).await == content, "parts in their order");

    let aborted = at.clone().join("aborted");
    let mut upload = store.put_multipart(&aborted).await.expect("begin");
    let part = upload.put_part(bytes(100, 11).into());
    part.await.expect("a part");
    upload.abort().await.expect("abort");
    assert!(store.head(&aborted).await.is_err(), "aborted is not there");
}

async fn creating(store: &dyn ObjectStore, at: Path) {
    let create = || PutOptions::from(PutMode::Create);
    let name = at.clone().join("once");
    let first = bytes(100, 12);
    let created = store.put_opts(&name, first.clone().into(), create()).await;
    created.expect("create what is absent");
    let again = store
        .put_opts(&name, bytes(100, 13).into(), create())
        .await
        .err();
    assert!(
        matches!(again, Some(Error::AlreadyExists { .. })),
        "create what is there: {again:?}"
    );
    assert_eq!(get(store, &name).await, first, "the first one stays");

    let raced = at.clone().join("raced");
    let racers = (0..16u8).map(|i| store.put_opts(&raced, bytes(50_000, i).into(), create()));
    let results = futures::future::join_all(racers).await;
    let winners: Vec<usize> = (0..16).filter(|i| results[*i].is_ok()).collect();
    assert_eq!(winners.len(), 1, "one of 16 concurrent writers wins");
    assert_eq!(get(store, &raced).await, bytes(50_000, winners[0] as u8));
}

//! Every store passes the same suite, the S3 client side works against two servers, and a bucket that
//! is unusable is told as such in words a person can act upon.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::error::Outcome;
use alluvium_common::object_store::conformance::{self, Exceptions};
use alluvium_common::object_store::probe::{ConditionalPut, ProbeError, ProbeStep};
use alluvium_common::object_store::{
    Environment, Failure, FailureKind, ObjectStoreExt, OpenedStore, Operation, RetryPolicy,
    StoreComponents, StoreMetrics, StoreSettings, UnfinishedUpload, open,
};
use alluvium_common::rand::SeededRandom;
use alluvium_tests::s3::garage::Garage;
use alluvium_tests::s3::{BUCKET, Latency, S3Fault, S3Options, S3Server};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::MultipartUpload;
use object_store::path::Path;

const HONEST: Exceptions = Exceptions {
    honours_create: true,
};

const PROBE_TIME: Duration = Duration::from_secs(20);

/// Retries so quick that no test waits for them. Time limits are as always: the machine may be busy.
fn quick() -> RetryPolicy {
    RetryPolicy {
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(20),
        retries_per_second: 10_000,
        retries_burst: 10_000,
        ..RetryPolicy::default()
    }
}

async fn opened(url: &str, environment: Environment) -> (OpenedStore, StoreMetrics) {
    let settings = StoreSettings {
        environment,
        retry: quick(),
        ..StoreSettings::default()
    };
    opened_with(url, settings).await
}

async fn opened_with(url: &str, settings: StoreSettings) -> (OpenedStore, StoreMetrics) {
    let metrics = StoreMetrics::default();
    let components = StoreComponents::new(SeededRandom::new(1), metrics.clone());
    let opened = open(url, &settings, &components).await.expect("open");
    (opened, metrics)
}

async fn server() -> S3Server {
    let options = S3Options {
        page_max: 7, // so that listings of a few names have several pages
        ..S3Options::default()
    };
    S3Server::start(options).await.expect("start a server")
}

async fn on(server: &S3Server, prefix: &str) -> (OpenedStore, StoreMetrics) {
    opened(&server.url(prefix), server.environment()).await
}

#[tokio::test]
async fn a_local_folder_conforms() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let url = format!("file://{}/new/store", folder.path().display());
    let (store, _) = opened(&url, Environment::default()).await;
    conformance::run(store.store.as_ref(), "suite", HONEST).await;
}

#[tokio::test]
async fn memory_conforms() {
    let (store, _) = opened("memory:", Environment::default()).await;
    conformance::run(store.store.as_ref(), "suite", HONEST).await;
}

#[tokio::test]
async fn s3_conforms_with_and_without_a_prefix() {
    let server = server().await;
    let (store, metrics) = on(&server, "").await;
    conformance::run(store.store.as_ref(), "suite", HONEST).await;
    let (store, _) = on(&server, "some/prefix").await;
    conformance::run(store.store.as_ref(), "suite", HONEST).await;
    let keys = server.keys();
    assert!(keys.iter().any(|key| key.starts_with("some/prefix/suite/")));
    assert!(keys.iter().any(|key| key.starts_with("suite/")));
    assert_eq!(server.open_uploads(), 0, "no upload is left behind");
    for operation in Operation::ALL {
        assert_eq!(metrics.retries(operation), 0, "{operation:?}");
    }
}

#[tokio::test]
async fn garage_conforms_but_for_conditional_puts() {
    let garage = Garage::start().await.expect("garage");
    let (store, _) = opened(&garage.url("some/prefix"), garage.environment()).await;
    let exceptions = Exceptions {
        honours_create: false,
    };
    conformance::run(store.store.as_ref(), "suite", exceptions).await;
    let random = SeededRandom::new(2);
    let report = store
        .probe(random.as_ref(), PROBE_TIME)
        .await
        .expect("garage is usable");
    assert_ne!(report.conditional_put, ConditionalPut::Works);

    // The same words for the same mistakes as with any other server.
    let mut wrong: Vec<_> = garage.variables();
    wrong.retain(|(name, _)| *name != "AWS_SECRET_ACCESS_KEY");
    wrong.push(("AWS_SECRET_ACCESS_KEY", "0".repeat(64)));
    let error = unusable(&garage.url(""), wrong.into_iter().collect()).await;
    let refused = [FailureKind::BadCredentials, FailureKind::Denied];
    assert!(refused.contains(&error.kind.expect("a kind")), "{error}");
    let elsewhere = "s3://no-such-bucket/x";
    let error = unusable(elsewhere, garage.environment()).await;
    let missing = [FailureKind::NoSuchBucket, FailureKind::Denied];
    assert!(missing.contains(&error.kind.expect("a kind")), "{error}");
}

/// All that the store tells of uploads below `prefix`.
async fn unfinished(store: &OpenedStore, prefix: &str) -> Vec<UnfinishedUpload> {
    let uploads = store.uploads.as_ref().expect("it can tell");
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = uploads.list(&Path::from(prefix), after).await;
        let page = page.expect("a page");
        all.extend(page.uploads);
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// Begins an upload of `name`, with a part, and lets go of it as a process does that dies.
async fn abandon(store: &OpenedStore, name: &str) -> Box<dyn MultipartUpload> {
    let name = Path::parse(name).expect("a path");
    let upload = store.bare.put_multipart(&name).await;
    let mut upload = upload.expect("begun");
    upload.put_part("part".into()).await.expect("a part");
    upload
}

/// What a store must do that can tell of unfinished uploads; `beside` is another prefix of the same bucket.
async fn unfinished_uploads_are_told_and_aborted(store: &OpenedStore, beside: &OpenedStore) {
    assert_eq!(unfinished(store, "tables").await, []);
    let names = [
        "1",
        "2",
        "with space",
        "plus+and%percent",
        "ö",
        "a&b",
        "q?x=y#z",
    ];
    let mut expected = Vec::new();
    for name in names {
        let name = format!("tables/{name}/file");
        // Two of each, so that a page may end between them.
        for _ in 0..2 {
            abandon(store, &name).await;
            expected.push(name.clone());
        }
    }
    abandon(store, "tables2/file").await;
    abandon(beside, "tables/1/file").await;
    let mut completed = abandon(store, "tables/3/file").await;
    completed.complete().await.expect("completed");
    let mut late = abandon(store, "tables/1/late").await;
    expected.push("tables/1/late".to_owned());

    let found = unfinished(store, "tables").await;
    let mut told: Vec<_> = found.iter().map(|one| one.location.to_string()).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    let ids: BTreeSet<_> = found.iter().map(|one| &one.id).collect();
    assert_eq!(ids.len(), found.len(), "each has an id of its own");

    let uploads = store.uploads.as_ref().expect("it can tell");
    let (first, rest) = found.split_first().expect("some");
    uploads.abort(first).await.expect("aborted");
    uploads.abort(first).await.expect("aborted before");
    let left = unfinished(store, "tables").await;
    assert_eq!(left.len(), rest.len());
    for upload in rest {
        uploads.abort(upload).await.expect("aborted");
    }
    assert_eq!(unfinished(store, "tables").await, []);
    assert_eq!(unfinished(store, "tables2").await.len(), 1);
    assert_eq!(unfinished(beside, "tables").await.len(), 1);
    assert!(late.complete().await.is_err(), "it was aborted");
}

#[tokio::test]
async fn s3_tells_of_unfinished_uploads() {
    let server = server().await;
    let (store, metrics) = on(&server, "some/prefix").await;
    let (beside, _) = on(&server, "some/pre").await;
    unfinished_uploads_are_told_and_aborted(&store, &beside).await;
    assert_eq!(server.open_uploads(), 2);
    let listed = server.count("ListMultipartUploads");
    assert!(listed > 5, "there were several pages");
    // One request was made by the store beside.
    assert_eq!(metrics.requests(Operation::List), listed - 1);
    let (whole, _) = on(&server, "").await;
    assert_eq!(unfinished(&whole, "some").await.len(), 2);

    let refused = S3Fault::Refuse {
        status: 403,
        code: "AccessDenied",
    };
    server.faults().always("ListMultipartUploads", refused);
    let uploads = store.uploads.expect("it can tell");
    let error = uploads.list(&Path::from("tables"), None).await;
    let error = Failure::of(&error.expect_err("refused"));
    assert_eq!(error.kind, FailureKind::Denied);
}

#[tokio::test]
async fn garage_tells_of_unfinished_uploads() {
    let garage = Garage::start().await.expect("garage");
    let (store, _) = opened(&garage.url("some/prefix"), garage.environment()).await;
    let (beside, _) = opened(&garage.url("some/pre"), garage.environment()).await;
    unfinished_uploads_are_told_and_aborted(&store, &beside).await;
}

#[tokio::test]
async fn checksums_that_the_server_verifies_can_be_switched_on() {
    let server = server().await;
    let mut variables = server.variables();
    variables.push(("AWS_CHECKSUM_ALGORITHM", "sha256".to_owned()));
    let (store, _) = opened(&server.url("x"), variables.into_iter().collect()).await;
    conformance::run(store.store.as_ref(), "suite", HONEST).await;
}

/// The probe's complaint about a store that is none.
async fn unusable(url: &str, environment: Environment) -> ProbeError {
    let (store, _) = opened(url, environment).await;
    let random = SeededRandom::new(3);
    store
        .probe(random.as_ref(), PROBE_TIME)
        .await
        .expect_err("it is unusable")
}

#[tokio::test]
async fn a_usable_bucket_is_probed_and_left_clean() {
    let server = server().await;
    let (store, _) = on(&server, "data").await;
    let random = SeededRandom::new(4);
    let report = store
        .probe(random.as_ref(), PROBE_TIME)
        .await
        .expect("usable");
    assert_eq!(report.conditional_put, ConditionalPut::Works);
    assert_eq!(server.keys(), Vec::<String>::new(), "nothing is left");
}

#[tokio::test]
async fn unusable_buckets_are_told_apart() {
    let server = server().await;
    let url = server.url("data");
    let with = |name: &'static str, value: &str| {
        let mut variables = server.variables();
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value.to_owned()));
        variables.into_iter().collect::<Environment>()
    };
    let check = async |url: &str, environment, kind, step, words: &[&str]| {
        let error = unusable(url, environment).await;
        assert_eq!((error.kind, error.step), (Some(kind), step), "{error}");
        for word in words {
            assert!(
                error.to_string().contains(word),
                "{word} is not in: {error}"
            );
        }
    };
    let good = || server.environment();

    use FailureKind::*;
    use ProbeStep::*;
    check(
        "s3://elsewhere",
        good(),
        NoSuchBucket,
        Write,
        &["create the bucket", "elsewhere"],
    )
    .await;
    let secret = with("AWS_SECRET_ACCESS_KEY", "wrong");
    check(
        &url,
        secret,
        BadCredentials,
        Write,
        &["AWS_SECRET_ACCESS_KEY"],
    )
    .await;
    let key = with("AWS_ACCESS_KEY_ID", "nobody");
    check(&url, key, BadCredentials, Write, &["AWS_ACCESS_KEY_ID"]).await;
    let region = with("AWS_REGION", "elsewhere-1");
    check(
        &url,
        region,
        WrongRegion,
        Write,
        &["AWS_REGION", "test-region-1"],
    )
    .await;
    let closed = with("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    check(&url, closed, Unreachable, Write, &["AWS_ENDPOINT_URL"]).await;

    server.faults().set_clock_ahead_ms(3_600_000);
    check(&url, good(), ClockSkew, Write, &["clock"]).await;
    server.faults().heal();

    for (operation, step, words) in [
        ("PutObject", Write, "s3:PutObject"),
        ("GetObject", Read, "s3:GetObject"),
        ("ListObjectsV2", List, "s3:ListBucket"),
        ("DeleteObjects", Delete, "s3:DeleteObject"),
    ] {
        server.faults().always(operation, S3Fault::ACCESS_DENIED);
        check(&url, good(), Denied, step, &[words]).await;
        server.faults().heal();
    }
    server.faults().always("PutObject", S3Fault::INTERNAL_ERROR);
    check(&url, good(), ServerFault, Write, &["status page"]).await;
}

#[tokio::test]
async fn a_bucket_that_hangs_is_told_in_time() {
    let server = server().await;
    server.faults().always("PutObject", S3Fault::Hang);
    let (store, _) = on(&server, "").await;
    let random = SeededRandom::new(5);
    let time = Duration::from_millis(200);
    let error = store
        .probe(random.as_ref(), time)
        .await
        .expect_err("it hangs");
    assert_eq!(error.kind, Some(FailureKind::TimedOut));
    assert!(error.to_string().contains("200ms"), "{error}");
}

#[tokio::test]
async fn s3_faults_are_survived() {
    let server = server().await;
    let settings = StoreSettings {
        environment: server.environment(),
        retry: RetryPolicy {
            attempt_timeout: Duration::from_millis(500), // notices those that hang soon
            ..quick()
        },
        ..StoreSettings::default()
    };
    let (store, metrics) = opened_with(&server.url("faults"), settings).await;
    let faults = server.faults();
    faults.sometimes(100, S3Fault::SLOW_DOWN);
    faults.sometimes(100, S3Fault::INTERNAL_ERROR);
    faults.sometimes(100, S3Fault::LoseReply);
    faults.sometimes(10, S3Fault::Hang);
    faults.sometimes(100, S3Fault::CutBody(60_000));
    let content: Bytes = (0..100_000u32).map(|i| (i * 7) as u8).collect();
    let names: Vec<Path> = (0..40).map(|i| Path::from(format!("x/{i:02}"))).collect();
    let store = store.store.as_ref();
    futures::stream::iter(&names)
        .map(|name| {
            let content = &content;
            async move {
                let put = store.put(name, content.clone().into()).await;
                put.expect("put");
                let read = store.get(name).await.expect("get").bytes().await;
                assert!(read.expect("body") == *content, "{name}");
            }
        })
        .buffer_unordered(8)
        .collect::<()>()
        .await;
    let listed: Vec<_> = store.list(None).try_collect().await.expect("list");
    assert_eq!(listed.len(), names.len());
    let gone = futures::stream::iter(names.into_iter().map(Ok)).boxed();
    let deleted: Vec<_> = store
        .delete_stream(gone)
        .try_collect()
        .await
        .expect("delete");
    assert_eq!(deleted.len(), 40);
    assert!(metrics.retries(Operation::Put) > 0 && metrics.retries(Operation::Get) > 0);
    assert_eq!(server.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_put_says_whether_it_happened() {
    let server = server().await;
    let (store, _) = on(&server, "").await;
    let name = Path::from("x");
    for (fault, kind, outcome) in [
        (
            S3Fault::ACCESS_DENIED,
            FailureKind::Denied,
            Outcome::NotDone,
        ),
        (S3Fault::SLOW_DOWN, FailureKind::Throttled, Outcome::Unknown),
        (
            S3Fault::LoseReply,
            FailureKind::Interrupted,
            Outcome::Unknown,
        ),
    ] {
        server.faults().heal();
        server.faults().always("PutObject", fault);
        let error = store.bare.put(&name, "x".into()).await;
        let failure = Failure::of(&error.expect_err("refused"));
        assert_eq!(
            (failure.kind, failure.outcome),
            (kind, outcome),
            "{failure}"
        );
    }
    assert_eq!(server.keys(), ["x"], "the last one did happen");
}

#[tokio::test]
async fn payloads_are_signed_over_plain_http() {
    let server = server().await;
    let (store, _) = on(&server, "").await;
    let name = Path::from("x");
    store.store.put(&name, "content".into()).await.expect("put");
    let put = server.requests().pop().expect("one request");
    let hash = put.payload_hash.expect("a payload hash");
    assert_eq!(hash.len(), 64, "a SHA-256, not {hash}");
    assert_eq!(put.path, format!("/{BUCKET}/x"), "path style");
}

#[tokio::test]
async fn one_put_is_one_request() {
    let server = server().await;
    let (store, metrics) = on(&server, "a/prefix").await;
    let chunks = [Bytes::from(vec![1; 1 << 20]), Bytes::from(vec![2; 1 << 20])];
    let name = Path::from("segment");
    let payload = chunks.into_iter().collect();
    store.store.put(&name, payload).await.expect("put");
    assert_eq!((server.requests().len(), server.count("PutObject")), (1, 1));
    assert_eq!(metrics.sent_bytes(Operation::Put), 2 << 20);
    let ranges = [0..100, 1_000_000..1_000_100];
    store
        .store
        .get_ranges(&name, &ranges)
        .await
        .expect("ranges");
    assert_eq!(server.count("GetObject"), 1, "near ranges are one request");
}

#[tokio::test]
async fn slow_answers_are_waited_for() {
    let server = server().await;
    let (store, metrics) = on(&server, "").await;
    server.faults().set_latency(Some(Latency {
        p50: Duration::from_millis(5),
        p99: Duration::from_millis(15),
    }));
    let puts = (0..20).map(|i| {
        let store = Arc::clone(&store.store);
        async move { store.put(&Path::from(format!("{i}")), "x".into()).await }
    });
    let results = futures::future::join_all(puts).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(metrics.retries(Operation::Put), 0);
}

#[tokio::test]
async fn damaged_bytes_reach_the_reader_unseen() {
    // Why every stored format carries its own checksum: neither HTTP nor the client notices this.
    let server = server().await;
    let (store, _) = on(&server, "").await;
    let name = Path::from("x");
    store
        .store
        .put(&name, vec![0; 1000].into())
        .await
        .expect("put");
    assert!(server.damage("x", 500));
    let read = store.store.get(&name).await.expect("get").bytes().await;
    assert_ne!(read.expect("body"), vec![0; 1000]);
}

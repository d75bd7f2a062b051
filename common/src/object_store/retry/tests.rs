//! The decorator against a memory store whose faults are planned. Time is paused: no test waits.

use std::time::Duration;

use ::object_store::memory::InMemory;
use ::object_store::{ObjectStoreExt, UpdateVersion};
use tokio::time::Instant;

use super::*;
use crate::object_store::conformance;
use crate::object_store::fault::{Fault, FaultPlan, FaultRule};
use crate::object_store::open::{StoreComponents, StoreSettings, decorate};
use crate::object_store::{Failure, FailureKind, OpenedStore};
use crate::rand::SeededRandom;

struct Setup {
    opened: OpenedStore,
    below: Arc<InMemory>,
    faults: Arc<FaultPlan>,
    metrics: StoreMetrics,
}

fn setup() -> Setup {
    let below = Arc::new(InMemory::new());
    let faults = FaultPlan::new(1);
    let metrics = StoreMetrics::default();
    let components = StoreComponents {
        faults: Some(Arc::clone(&faults)),
        ..StoreComponents::new(SeededRandom::new(2), metrics.clone())
    };
    let opened = decorate(
        "memory:".into(),
        Arc::clone(&below) as Arc<dyn ObjectStore>,
        &StoreSettings::default(),
        &components,
    );
    Setup {
        opened,
        below,
        faults,
        metrics,
    }
}

const SLOW_DOWN: Fault = Fault::Refuse {
    status: 503,
    code: "SlowDown",
};

fn name() -> Path {
    Path::from("a/b")
}

#[tokio::test(start_paused = true)]
async fn the_whole_stack_conforms() {
    let setup = setup();
    let exceptions = conformance::Exceptions {
        honours_create: true,
    };
    conformance::run(setup.opened.store.as_ref(), "suite", exceptions).await;
    assert_eq!(setup.faults.injected(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_third_of_all_requests_failing_is_not_noticed() {
    let setup = setup();
    for (per_mille, fault) in [
        (150, SLOW_DOWN),
        (100, Fault::LoseReply),
        (50, Fault::Hang),
        (100, Fault::CutBody(3000)),
    ] {
        setup.faults.add(FaultRule {
            operation: None,
            name_contains: None,
            per_mille,
            times: None,
            fault,
        });
    }
    let store = setup.opened.store.as_ref();
    let content = Bytes::from(vec![7; 20_000]);
    let names: Vec<Path> = (0..60).map(|i| Path::from(format!("x/{i:03}"))).collect();
    for name in &names {
        let payload = PutPayload::from(content.clone());
        store.put(name, payload).await.expect("put");
        let read = store.get(name).await.expect("get").bytes().await;
        assert_eq!(read.expect("body"), content);
    }
    let listed: Vec<_> = store.list(None).try_collect().await.expect("list");
    assert_eq!(listed.len(), names.len());
    let gone = futures::stream::iter(names.into_iter().map(Ok)).boxed();
    let deleted: Vec<_> = store
        .delete_stream(gone)
        .try_collect()
        .await
        .expect("delete");
    assert_eq!(deleted.len(), 60);
    assert!(setup.faults.injected() > 50, "the faults were there");
    assert!(setup.metrics.retries(Operation::Put) > 10);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_noticed() {
    let setup = setup();
    setup
        .faults
        .add(FaultRule::always(Operation::Put, Fault::Hang));
    let started = Instant::now();
    let put = setup.opened.store.put(&name(), "x".into()).await;
    let failure = Failure::of(&put.expect_err("it hangs"));
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert_eq!(failure.outcome, crate::error::Outcome::Unknown);
    let deadline = RetryPolicy::default().deadline;
    let attempt = RetryPolicy::default().attempt_timeout;
    assert!(started.elapsed() <= deadline + attempt, "it ends in time");
    assert!(started.elapsed() >= attempt * 2, "it was tried again");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_succeed_is_not_repeated() {
    let setup = setup();
    for (status, code) in [(403, "AccessDenied"), (404, "NoSuchBucket"), (400, "Bad")] {
        setup.faults.heal();
        let fault = Fault::Refuse { status, code };
        setup.faults.add(FaultRule::always(Operation::Put, fault));
        let before = setup.faults.injected();
        let put = setup.opened.store.put(&name(), "x".into()).await;
        put.expect_err("refused");
        assert_eq!(setup.faults.injected() - before, 1, "{code} is final");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_to_a_put_ends_well() {
    let setup = setup();
    let rule = FaultRule::next(Operation::Put, 1, Fault::LoseReply);
    setup.faults.add(rule.clone());
    let store = setup.opened.store.as_ref();
    store.put(&name(), "x".into()).await.expect("sent again");

    // Create-if-absent: the second attempt meets the first one's object and recognises it.
    setup.faults.add(rule.clone());
    let created = Path::from("created");
    let create = || PutOptions::from(PutMode::Create);
    let put = store.put_opts(&created, "mine".into(), create());
    put.await.expect("it was our own");

    // Somebody else's object is not mistaken for ours.
    let taken = Path::from("taken");
    setup.below.put(&taken, "theirs".into()).await.expect("put");
    let refuse = FaultRule::next(
        Operation::Put,
        1,
        Fault::Refuse {
            status: 500,
            code: "x",
        },
    );
    setup.faults.add(refuse);
    let put = store.put_opts(&taken, "mine".into(), create()).await;
    assert!(matches!(put, Err(Error::AlreadyExists { .. })), "{put:?}");
}

#[tokio::test(start_paused = true)]
async fn comparing_puts_are_not_sent_twice() {
    let setup = setup();
    let put = setup.below.put(&name(), "1".into()).await.expect("put");
    setup
        .faults
        .add(FaultRule::next(Operation::Put, 1, Fault::LoseReply));
    let update = PutOptions::from(PutMode::Update(UpdateVersion::from(put)));
    let store = setup.opened.store.as_ref();
    let result = store.put_opts(&name(), "2".into(), update).await;
    let failure = Failure::of(&result.expect_err("the outcome is unknown"));
    assert_eq!(failure.outcome, crate::error::Outcome::Unknown);
    let read = setup.below.get(&name()).await.expect("get").bytes().await;
    assert_eq!(read.expect("body"), "2", "it had happened");
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_on_where_it_broke_off() {
    let setup = setup();
    let content: Bytes = (0..50_000u32).map(|i| i as u8).collect();
    let payload = PutPayload::from(content.clone());
    setup.below.put(&name(), payload).await.expect("put");
    setup
        .faults
        .add(FaultRule::next(Operation::Get, 3, Fault::CutBody(10_000)));
    let store = setup.opened.store.as_ref();
    let part = store
        .get_range(&name(), 5_000..45_000)
        .await
        .expect("range");
    assert_eq!(part, content.slice(5_000..45_000));
    assert_eq!(setup.metrics.retries(Operation::Get), 3);
    assert_eq!(setup.metrics.received_bytes(Operation::Get), 40_000);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_not_continued_with_another_objects_bytes() {
    let setup = setup();
    setup
        .below
        .put(&name(), vec![1; 1000].into())
        .await
        .expect("put");
    setup
        .faults
        .add(FaultRule::next(Operation::Get, 1, Fault::CutBody(500)));
    let result = setup.opened.store.get(&name()).await.expect("get");
    setup
        .below
        .put(&name(), vec![2; 1000].into())
        .await
        .expect("replace");
    result
        .bytes()
        .await
        .expect_err("half of each would be wrong");
}

#[tokio::test(start_paused = true)]
async fn many_failing_operations_share_a_budget() {
    let setup = setup();
    setup
        .faults
        .add(FaultRule::always(Operation::Put, SLOW_DOWN));
    let puts = (0..50).map(|i| {
        let store = Arc::clone(&setup.opened.store);
        async move {
            let put = store.put(&Path::from(format!("{i}")), "x".into()).await;
            put.expect_err("always refused")
        }
    });
    let started = Instant::now();
    futures::future::join_all(puts).await;
    let policy = RetryPolicy::default();
    let seconds = started.elapsed().as_secs_f64();
    let allowed = f64::from(policy.retries_burst) + seconds * f64::from(policy.retries_per_second);
    let retries = setup.metrics.retries(Operation::Put) as f64;
    assert!(retries <= allowed + 1.0, "{retries} retries in {seconds} s");
    assert!(retries > 50.0, "they do retry");
    assert!(started.elapsed() <= policy.deadline + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_on_after_the_last_name() {
    let setup = setup();
    for i in 0..5 {
        let name = Path::from(format!("x/{i}"));
        setup.below.put(&name, "x".into()).await.expect("put");
    }
    setup
        .faults
        .add(FaultRule::next(Operation::List, 2, SLOW_DOWN));
    let listed: Vec<_> = setup
        .opened
        .store
        .list(None)
        .try_collect()
        .await
        .expect("list");
    assert_eq!(listed.len(), 5);
    assert_eq!(setup.metrics.retries(Operation::List), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_result() {
    let setup = setup();
    setup
        .faults
        .add(FaultRule::next(Operation::Put, 1, SLOW_DOWN));
    let store = setup.opened.store.as_ref();
    store.put(&name(), vec![0; 100].into()).await.expect("put");
    store.get(&Path::from("none")).await.expect_err("not there");
    let mut registry = prometheus_client::registry::Registry::with_prefix("alluvium");
    setup.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encode");
    for line in [
        "alluvium_object_store_requests_total{operation=\"put\",result=\"ok\"} 1",
        "alluvium_object_store_requests_total{operation=\"put\",result=\"throttled\"} 1",
        "alluvium_object_store_requests_total{operation=\"get\",result=\"not_found\"} 1",
        "alluvium_object_store_retries_total{operation=\"put\"} 1",
        "alluvium_object_store_sent_bytes_total{operation=\"put\"} 200",
        "alluvium_object_store_in_flight 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert_eq!(setup.metrics.requests(Operation::Put), 2);
}

#[tokio::test]
async fn deleting_what_is_gone_succeeds_at_every_store() {
    // `object_store`'s own folder, like Google's and Azure's stores, calls that an error.
    let folder = tempfile::tempdir().expect("temporary folder");
    let strict = ::object_store::local::LocalFileSystem::new_with_prefix(folder.path());
    let strict: Arc<dyn ObjectStore> = Arc::new(strict.expect("a folder"));
    strict.put(&name(), "x".into()).await.expect("put");
    let gone = Path::from("never/there");
    strict.delete(&gone).await.expect_err("it is strict");
    let store = RetryStore::new(
        Arc::clone(&strict),
        RetryPolicy::default(),
        SeededRandom::new(1),
        StoreMetrics::default(),
    );
    store.delete(&gone).await.expect("gone is gone");
    let both = futures::stream::iter([Ok(gone.clone()), Ok(name())]).boxed();
    let deleted: Vec<_> = store.delete_stream(both).try_collect().await.expect("both");
    assert_eq!(deleted, [gone, name()]);
    strict.get(&name()).await.expect_err("deleted");
}

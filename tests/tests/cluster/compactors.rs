//! Processes that compact only, beside brokers that do not.

use alluvium_tests::broker::until;
use alluvium_tests::cluster::{Cluster, Setup};
use alluvium_tests::etcd::skipped;
use alluvium_tests::history::{Recorder, check};
use alluvium_tests::load::{Load, LoadOptions};
use alluvium_tests::trial::audit;

/// Things of the load that succeed between two steps.
const PROGRESS: u64 = 100;
/// Shards of a cluster.
const ALL: usize = 16;

async fn until_claimed(cluster: &Cluster, wanted: &[(usize, usize)]) {
    until("each has its part of the topics", async || {
        cluster.claims().await == wanted.iter().copied().collect()
    })
    .await;
}

/// The load goes on all the while; in the end all of it is in table files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compactors_are_killed_and_everything_is_published() {
    if skipped() {
        return;
    }
    let recorder = Recorder::default();
    let mut cluster = Setup::new(2).publishing().compactors(2).start().await;
    let (one, two) = (cluster.workers()[0].id(), cluster.workers()[1].id());
    let half = ALL / 2;
    let options = LoadOptions::of("object", 1);
    let load = Load::start(&cluster, &options, &recorder).await;
    until_claimed(&cluster, &[(one, half), (two, half)]).await;
    load.progress(PROGRESS).await;
    assert!(cluster.publishes(options.patience).await);

    // When its session is over the other has all.
    cluster.worker(1).kill();
    until_claimed(&cluster, &[(two, ALL)]).await;
    load.progress(PROGRESS).await;

    // With none left it waits.
    cluster.worker(2).kill();
    until_claimed(&cluster, &[]).await;
    load.progress(PROGRESS).await;
    cluster.worker(1).revive();
    until_claimed(&cluster, &[(one, ALL)]).await;
    cluster.worker(2).revive();
    until_claimed(&cluster, &[(one, half), (two, half)]).await;

    // One that is asked to stop has no shards any more when it ends.
    let ended = cluster.worker(2).terminate().await.expect("it ends");
    assert!(ended.success(), "{ended}");
    assert!(!cluster.claims().await.contains_key(&two));
    until_claimed(&cluster, &[(one, ALL)]).await;
    cluster.worker(2).revive();
    cluster.until_ready().await;
    load.progress(PROGRESS).await;

    let topics = load.topics().to_vec();
    load.finish().await;
    for (topic, _) in &topics {
        let publish = ["compaction", "run", "--topic", &topic.name, "--wait"];
        cluster.nodes()[0].broker().command_ok(&publish, "").await;
    }
    Load::read_all(&topics, &cluster, options.patience, &recorder).await;
    let mut report = check(&recorder.take());
    assert!(audit(&mut cluster, &mut report).await > 0);
    report.assert_clean();
}

/// Clients see brokers only; operators see all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compactors_are_listed_and_are_no_brokers() {
    if skipped() {
        return;
    }
    let cluster = Setup::new(2).compactors(1).start().await;
    let listed = cluster.nodes()[1].broker();
    let listed = listed.command_ok(&["broker", "list"], "").await;
    let cells = listed.lines().map(|line| {
        let cells: Vec<_> = line.split_whitespace().collect();
        (cells[0].to_owned(), cells[3].to_owned())
    });
    let expected = [
        ("BROKER", "ROLES"),
        ("1", "broker"),
        ("2", "broker"),
        ("101", "compactor"),
    ];
    let expected = expected.map(|(id, roles)| (id.to_owned(), roles.to_owned()));
    assert_eq!(cells.collect::<Vec<_>>(), expected, "{listed}");
    let compactor = cluster.workers()[0].broker();
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = compactor.http_get(path).await.expect("answers");
        assert_eq!(answer.status, 200, "{path}");
    }
    // Nobody listens for Kafka's clients.
    let connected = tokio::net::TcpStream::connect(compactor.address()).await;
    assert!(connected.is_err());
    assert!(!compactor.folder().join("wal").exists());
}

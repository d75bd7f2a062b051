//! A broker whose metadata is in etcd: alone, or kept out.

use alluvium_tests::broker::{Broker, BrokerOptions, until};
use alluvium_tests::etcd::{ClusterOptions, skipped};

use super::security::guarded;

async fn produce(broker: &Broker, lines: &str) {
    broker.command_ok(&["produce", "orders"], lines).await;
}

async fn consumed(broker: &Broker, count: usize) -> String {
    let count = count.to_string();
    let arguments = ["consume", "orders", "--from-beginning", "--count", &count];
    broker.command_ok(&arguments, "").await
}

#[tokio::test]
async fn a_broker_starts_again_where_it_was() {
    if skipped() {
        return;
    }
    let cluster = guarded().await;
    let options = BrokerOptions::new()
        .set("metadata", cluster.url())
        .environment("ALLUVIUM_ETCD_USER", "alluvium")
        .environment("ALLUVIUM_ETCD_PASSWORD", "pw");
    let mut broker = options.start().await;
    let create = ["topic", "create", "orders", "--partitions", "1"];
    broker.command_ok(&create, "").await;
    produce(&broker, "a\nb\n").await;
    assert_eq!(consumed(&broker, 2).await, "a\nb\n");
    // At once, although the session of the killed process has not ended.
    broker.kill();
    broker.restart().await;
    produce(&broker, "c\n").await;
    assert_eq!(consumed(&broker, 3).await, "a\nb\nc\n");
    assert!(broker.terminate().await.success());
    broker.restart().await;
    assert_eq!(consumed(&broker, 3).await, "a\nb\nc\n");
    let arguments = [
        "get",
        "--prefix",
        "--keys-only",
        "/alluvium/alluvium/topics/",
        "--user=root:rootpw",
    ];
    let keys = cluster.ctl_ok(&arguments).await;
    assert!(keys.contains("topics/orders"), "{keys}");
    assert!(broker.terminate().await.success());
    broker.verify_ok().await;
}

#[tokio::test]
async fn brokers_that_do_not_belong_together_are_refused() {
    if skipped() {
        return;
    }
    let cluster = ClusterOptions::single().start().await;
    let with = |broker_id: i32| {
        BrokerOptions::new()
            .set("metadata", cluster.url())
            // Records of this class are what a data folder may hold alone.
            .set("alluvium.durability", "local")
            .set("broker.id", broker_id)
    };
    let mut first = with(1).start().await;
    first.command_ok(&["topic", "create", "orders"], "").await;
    // The same number in another data folder.
    let refused = with(1).prepare().start_refused().await;
    assert!(refused.contains("already running"), "{refused}");
    // Another number, with an object store of its own.
    let refused = with(2).prepare().start_refused().await;
    assert!(refused.contains("not the object store of"), "{refused}");
    // The data folder of a broker whose log may hold records, under another number.
    assert!(first.terminate().await.success());
    first.restart().await;
    produce(&first, "a\n").await;
    first.kill();
    first.set("broker.id", 7);
    let refused = first.start_refused().await;
    assert!(refused.contains("--broker-id 1"), "{refused}");
    first.set("broker.id", 1);
    first.restart().await;
    assert_eq!(consumed(&first, 1).await, "a\n");
    // None of the attempts has done any harm.
    first.command_ok(&["topic", "describe", "orders"], "").await;
    // Another cluster may share the etcd, but not the objects.
    with(2).set("cluster", "other").start().await;
    let objects = first.folder().join("objects");
    let shared = with(3)
        .set("cluster", "third")
        .set("object.store", objects.display());
    let refused = shared.prepare().start_refused().await;
    assert!(refused.contains("another cluster"), "{refused}");
}

#[tokio::test]
async fn a_broker_without_its_session_starts_anew() {
    if skipped() {
        return;
    }
    let cluster = ClusterOptions::single().start().await;
    let options = BrokerOptions::new().set("metadata", cluster.url());
    let mut broker = options.set("broker.session.timeout.ms", "3s").start().await;
    broker.expect_log("session");
    broker.expect_log("uploaded");
    produce(&broker, "a\n").await;
    let process = broker.process_id();
    let leases = cluster.ctl_ok(&["lease", "list"]).await;
    let lease = leases.lines().last().expect("the session's");
    cluster.ctl_ok(&["lease", "revoke", lease]).await;
    until("it noticed", async || {
        broker.log().text().contains("starting a new one")
    })
    .await;
    broker.ready().await.expect("it serves again");
    produce(&broker, "b\n").await;
    assert_eq!(consumed(&broker, 2).await, "a\nb\n");
    assert_eq!(broker.process_id(), process);
}

#[tokio::test]
async fn a_broker_outlives_a_short_absence_of_etcd() {
    if skipped() {
        return;
    }
    let cluster = ClusterOptions::single().start().await;
    let options = BrokerOptions::new().set("metadata", cluster.url());
    let broker = options
        .set("broker.session.timeout.ms", "60s")
        // The other class needs etcd for each acknowledgement.
        .set("alluvium.durability", "local")
        .start()
        .await;
    broker.command_ok(&["topic", "create", "orders"], "").await;
    produce(&broker, "a\n").await;
    cluster.freeze(0);
    let create = ["topic", "create", "more"];
    let refused = broker.command(&create, "").await;
    assert!(!refused.status.success(), "nobody can have stored it");
    // What needs no metadata goes on: the session is alive for a while yet.
    produce(&broker, "b\n").await;
    cluster.thaw(0);
    assert_eq!(consumed(&broker, 2).await, "a\nb\n");
    broker.command_ok(&["topic", "create", "others"], "").await;
}

#[tokio::test]
async fn a_broker_says_what_keeps_it_from_etcd() {
    if skipped() {
        return;
    }
    let nobody = "etcd://127.0.0.1:1";
    let starting = |metadata: &str| BrokerOptions::new().set("metadata", metadata);
    let said = starting(nobody).prepare().start_refused().await;
    assert!(
        said.contains("127.0.0.1:1") && said.contains("refused"),
        "{said}"
    );
    let said = starting("etcd://u:secret@h")
        .prepare()
        .start_refused()
        .await;
    assert!(
        said.contains("HOST:PORT") && !said.contains("secret"),
        "{said}"
    );
    let short = starting(nobody)
        .set("etcd.user", "u")
        .prepare()
        .start_refused()
        .await;
    assert!(
        short.contains("etcd.user and etcd.password go together"),
        "{short}"
    );
}

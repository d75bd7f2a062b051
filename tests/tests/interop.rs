//! Real clients against the broker: what a person with an unchanged Kafka client meets.
//!
//! The clients and their checks live in `tests/interop` and are proved against Apache Kafka; these tests install them,
//! run them and fail with their table. A warning in the broker's log fails them too.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use alluvium_tests::broker::{Broker, BrokerOptions, texts};
use alluvium_tests::s3::{S3Options, S3Server};
use tokio::process::Command;
use tokio::sync::OnceCell;

#[tokio::test]
async fn every_client_passes_on_the_defaults() {
    let broker = BrokerOptions::new().start().await;
    pass(broker, &[]).await;
}

/// Two settings more, and what is acknowledged has been in a bucket: the clients must not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_pass_when_a_bucket_holds_what_is_acknowledged() {
    let bucket = S3Server::start(S3Options::default())
        .await
        .expect("a server for S3");
    let options = BrokerOptions::new().s3(&bucket, "interop");
    let broker = options.durability_object().start().await;
    pass(broker, &["confluent-kafka", "franz-go", "kcat"]).await;
    assert!(!bucket.keys().is_empty(), "the bucket is empty");
}

/// Runs `clients` (all, if none is named), ends the broker and audits what it has stored.
async fn pass(mut broker: Broker, clients: &[&str]) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_init(install).await;
    run(&broker, clients).await;
    assert!(broker.terminate().await.success());
    broker.verify_ok().await;
}

async fn install() {
    let status = Command::new(script("install.sh"))
        .stdin(Stdio::null())
        .status()
        .await
        .expect("install.sh runs");
    assert!(status.success(), "install.sh could not bring the clients");
}

async fn run(broker: &Broker, clients: &[&str]) {
    let suite = Command::new(script("run.sh"))
        .args(["--bootstrap", &broker.address().to_string()])
        .args(clients)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("run.sh runs");
    let (table, errors) = texts(&suite);
    // For whoever runs the test with --nocapture; a failure shows it in any case.
    print!("{table}");
    assert!(suite.status.success(), "clients failed:\n{table}{errors}");
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("interop")
        .join(name)
}

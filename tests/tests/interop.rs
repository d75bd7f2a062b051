//! Real clients against the broker on its defaults: what a person with an unchanged Kafka client meets.
//!
//! The clients and their checks live in `tests/interop` and are proved against Apache Kafka; this test installs them,
//! runs them all and fails with their table. A warning in the broker's log fails it too.

use std::path::Path;
use std::process::Stdio;

use alluvium_tests::broker::{Broker, BrokerOptions, texts};
use tokio::process::Command;

#[tokio::test]
async fn every_client_passes() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    let installed = Command::new(scripts.join("install.sh"))
        .stdin(Stdio::null())
        .status()
        .await
        .expect("install.sh runs");
    assert!(
        installed.success(),
        "install.sh could not bring the clients"
    );
    let mut broker = BrokerOptions::new().start().await;
    run_clients(&scripts, &broker).await;
    assert!(broker.terminate().await.success());
    broker.verify_ok().await;
}

async fn run_clients(scripts: &Path, broker: &Broker) {
    let suite = Command::new(scripts.join("run.sh"))
        .args(["--bootstrap", &broker.address().to_string()])
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

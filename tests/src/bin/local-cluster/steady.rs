//! How large the metadata is while load goes on: it must not grow with time.

use std::time::Duration;

use alluvium_tests::cluster::Cluster;
use alluvium_tests::history::Recorder;
use alluvium_tests::load::{Load, LoadOptions, LoadTopic};
use alluvium_tests::workload::ProducerKind;
use anyhow::Context;
use tokio::time::{Instant, sleep_until};

use super::setup;

/// One look at etcd.
struct Sample {
    keys: u64,
    revision: i64,
    /// Of the database's file: what history once needed and compaction freed included.
    file_bytes: u64,
    used_bytes: u64,
}

/// Prints a line each minute.
pub async fn run(brokers: usize, minutes: u64) -> anyhow::Result<()> {
    let mut cluster = setup(brokers).start().await;
    let options = LoadOptions {
        topics: vec![LoadTopic {
            name: "steady".to_owned(),
            partitions: 12,
            class: "object",
        }],
        producers: vec![ProducerKind::Idempotent],
        pace: Duration::from_millis(200),
        // What clients saw is not judged here, and would fill memory in an hour.
        members: 0,
        churn: false,
        ..LoadOptions::new(1)
    };
    let recorder = Recorder::default();
    let load = Load::start(&cluster, &options, &recorder).await;
    println!(
        "{brokers} brokers, 12 partitions, one small batch in 200 ms on each; etcd keeps what it keeps by default"
    );
    println!("| minute | keys | revisions | used MiB | file MiB | PUTs | batches acknowledged |");
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    let began = Instant::now();
    let mut acknowledged = 0;
    for minute in 0..=minutes {
        sleep_until(began + Duration::from_secs(60 * minute)).await;
        cluster.supervise();
        acknowledged += recorder.take().sends.len();
        let sample = sample(&cluster).await?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "| {minute} | {} | {} | {:.2} | {:.2} | {} | {acknowledged} |",
            sample.keys,
            sample.revision,
            mib(sample.used_bytes),
            mib(sample.file_bytes),
            cluster.s3().count("PutObject"),
        );
    }
    load.finish().await;
    let failed = cluster.terminate().await;
    anyhow::ensure!(failed.is_empty(), "{failed:?}");
    cluster.verify().await.map_err(anyhow::Error::msg)
}

async fn sample(cluster: &Cluster) -> anyhow::Result<Sample> {
    let etcd = cluster.etcd();
    let status = etcd
        .ctl_ok(&["endpoint", "status", "--write-out=json"])
        .await;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let status = &status[0]["Status"];
    let number = |name: &str| status[name].as_u64().context("a number");
    let count = ["get", "/", "--prefix", "--limit=1", "--write-out=json"];
    let count: serde_json::Value = serde_json::from_str(&etcd.ctl_ok(&count).await)?;
    Ok(Sample {
        keys: count["count"].as_u64().unwrap_or(0),
        revision: status["header"]["revision"]
            .as_i64()
            .context("a revision")?,
        file_bytes: number("dbSize")?,
        used_bytes: number("dbSizeInUse")?,
    })
}

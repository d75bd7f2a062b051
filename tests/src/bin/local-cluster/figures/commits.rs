//! PUTs and etcd transactions for each segment, however many partitions it holds.

use std::time::Duration;

use alluvium_tests::client::Client;
use alluvium_tests::cluster::Cluster;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Row, routes, row, start};

/// How long it is written to.
const TIME: Duration = Duration::from_secs(20);

/// What all brokers together have done so far.
#[derive(Debug, Clone, Copy)]
struct Counts {
    segments: f64,
    puts: f64,
    transactions: f64,
}

impl Counts {
    async fn now(cluster: &Cluster) -> Self {
        let mut counts = Self {
            segments: 0.0,
            puts: cluster.s3().count("PutObject") as f64,
            transactions: 0.0,
        };
        for node in cluster.nodes() {
            let metrics = node.broker().metrics().await;
            counts.segments += metrics.sum("alluvium_ingest_seals_total");
            let txn = "alluvium_metadata_store_calls_total{call=\"txn\",result=\"ok\"}";
            counts.transactions += metrics.get(txn).unwrap_or(0.0);
        }
        counts
    }
}

/// One writer for each broker, which writes to all partitions that it leads.
pub async fn measure(brokers: usize, partitions: i32) -> anyhow::Result<Row> {
    let mut cluster = start(brokers).await;
    let (topic, routes) = routes::create(&cluster, "flushes", partitions).await?;
    let before = Counts::now(&cluster).await;
    let mut writers = JoinSet::new();
    let until = Instant::now() + TIME;
    for (broker, led) in routes {
        let (endpoint, topic) = (routes::endpoint(&cluster, broker), topic.clone());
        writers.spawn(async move {
            let mut client = Client::connect(&endpoint).await;
            let batch = routes::batch_of_bytes(100);
            let mut written = 0;
            while Instant::now() < until {
                routes::write(&mut client, &topic, &led, &batch, 1).await?;
                written += led.len();
            }
            anyhow::Ok(written)
        });
    }
    let mut batches = 0;
    while let Some(written) = writers.join_next().await {
        batches += written??;
    }
    let after = Counts::now(&cluster).await;
    let segments = after.segments - before.segments;
    let measured = format!(
        "{:.2} PUTs and {:.2} transactions ({segments} segments, {batches} batches)",
        (after.puts - before.puts) / segments,
        (after.transactions - before.transactions) / segments,
    );
    cluster.terminate().await;
    let what = format!("PUTs and etcd transactions for each segment, {partitions} partitions");
    Ok(row(what, "1 and 1", measured))
}

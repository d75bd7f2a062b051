//! GETs for reading everything from the beginning, by brokers whose caches are empty.

use alluvium_tests::client::{Client, Topic};
use tokio::task::JoinSet;

use super::{Row, routes, row, start};

/// Of all partitions together: less than a broker's cache takes.
const TOTAL_BYTES: usize = 32 << 20;
/// Bytes of a batch, with many partitions and with few.
const BATCH_BYTES: usize = 16 << 10;

/// So many readers, each of which reads all.
pub async fn measure(brokers: usize, partitions: i32, readers: usize) -> anyhow::Result<Row> {
    let mut cluster = start(brokers).await;
    let (topic, led) = routes::create(&cluster, "reads", partitions).await?;
    let batch = routes::batch_of_bytes(BATCH_BYTES);
    let rounds = TOTAL_BYTES / BATCH_BYTES / partitions as usize;
    let mut writers = JoinSet::new();
    for (broker, led) in led {
        let (endpoint, topic) = (routes::endpoint(&cluster, broker), topic.clone());
        let batch = batch.clone();
        writers.spawn(async move {
            let mut client = Client::connect(&endpoint).await;
            routes::write(&mut client, &topic, &led, &batch, rounds).await
        });
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    // Nothing is left in memory, and there is no disk cache by default.
    let failed = cluster.terminate().await;
    anyhow::ensure!(failed.is_empty(), "{failed:?}");
    cluster.heal().await;
    cluster.until_ready().await;
    let mut client = Client::connect(&cluster.endpoints()[0]).await;
    let mut led = routes::routes(&mut client, &topic).await?;
    while led.values().map(Vec::len).sum::<usize>() < partitions as usize {
        led = routes::routes(&mut client, &topic).await?;
    }
    let before = cluster.s3().count("GetObject");
    let mut reading = JoinSet::new();
    for _ in 0..readers {
        for (broker, led) in led.clone() {
            let endpoint = routes::endpoint(&cluster, broker);
            reading.spawn(read(endpoint, topic.clone(), led));
        }
    }
    let mut records = 0;
    while let Some(read) = reading.join_next().await {
        records += read??;
    }
    anyhow::ensure!(
        records == readers * rounds * partitions as usize,
        "{records} records"
    );
    let gets = cluster.s3().count("GetObject") - before;
    let keys = cluster.s3().keys();
    let segments = keys.iter().filter(|key| key.contains("/segments/")).count();
    cluster.terminate().await;
    Ok(row(
        format!("GETs for {readers} readers of all of 32 MiB in {partitions} partitions"),
        "one for each segment",
        format!("{gets} ({segments} segments)"),
    ))
}

async fn read(
    endpoint: alluvium::config::Endpoint,
    topic: Topic,
    led: Vec<i32>,
) -> anyhow::Result<usize> {
    let mut client = Client::connect(&endpoint).await;
    let mut records = 0;
    for index in led {
        records += client.read(&topic, index, 0).await.len();
    }
    Ok(records)
}

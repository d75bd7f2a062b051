//! How long many partitions are without a leader after the end of their leader's session.

use std::time::Duration;

use alluvium_common::epoch::BrokerId;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::store::MetadataStoreExt;
use alluvium_tests::client::Client;
use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Row, routes, row, seconds, start};

const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A broker dies that leads so many partitions, each with records.
pub async fn measure(brokers: usize, partitions: i32) -> anyhow::Result<Row> {
    let mut cluster = start(brokers).await;
    // So many on the one that dies.
    let all = partitions * i32::try_from(brokers)?;
    let (topic, led) = routes::create(&cluster, "many", all).await?;
    let batch = routes::batch_of_bytes(100);
    let mut writers = JoinSet::new();
    for (broker, led) in led.clone() {
        let (endpoint, topic) = (routes::endpoint(&cluster, broker), topic.clone());
        let batch = batch.clone();
        writers.spawn(async move {
            let mut client = Client::connect(&endpoint).await;
            routes::write(&mut client, &topic, &led, &batch, 1).await
        });
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    let lost = led.get(&1).map_or(0, Vec::len);
    let (store, keys) = (cluster.etcd().store().await, Keys::new("alluvium"));
    cluster.node(1).kill();
    let killed = Instant::now();
    while store.get(keys.broker(BrokerId(1))).await?.is_some() {
        ensure!(killed.elapsed() < PATIENCE, "the session does not end");
        sleep(LOOK_AGAIN).await;
    }
    let ended = Instant::now();
    let mut client = Client::connect(&cluster.endpoints()[1]).await;
    loop {
        let led = routes::routes(&mut client, &topic).await?;
        let others = led.iter().filter(|(broker, _)| **broker != 1);
        if others.map(|(_, led)| led.len()).sum::<usize>() == all as usize {
            break;
        }
        ensure!(ended.elapsed() < PATIENCE, "not all are led again");
        sleep(LOOK_AGAIN).await;
    }
    let took = ended.elapsed();
    cluster.terminate().await;
    Ok(row(
        format!("take-over of {lost} partitions, from the end of the session"),
        "5 s",
        format!(
            "{}; the session ended {} after the kill",
            seconds(took),
            seconds(ended.duration_since(killed))
        ),
    ))
}

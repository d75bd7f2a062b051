//! How long producers of class `object` wait, over a bucket as slow as those of clouds.

use std::time::Duration;

use alluvium_tests::client::{Client, Topic};
use alluvium_tests::s3::Latency;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Row, routes, row, start};

const PARTITIONS: i32 = 12;
const TIME: Duration = Duration::from_secs(30);
/// Between two batches of a producer; each goes out when its time has come, whether the ones before are answered or not.
const EVERY: Duration = Duration::from_millis(100);
const BATCH_BYTES: usize = 1_000;

/// An open loop on each partition.
pub async fn measure(brokers: usize) -> anyhow::Result<Row> {
    let mut cluster = start(brokers).await;
    let (topic, routes) = routes::create(&cluster, "latencies", PARTITIONS).await?;
    cluster.s3().faults().set_latency(Some(Latency::CLOUD));
    let mut producers = JoinSet::new();
    for (broker, led) in routes {
        for index in led {
            let endpoint = routes::endpoint(&cluster, broker);
            producers.spawn(produce(endpoint, topic.clone(), index));
        }
    }
    let mut took = Vec::new();
    while let Some(times) = producers.join_next().await {
        took.extend(times??);
    }
    took.sort_unstable();
    let at = |share: f64| took[(share * (took.len() - 1) as f64) as usize].as_millis();
    let measured = format!(
        "p50 {} ms, p99 {} ms, longest {} ms ({} batches)",
        at(0.5),
        at(0.99),
        at(1.0),
        took.len()
    );
    cluster.terminate().await;
    Ok(row(
        "`object` produce, PUTs of 60 ms (p50) and 220 ms (p99)",
        "250 ms, 500 ms",
        measured,
    ))
}

async fn produce(
    endpoint: alluvium::config::Endpoint,
    topic: Topic,
    index: i32,
) -> anyhow::Result<Vec<Duration>> {
    let began = Instant::now();
    let batch = routes::batch_of_bytes(BATCH_BYTES);
    let mut waiting = JoinSet::new();
    let mut took = Vec::new();
    let count = TIME.as_millis() / EVERY.as_millis();
    // A connection of its own for each of the batches that may be under way together: answers come in order on one.
    let mut free: Vec<Client> = Vec::new();
    for turn in 0..u32::try_from(count)? {
        let due = began + EVERY * turn;
        sleep_until(due).await;
        while let Some(done) = waiting.try_join_next() {
            let (client, time): (Client, Duration) = done??;
            free.push(client);
            took.push(time);
        }
        let mut client = match free.pop() {
            Some(client) => client,
            None => Client::connect(&endpoint).await,
        };
        let (topic, batch) = (topic.clone(), batch.clone());
        waiting.spawn(async move {
            routes::write(&mut client, &topic, &[index], &batch, 1).await?;
            anyhow::Ok((client, due.elapsed()))
        });
    }
    while let Some(done) = waiting.join_next().await {
        took.push(done??.1);
    }
    Ok(took)
}

//! Waiting for key compaction.

use std::time::Duration;

use alluvium::client::{Bootstrap, Cluster};
use alluvium_segment::manifest::Manifest;
use alluvium_tests::broker::Broker;
use alluvium_tests::client::Topic;
use alluvium_tests::published::{is_clean, newest_manifest};
use anyhow::ensure;
use tokio::time::{Instant, sleep};

use super::progress::Progress;

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long it may take: some gigabytes are written anew, on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Waits until all that is published of the topic is clean, and its leader reads it so.
pub async fn until_cleaned(broker: &Broker, topic: &Topic, name: &str) -> anyhow::Result<()> {
    let step = Progress::waiting("key compaction");
    let bootstrap = broker.endpoint().to_string();
    let bootstrap: Bootstrap = bootstrap.parse().map_err(anyhow::Error::msg)?;
    let mut cluster = Cluster::open(&bootstrap, "history-show").await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let manifest = newest_manifest(broker, topic).map(|(_, manifest)| manifest);
        if let Some(manifest) = manifest.filter(is_clean) {
            let tiers = cluster.tiers(Some(&[name])).await?;
            let topic = tiers.topics.get(name);
            let partitions = topic.iter().flat_map(|topic| topic.partitions.values());
            let served: u64 = partitions.map(|partition| partition.table_bytes).sum();
            if served == stored_bytes(&manifest) {
                step.over();
                return Ok(());
            }
        }
        ensure!(
            Instant::now() < deadline,
            "the topic is still not clean after {PATIENCE:?}"
        );
        sleep(LOOK_AGAIN).await;
    }
}

fn stored_bytes(manifest: &Manifest) -> u64 {
    let partitions = manifest.content().partitions.keys();
    partitions
        .map(|partition| manifest.stored_bytes(*partition))
        .sum()
}

//! What a broker with a local object store has published, as its files tell.

use std::fs;
use std::path::{Path, PathBuf};

use alluvium_common::topic::PartitionIndex;
use alluvium_segment::manifest::Manifest;

use crate::broker::{Broker, BrokerOptions, until};
use crate::client::Topic;

/// Publishes what is a second old.
pub fn quick(options: BrokerOptions) -> BrokerOptions {
    options.set("publish.interval.ms", 1_000)
}

/// Files below `folder` whose names end in `.extension`, by name.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|ends| ends == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The manifest of a topic with the largest version, if there is any: its file, and what it says.
pub fn newest_manifest(broker: &Broker, topic: &Topic) -> Option<(PathBuf, Manifest)> {
    let folder = format!("objects/manifests/{}", topic.id.simple());
    // Versions have leading zeroes, and stand first in what differs of the names.
    let path = files(&broker.folder().join(folder), "manifest").pop()?;
    let bytes = fs::read(&path).expect("readable").into();
    let (manifest, _) = Manifest::decode(&bytes).expect("a whole manifest");
    Some((path, manifest))
}

/// The table files of a topic that count: others may lie beside them until they are deleted.
pub fn table_files(broker: &Broker, topic: &Topic) -> Vec<PathBuf> {
    let newest = newest_manifest(broker, topic);
    let tables = newest.iter().flat_map(|(_, manifest)| manifest.tables());
    let objects = broker.folder().join("objects");
    tables
        .map(|table| objects.join(table.object_key.as_str()))
        .collect()
}

/// Whether key compaction has nothing left to do: all that is published of each partition is clean.
pub fn is_clean(manifest: &Manifest) -> bool {
    let mut partitions = manifest.content().partitions.values();
    partitions.all(|partition| partition.clean.next_offset == partition.next_offset)
}

/// Waits until all of the topic's partitions are published up to `ends`, and it counts.
pub async fn until_published(broker: &Broker, topic: &Topic, ends: &[i64]) {
    until("everything is published", async || {
        let Some((_, manifest)) = newest_manifest(broker, topic) else {
            return false;
        };
        let all = (0..).zip(ends).all(|(partition, end)| {
            manifest.published_end(PartitionIndex(partition)).get() >= *end
        });
        // One that was put counts a moment later.
        let made = broker
            .metrics()
            .await
            .sum("alluvium_publish_manifests_total");
        all && made >= 1.0 && !has_backlog(broker).await
    })
    .await;
}

/// The compactor notices at its next look that nothing waits, so this is true for a while longer.
async fn has_backlog(broker: &Broker) -> bool {
    let metrics = broker.metrics().await;
    metrics.sum("alluvium_publish_backlog_bytes") > 0.0
}

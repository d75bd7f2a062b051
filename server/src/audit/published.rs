//! The manifests that count, and their leaves. All that is checked behind this sees one level: what a leaf lists stands in
//! its place.

use std::collections::{BTreeSet, HashSet};

use alluvium_common::object_store::{ObjectStore, ObjectStoreExt, read_checked};
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_compactor::leaves;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{PublishedRecord, TopicRecord};
use alluvium_segment::FormatError;
use alluvium_segment::manifest::{self, Leaf, LeafEntry, Manifest, TableEntry};
use alluvium_segment::object_key::ObjectKey;
use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::path::Path;

use super::known::Known;
use super::{About, Report};

/// Manifests read at the same time.
const READS_PARALLEL: usize = 4;

/// Reads the manifests that `records` name, and looks whether they fit their topics.
pub(super) async fn check(
    objects: &dyn ObjectStore,
    keys: &Keys,
    records: Vec<(Bytes, PublishedRecord)>,
    known: &mut Known,
    leftovers: &mut BTreeSet<TopicId>,
    referenced: &mut HashSet<ObjectKey>,
    report: &mut Report,
) {
    let mut named = Vec::new();
    for (key, record) in records {
        match keys.parse_published(&key) {
            // Its topic was deleted: the controller removes the record after some minutes, and garbage collection what
            // it names, which nobody reads any more.
            Some(topic_id) if !known.topics.contains_key(&topic_id) => {
                _ = leftovers.insert(topic_id)
            }
            Some(topic_id) => named.push((topic_id, record)),
            None => {
                let key = String::from_utf8_lossy(&key);
                report.wrong(
                    About::Metadata,
                    [format!("metadata key {key} is of no topic")],
                );
            }
        }
    }
    report.topics_published = named.len();
    referenced.extend(named.iter().map(|(_, record)| record.object_key.clone()));
    let mut read = stream::iter(named)
        .map(|(topic_id, record)| async move {
            let manifest = read(objects, topic_id, &record).await;
            (topic_id, record.object_key, manifest)
        })
        .buffered(READS_PARALLEL);
    while let Some((topic_id, object_key, manifest)) = read.next().await {
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                report.wrong(
                    About::Manifest,
                    [format!("manifest {object_key}: {error:#}")],
                );
                continue;
            }
        };
        let leaves = manifest.leaves().iter();
        referenced.extend(leaves.map(|leaf| leaf.object_key.clone()));
        report.leaves += manifest.leaves().len() as u64;
        let manifest = one_level(objects, &object_key, manifest, report).await;
        let tables = manifest.tables().iter();
        referenced.extend(tables.map(|table| table.object_key.clone()));
        if let Some(topic) = known.topics.get(&topic_id) {
            let wrong = contradictions(&manifest, topic);
            let wrong = wrong.map(|why| format!("manifest {object_key}: {why}"));
            report.wrong(About::Manifest, wrong);
        }
        known.manifests.insert(topic_id, manifest);
    }
    for (topic_id, manifest) in &known.manifests {
        let partitions = manifest.content().partitions.keys();
        for tp in partitions.map(|partition| TopicPartition::new(*topic_id, *partition)) {
            if !known.partitions.contains_key(&tp) {
                let finding = format!("partition {tp} is published, but has no record");
                report.wrong(About::Metadata, [finding]);
            }
        }
    }
}

async fn read(
    objects: &dyn ObjectStore,
    topic_id: TopicId,
    record: &PublishedRecord,
) -> anyhow::Result<Manifest> {
    let name = record.object_key.manifest_name();
    let expected = Some((topic_id, record.version));
    anyhow::ensure!(
        name.map(|name| (name.topic_id, name.version)) == expected,
        "it is named as version {} of topic {topic_id}",
        record.version
    );
    let path = Path::from(record.object_key.as_str());
    let size_bytes = objects.head(&path).await?.size;
    anyhow::ensure!(
        size_bytes == record.size_bytes,
        "it has {size_bytes} bytes, the record names {}",
        record.size_bytes
    );
    let named = record.manifest(topic_id);
    let open = |object: Bytes| {
        let length = manifest::index_length(&object)?;
        match length == record.index_length {
            true => named.open(&object),
            false => Err(FormatError::Malformed(
                "manifest: another length of its index",
            )),
        }
    };
    Ok(read_checked(objects, &path, 0..size_bytes, open).await?)
}

/// A manifest with what its leaves list in their place. Of those that cannot be read nothing is known; they stay, as what
/// answers for their offsets.
async fn one_level(
    objects: &dyn ObjectStore,
    object_key: &ObjectKey,
    manifest: Manifest,
    report: &mut Report,
) -> Manifest {
    if manifest.leaves().is_empty() {
        return manifest;
    }
    let mut content = manifest.to_content();
    let topic_id = content.topic_id;
    let (mut unread, mut tables) = (Vec::new(), Vec::new());
    let mut read = stream::iter(std::mem::take(&mut content.leaves))
        .map(|entry| async move {
            let leaf = read_leaf(objects, topic_id, &entry).await;
            (entry, leaf)
        })
        .buffered(READS_PARALLEL);
    while let Some((entry, leaf)) = read.next().await {
        match leaf {
            Ok(leaf) => {
                tables.extend(leaf.tables().iter().map(|table| TableEntry::clone(table)));
            }
            Err(error) => {
                let finding = format!("manifest {object_key}: leaf {error:#}");
                report.wrong(About::Manifest, [finding]);
                unread.push(entry);
            }
        }
    }
    tables.append(&mut content.tables);
    (content.tables, content.leaves) = (tables, unread);
    match Manifest::new(content) {
        Ok(manifest) => manifest,
        Err(error) => {
            let finding = format!("manifest {object_key} with what its leaves list: {error}");
            report.wrong(About::Manifest, [finding]);
            manifest
        }
    }
}

async fn read_leaf(
    objects: &dyn ObjectStore,
    topic_id: TopicId,
    entry: &LeafEntry,
) -> anyhow::Result<Leaf> {
    let key = &entry.object_key;
    let name = key.leaf_name();
    anyhow::ensure!(
        name.is_some_and(|name| name.topic_id == topic_id),
        "{key} is no leaf of this topic"
    );
    let size_bytes = objects.head(&Path::from(key.as_str())).await?.size;
    anyhow::ensure!(
        size_bytes == entry.size_bytes,
        "{key} has {size_bytes} bytes, the manifest names {}",
        entry.size_bytes
    );
    Ok(leaves::read_leaf(objects, topic_id, entry).await?)
}

/// What of a manifest does not fit its topic.
pub(super) fn contradictions(
    manifest: &Manifest,
    topic: &TopicRecord,
) -> impl Iterator<Item = String> {
    let mut wrong = Vec::new();
    let mut seen = HashSet::new();
    for table in manifest.tables() {
        let name = &table.object_key;
        let is_own = name
            .table_name()
            .is_some_and(|name| name.topic_id == topic.topic_id);
        if !is_own {
            wrong.push(format!("{name} is no table file of this topic"));
        }
        if !seen.insert(name) {
            wrong.push(format!("{name} is named twice"));
        }
    }
    let spans = manifest.tables().iter().flat_map(|table| &table.spans);
    let partitions = spans.map(|span| span.partition);
    let partitions = partitions.chain(manifest.content().partitions.keys().copied());
    let beyond: BTreeSet<_> = partitions
        .filter(|partition| !(0..topic.partition_count).contains(&partition.0))
        .collect();
    for partition in beyond {
        let count = topic.partition_count;
        wrong.push(format!(
            "it names partition {partition} of a topic with {count}"
        ));
    }
    wrong.into_iter()
}

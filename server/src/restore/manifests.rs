//! Which manifest counts for each topic, where the metadata that said so is lost.
//!
//! A manifest is put before the metadata makes it count, and names what was committed and nothing else; one that was put
//! and never made to count is as true as one that did. So the newest that is whole counts, if all table files that it names
//! are there, and its leaves: those of a manifest that never counted may have been deleted as garbage. Of several with one version the
//! metadata has named one at most. Which one is not known, unless the snapshot names it; segments may have been deleted
//! because that one had them. So the one that the snapshot names goes first, then the one that reaches furthest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alluvium_common::topic::TopicId;
use alluvium_compactor::leaves::read_leaf;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{PublishedRecord, TopicRecord};
use alluvium_metadata::value;
use alluvium_segment::manifest::{self, Manifest, TableEntry};
use alluvium_segment::object_key::{MANIFESTS_PREFIX, ManifestName, ObjectKey};
use alluvium_segment::snapshot_object::Snapshot;
use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// Leaves read at the same time. What they list is compared with what is there, and forgotten.
const LEAVES_PARALLEL: usize = 8;

/// The manifest of a topic that will count.
#[derive(Debug, Clone)]
pub struct FoundManifest {
    /// As the metadata will name it.
    pub record: PublishedRecord,
    /// What it says.
    pub manifest: Manifest,
}

/// What the snapshot says of topics.
struct Told {
    topics: BTreeSet<TopicId>,
    published: BTreeMap<TopicId, PublishedRecord>,
}

/// Finds one for every topic that has any. What is not whole is told in `warnings`.
pub(super) async fn find(
    objects: &dyn ObjectStore,
    keys: &Keys,
    snapshot: Option<&Snapshot>,
    may_be_younger: impl Fn(&ManifestName) -> bool,
    warnings: &mut Vec<String>,
) -> anyhow::Result<BTreeMap<TopicId, FoundManifest>> {
    let told = snapshot.map(|snapshot| told(keys, snapshot));
    let named = |topic_id: TopicId| told.as_ref().and_then(|told| told.published.get(&topic_id));
    let mut by_topic: BTreeMap<TopicId, Vec<(u64, ObjectKey)>> = BTreeMap::new();
    for (key, name) in list(objects).await? {
        // Of a topic that the snapshot does not know: it is younger, or deleted and not cleaned up.
        let is_known = |told: &Told| told.topics.contains(&name.topic_id) || may_be_younger(&name);
        if told.as_ref().is_none_or(is_known) {
            let of_topic = by_topic.entry(name.topic_id).or_default();
            of_topic.push((name.version, key));
        }
    }
    let mut found = BTreeMap::new();
    for (topic_id, mut all) in by_topic {
        all.sort_unstable_by_key(|(version, _)| Reverse(*version));
        let newest = all.first().map(|(version, _)| *version);
        let tables = tables(objects, topic_id).await?;
        let versions = all.chunk_by(|one, other| one.0 == other.0);
        for same in versions {
            let mut whole = Vec::new();
            for (version, key) in same {
                match read(objects, topic_id, *version, key, &tables).await {
                    Ok(manifest) => whole.push(manifest),
                    Err(error) => warnings.push(format!("manifest {key}: {error:#}")),
                }
            }
            let named = named(topic_id).map(|record| &record.object_key);
            if let Some(best) = best(whole, named) {
                found.insert(topic_id, best);
                break;
            }
        }
        let used = found.get(&topic_id).map(|found| found.record.version);
        if used != newest {
            let instead = match used {
                Some(version) => format!("version {version} counts instead"),
                None => "none is whole".to_owned(),
            };
            warnings.push(format!(
                "topic {topic_id}: of its manifests the newest is not whole, or not all of its table files are; {instead}, \
                 and records that are in no segment any more are LOST"
            ));
        }
    }
    for topic_id in told.iter().flat_map(|told| told.published.keys()) {
        if !found.contains_key(topic_id) {
            warnings.push(format!(
                "topic {topic_id}: the manifest that the snapshot names is not there; records that only its table files \
                 held are LOST"
            ));
        }
    }
    Ok(found)
}

fn told(keys: &Keys, snapshot: &Snapshot) -> Told {
    let mut told = Told {
        topics: BTreeSet::new(),
        published: BTreeMap::new(),
    };
    for (key, stored) in &snapshot.keys {
        let key = keys.absolute(key);
        if keys.topics().contains(&key) {
            let topic = value::decode::<TopicRecord>(stored);
            told.topics.extend(topic.map(|topic| topic.topic_id));
        } else if let Some(topic_id) = keys.parse_published(&key)
            && let Ok(record) = value::decode(stored)
        {
            told.published.insert(topic_id, record);
        }
    }
    // Of a topic that was being deleted a record may be left.
    let topics = &told.topics;
    told.published
        .retain(|topic_id, _| topics.contains(topic_id));
    told
}

/// Of whole manifests with one version.
pub(super) fn best(whole: Vec<FoundManifest>, named: Option<&ObjectKey>) -> Option<FoundManifest> {
    let reach = |found: &FoundManifest| {
        let partitions = found.manifest.content().partitions.values();
        let ends = partitions.map(|published| i128::from(published.next_offset.get()));
        ends.sum::<i128>()
    };
    let is_named = |found: &FoundManifest| Some(&found.record.object_key) == named;
    whole
        .into_iter()
        .max_by_key(|found| (is_named(found), reach(found)))
}

async fn list(objects: &dyn ObjectStore) -> anyhow::Result<Vec<(ObjectKey, ManifestName)>> {
    let folder = Path::from(MANIFESTS_PREFIX);
    let listed: Vec<_> = objects.list(Some(&folder)).try_collect().await?;
    let manifests = listed.iter().filter_map(|object| {
        let key = ObjectKey::parse(object.location.as_ref()).ok()?;
        let name = key.manifest_name()?;
        Some((key, name))
    });
    Ok(manifests.collect())
}

/// The table files of a topic and their sizes.
async fn tables(
    objects: &dyn ObjectStore,
    topic_id: TopicId,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let folder = Path::from(ObjectKey::tables_of(topic_id));
    let listed = objects.list(Some(&folder));
    let sizes = listed.map_ok(|object| (object.location.to_string(), object.size));
    Ok(sizes.try_collect().await?)
}

async fn read(
    objects: &dyn ObjectStore,
    topic_id: TopicId,
    version: u64,
    key: &ObjectKey,
    tables: &BTreeMap<String, u64>,
) -> anyhow::Result<FoundManifest> {
    let object = objects.get(&Path::from(key.as_str())).await?;
    let object = object.bytes().await?;
    let (manifest, index_crc) = Manifest::decode(&object)?;
    anyhow::ensure!(
        (manifest.content().topic_id, manifest.version()) == (topic_id, version),
        "it is another one"
    );
    are_there(manifest.tables(), tables)?;
    let mut leaves = stream::iter(manifest.leaves())
        .map(|leaf| read_leaf(objects, topic_id, leaf))
        .buffered(LEAVES_PARALLEL);
    while let Some(leaf) = leaves.try_next().await? {
        are_there(leaf.tables(), tables)?;
    }
    drop(leaves);
    let record = PublishedRecord {
        version,
        object_key: key.clone(),
        size_bytes: object.len() as u64,
        index_length: manifest::index_length(&object)?,
        index_crc,
    };
    Ok(FoundManifest { record, manifest })
}

/// Whether the bucket's `tables` have all that are `named`.
fn are_there(named: &[Arc<TableEntry>], tables: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    for table in named {
        let name = &table.object_key;
        let size = tables.get(name.as_str());
        let size = size.with_context(|| format!("table {name} is not in the bucket"))?;
        anyhow::ensure!(
            *size == table.size_bytes,
            "table {name} has {size} bytes, not {}",
            table.size_bytes
        );
    }
    Ok(())
}

impl FoundManifest {
    /// The largest producer id that published segments told of.
    pub(super) fn last_producer_id(&self) -> Option<i64> {
        let partitions = self.manifest.content().partitions.values();
        let producers = partitions.flat_map(|published| &published.producers);
        let ids = producers.map(|producer| producer.summary.producer_id.0);
        ids.max()
    }
}

#[cfg(test)]
mod tests {
    use alluvium_common::offset::Offset;
    use alluvium_common::topic::PartitionIndex;
    use alluvium_segment::manifest::{ManifestContent, PublishedPartition};
    use uuid::Uuid;

    use super::*;

    const TOPIC: TopicId = TopicId(Uuid::from_u128(7));

    fn found(number: u128, ends: &[i64]) -> FoundManifest {
        let partitions = (0..).zip(ends).map(|(partition, end)| {
            let published = PublishedPartition {
                next_offset: Offset::new(*end).expect("not negative"),
                ..PublishedPartition::default()
            };
            (PartitionIndex(partition), published)
        });
        let content = ManifestContent {
            version: 3,
            partitions: partitions.collect(),
            ..ManifestContent::empty(TOPIC)
        };
        let text = format!(
            "manifests/{}/{:020}/1/5/{number:032x}.manifest",
            TOPIC.0.simple(),
            3
        );
        FoundManifest {
            record: PublishedRecord {
                version: 3,
                object_key: ObjectKey::parse(&text).expect("a name"),
                size_bytes: 0,
                index_length: 0,
                index_crc: 0,
            },
            manifest: Manifest::new(content).expect("well formed"),
        }
    }

    #[test]
    fn of_one_version_the_named_one_counts_or_the_one_that_reaches_furthest() {
        let short = found(1, &[5, 5]);
        let long = found(2, &[4, 7]);
        let key = |found: Option<FoundManifest>| found.map(|found| found.record.object_key);
        let best = |named| key(best(vec![short.clone(), long.clone()], named));
        let (short_key, long_key) = (&short.record.object_key, &long.record.object_key);
        assert_eq!(best(None).as_ref(), Some(long_key));
        assert_eq!(best(Some(short_key)).as_ref(), Some(short_key));
        assert_eq!(key(super::best(Vec::new(), Some(short_key))), None);
    }
}

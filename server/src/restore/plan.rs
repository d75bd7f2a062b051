//! What to write, from what the bucket tells: pure.

use std::collections::{BTreeMap, BTreeSet};

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::coordinator::GroupShard;
use alluvium_metadata::coordinator::keys::GroupKeys;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{PartitionRecord, PublishedRecord, TailEntry, TopicRecord};
use alluvium_metadata::value;
use alluvium_segment::fold_object::FoldedCommit;
use alluvium_segment::footer::PartitionSpan;
use anyhow::Context;
use bytes::Bytes;
use uuid::Uuid;

use super::RESTORED_BROKER;
use super::manifests::FoundManifest;
use super::order::{Named, Ordered, order};
use super::partition::{Chain, Spans, Told, add_topic};
use super::scan::{Found, Segment};

/// Producer ids that are skipped beyond the largest seen: those that brokers had taken and not used, or used without
/// the bucket knowing.
const PRODUCER_IDS_SKIPPED: i64 = 1_000_000;

/// A partition as it will be.
#[derive(Debug, Clone)]
pub struct RestoredPartition {
    /// Which.
    pub tp: TopicPartition,
    /// Name of its topic.
    pub topic: TopicName,
    /// Its record.
    pub record: PartitionRecord,
    /// The offset after the last that is restored.
    pub end: i64,
    /// The same as of the snapshot.
    pub end_at_snapshot: i64,
}

/// What a restore will write.
#[derive(Debug)]
pub struct Plan {
    /// Identity of the cluster; `None`: the bucket does not say it, and it gets a new one.
    pub cluster_id: Option<Uuid>,
    /// When the snapshot was made; `None`: there is none.
    pub snapshot_ms: Option<i64>,
    /// Topics.
    pub topics: Vec<TopicRecord>,
    /// Partitions, by topic and number.
    pub partitions: Vec<RestoredPartition>,
    /// The manifests that will count.
    pub published: Vec<(TopicId, PublishedRecord)>,
    /// Commit logs with their epochs, oldest first.
    pub logs: Vec<(BrokerEpoch, Vec<FoldedCommit>)>,
    /// Keys of the snapshot that are written as they were: groups, committed offsets and others.
    pub copied: Vec<(Bytes, Bytes)>,
    /// The first producer id that may be given out.
    pub next_producer_id: i64,
    /// What a person has to know: what could not be read, is missing, or got another name.
    pub warnings: Vec<String>,
}

/// Decides.
pub fn plan(found: Found, leader: BrokerId, now_ms: i64) -> anyhow::Result<Plan> {
    let mut warnings = found.unreadable.clone();
    // Only this module sees keys without their prefix.
    let keys = Keys::new("");
    let stored = found.snapshot.iter().flat_map(|snapshot| &snapshot.keys);
    let stored: Vec<_> = stored.cloned().collect();
    let mut topics = read_topics(&stored, &mut warnings);
    let records = read_partitions(&keys, &stored, &topics, &mut warnings);
    let spans = Spans::of(&found, &records, &mut topics, now_ms, &mut warnings);
    for (topic_id, found) in &found.manifests {
        for partition in found.manifest.content().partitions.keys() {
            let tp = TopicPartition::new(*topic_id, *partition);
            add_topic(tp, &mut topics, now_ms, &mut warnings);
        }
    }

    let mut chains = BTreeMap::new();
    for tp in all_partitions(&topics) {
        let manifest = found.manifests.get(&tp.topic_id);
        let known = Told {
            record: records.get(&tp),
            manifest: manifest.map(|found| &found.manifest),
        };
        let chain = Chain::of(tp, &known, &spans, &found.segments, &mut warnings);
        chains.insert(tp, chain);
    }
    let segments = chains.iter().map(|(tp, chain)| (*tp, chain.segments()));
    let segments: BTreeMap<_, Vec<usize>> = segments.collect();
    let alone = superseded_in_part(&found.segments, &chains);
    let age = |segment: usize| {
        let segment: &Segment = &found.segments[segment];
        let header = &segment.footer.header;
        let name = segment.commit.object_key.clone();
        (header.broker_epoch, header.created_ms, name)
    };
    let ordered = order(&segments, &alone, age)
        .context("the segments contradict each other: no order of commits can have made them")?;
    let epochs = epochs_of(&ordered);
    let partitions = chains.iter().filter_map(|(tp, chain)| {
        let topic = topics.get(&tp.topic_id)?.name.clone();
        let tail = tail_of(ordered.tails.get(tp).map_or(&[], Vec::as_slice), &epochs);
        Some(RestoredPartition {
            tp: *tp,
            topic,
            record: chain.record(leader, tail, &found.segments),
            end: chain.end,
            end_at_snapshot: chain.end_at_snapshot,
        })
    });
    let partitions = partitions.collect();
    let logs = epochs.iter().zip(&ordered.logs).map(|(epoch, log)| {
        let commits = log
            .iter()
            .map(|segment| found.segments[*segment].commit.clone());
        (*epoch, commits.collect())
    });
    Ok(Plan {
        cluster_id: found.cluster_id,
        snapshot_ms: found
            .snapshot
            .as_ref()
            .map(|snapshot| snapshot.head.created_ms),
        partitions,
        logs: logs.collect(),
        topics: topics.into_values().collect(),
        published: found
            .manifests
            .iter()
            .map(|(topic_id, found)| (*topic_id, found.record.clone()))
            .collect(),
        copied: stored
            .into_iter()
            .filter(|(key, _)| is_copied(&keys, key))
            .collect(),
        next_producer_id: next_producer_id(&found),
        warnings,
    })
}

/// Whether a key of the snapshot is written as it was. The others are rewritten, or of no use to other sessions: who
/// coordinates the groups, who writes them, and which bucket it is, is found out anew.
fn is_copied(keys: &Keys, key: &[u8]) -> bool {
    let key = keys.absolute(key);
    let folders = [
        keys.all_commits(),
        keys.partitions(),
        keys.topics(),
        keys.all_published(),
        keys.group_coordinators(),
    ];
    let is_writer = || GroupShard::all().any(|shard| GroupKeys::new(keys, shard).writer() == key);
    let is_left_out = folders.iter().any(|folder| folder.contains(&key));
    let of_stores = key == keys.cluster() || key == keys.object_store();
    !(is_left_out || of_stores || is_writer())
}

fn read_topics(
    stored: &[(Bytes, Bytes)],
    warnings: &mut Vec<String>,
) -> BTreeMap<TopicId, TopicRecord> {
    let mut topics = BTreeMap::new();
    for (key, value) in stored.iter().filter(|(key, _)| key.starts_with(b"topics/")) {
        match value::decode::<TopicRecord>(value) {
            Ok(record) => {
                topics.insert(record.topic_id, record);
            }
            Err(error) => {
                let key = String::from_utf8_lossy(key);
                warnings.push(format!(
                    "{key} in the snapshot: {error}; restored under another name"
                ));
            }
        }
    }
    topics
}

fn read_partitions(
    keys: &Keys,
    stored: &[(Bytes, Bytes)],
    topics: &BTreeMap<TopicId, TopicRecord>,
    warnings: &mut Vec<String>,
) -> BTreeMap<TopicPartition, PartitionRecord> {
    let mut records = BTreeMap::new();
    for (key, value) in stored {
        let Some(tp) = keys.parse_partition(&keys.absolute(key)) else {
            continue;
        };
        // Left behind by a topic that was being deleted.
        if !topics.contains_key(&tp.topic_id) {
            continue;
        }
        match value::decode(value) {
            Ok(record) => {
                records.insert(tp, record);
            }
            Err(error) => warnings.push(format!("partition {tp} in the snapshot: {error}")),
        }
    }
    records
}

fn all_partitions(topics: &BTreeMap<TopicId, TopicRecord>) -> impl Iterator<Item = TopicPartition> {
    topics.values().flat_map(|topic| {
        let indexes = 0..topic.partition_count;
        indexes.map(|index| TopicPartition::new(topic.topic_id, PartitionIndex(index)))
    })
}

/// Segments with a part that a restored partition does not use, though it lies behind its log start and is not published.
fn superseded_in_part(
    segments: &[Segment],
    chains: &BTreeMap<TopicPartition, Chain>,
) -> BTreeSet<usize> {
    let used: BTreeMap<_, BTreeSet<usize>> = chains
        .iter()
        .map(|(tp, chain)| (*tp, chain.segments().into_iter().collect()))
        .collect();
    let is_unused = |number: usize, part: &PartitionSpan| {
        chains.get(&part.tp).is_some_and(|chain| {
            part.next_offset.get() > chain.start && !used[&part.tp].contains(&number)
        })
    };
    segments
        .iter()
        .enumerate()
        .filter(|(number, segment)| {
            let mut parts = segment.footer.partitions.iter();
            parts.any(|part| is_unused(*number, part))
        })
        .map(|(number, _)| number)
        .collect()
}

/// The youngest log has epoch -1: all are older than the first revision of any store, and none is 0, which is the
/// revision of a session's key that is not there.
fn epochs_of(ordered: &Ordered) -> Vec<BrokerEpoch> {
    let count = ordered.logs.len() as i64;
    (0..count).map(|log| BrokerEpoch(log - count)).collect()
}

fn tail_of(named: &[Named], epochs: &[BrokerEpoch]) -> Vec<TailEntry> {
    let entries = named.iter().filter_map(|(log, first_seq, last_seq)| {
        Some(TailEntry {
            broker_id: RESTORED_BROKER,
            broker_epoch: *epochs.get(*log)?,
            first_seq: *first_seq,
            last_seq: Some(*last_seq),
        })
    });
    entries.collect()
}

fn next_producer_id(found: &Found) -> i64 {
    let spans = found
        .segments
        .iter()
        .flat_map(|segment| &segment.footer.partitions);
    let ids = spans
        .flat_map(|span| &span.producers)
        .map(|producer| producer.producer_id.0);
    let manifests = found.manifests.values();
    let ids = ids.chain(manifests.filter_map(FoundManifest::last_producer_id));
    ids.max().unwrap_or(0).saturating_add(PRODUCER_IDS_SKIPPED)
}

#[cfg(test)]
mod tests {
    use alluvium_metadata::coordinator::group_shard;

    use super::*;

    #[test]
    fn groups_are_copied_and_who_writes_them_is_not() {
        let keys = Keys::new("");
        let group = "writer".into();
        let shard = GroupKeys::new(&keys, group_shard(&group));
        let tp = TopicPartition::new(TopicId(Uuid::from_u128(1)), PartitionIndex(0));
        for (key, copied) in [
            (shard.group(&group), true),
            (shard.offset(&group, &tp), true),
            (keys.drain(BrokerId(1)), true),
            (shard.writer(), false),
            (keys.group_coordinator(group_shard(&group)), false),
            (keys.cluster(), false),
            (keys.object_store(), false),
            (keys.partition(tp), false),
            (keys.published(tp.topic_id), false),
            (keys.commit(BrokerId(1), BrokerEpoch(1), 1), false),
        ] {
            let relative = keys.relative(&key).expect("of the cluster");
            assert_eq!(is_copied(&keys, relative), copied, "{key:?}");
        }
    }

    #[test]
    fn the_epochs_of_restored_logs_are_those_of_no_session() {
        let ordered = Ordered {
            logs: vec![Vec::new(); 3],
            ..Ordered::default()
        };
        assert_eq!(epochs_of(&ordered), [-3, -2, -1].map(BrokerEpoch));
    }
}

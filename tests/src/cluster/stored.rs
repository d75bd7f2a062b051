//! All commit logs and the footers of their objects, read past the brokers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use alluvium_common::topic::TopicId;
use alluvium_metadata::commit_log::{LogEntry, drop_covered};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{FoldRecord, PartitionRecord, PublishedRecord};
use alluvium_metadata::store::{KeyValue, MetadataStoreExt};
use alluvium_metadata::value;
use alluvium_segment::fold_object::{FoldIndex, FoldedCommit};
use alluvium_segment::footer::Footer;
use alluvium_segment::manifest::Manifest;
use alluvium_segment::object_key::ObjectKey;

use super::{CLUSTER, Cluster, PREFIX};
use crate::history::Partition;
use crate::history::stored::{Span, Stored, StoredCommit, StoredPartition};
use crate::s3::S3Server;

/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

impl Cluster {
    /// What etcd and the bucket hold now.
    pub async fn stored(&self) -> Stored {
        let (store, keys) = (self.etcd.store().await, Keys::new(CLUSTER));
        let (_, commits) = store.list(keys.all_commits()).await.expect("etcd answers");
        let (_, partitions) = store.list(keys.partitions()).await.expect("etcd answers");
        let published = store
            .list(keys.all_published())
            .await
            .expect("etcd answers");
        let published = manifests(&keys, &published.1, &self.s3);
        let logs = logs(&keys, &commits);
        Stored {
            dropped: logs
                .iter()
                .filter_map(|((broker, epoch), entries)| {
                    let (LogEntry::Dropped(dropped), _) = entries.first()? else {
                        return None;
                    };
                    Some((*broker, *epoch, dropped.last_seq))
                })
                .collect(),
            commits: logs
                .into_iter()
                .flat_map(|(log, entries)| commits_of(log, entries, &self.s3))
                .collect(),
            partitions: partitions
                .iter()
                .map(|kv| partition(&keys, kv, &published))
                .collect(),
        }
    }
}

impl Cluster {
    /// Whether something is published of a topic that is there, within `patience`.
    pub async fn publishes(&self, patience: Duration) -> bool {
        let (store, keys) = (self.etcd.store().await, Keys::new(CLUSTER));
        let published = async {
            loop {
                let (_, kvs) = store
                    .list(keys.all_published())
                    .await
                    .expect("etcd answers");
                for kv in kvs {
                    let topic_id = keys.parse_published(&kv.key).expect("a topic's key");
                    let partitions = store.list(keys.partitions_of(topic_id)).await;
                    if !partitions.expect("etcd answers").1.is_empty() {
                        return;
                    }
                }
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        };
        tokio::time::timeout(patience, published).await.is_ok()
    }
}

/// A commit log: broker and session.
type Log = (i32, i64);

/// The entries of each log, in order, and how often the key of each was written.
fn logs(keys: &Keys, kvs: &[KeyValue]) -> BTreeMap<Log, Vec<(LogEntry, u64)>> {
    let mut logs: BTreeMap<Log, Vec<_>> = BTreeMap::new();
    for kv in kvs {
        let (broker, epoch, seq) = keys.parse_commit(&kv.key).expect("a commit's key");
        let entry = LogEntry::decode(seq, &kv.value).expect("a commit or a fold");
        let log = logs.entry((broker.0, epoch.0)).or_default();
        log.push((entry, kv.version));
    }
    logs
}

/// The commits that the entries of a log stand for. A commit that reached etcd once more, long after its answer was given
/// up and its entry was folded, counts once, as it does for brokers.
fn commits_of(log: Log, entries: Vec<(LogEntry, u64)>, s3: &S3Server) -> Vec<StoredCommit> {
    let writes: HashMap<u64, u64> = entries
        .iter()
        .map(|(entry, writes)| (entry.last_seq(), *writes))
        .collect();
    let entries = entries.into_iter().map(|(entry, _)| entry).collect();
    let counted = drop_covered(entries).into_iter();
    let commits = counted.flat_map(|entry| match entry {
        LogEntry::Fold(fold) => {
            let folded = folded(&fold, s3).into_iter();
            // Of how often the key was written nothing is known any more.
            let folded = folded.map(|(seq, commit)| (seq, 1, commit.object_key, commit.size_bytes));
            folded.collect()
        }
        LogEntry::Commit { seq, record } => {
            vec![(seq, writes[&seq], record.object_key, record.size_bytes)]
        }
        LogEntry::Dropped(_) => Vec::new(),
    });
    commits
        .map(|(seq, writes, object_key, size_bytes)| {
            let footer = footer(&object_key, size_bytes, s3);
            stored(log, seq, writes, &object_key, footer)
        })
        .collect()
}

/// What a fold stands for; a fold that is not whole stands for nothing, and leaves a gap.
fn folded(fold: &FoldRecord, s3: &S3Server) -> Vec<(u64, FoldedCommit)> {
    let Some(object) = s3.object(&format!("{PREFIX}/{}", fold.object_key)) else {
        return Vec::new();
    };
    let index = FoldIndex::decode(&object);
    let all = index.and_then(|index| index.open_all(&object));
    all.unwrap_or_default()
}

fn stored(
    (broker, broker_epoch): Log,
    seq: u64,
    writes: u64,
    object: &ObjectKey,
    footer: Option<Footer>,
) -> StoredCommit {
    let spans = footer.iter().flat_map(|footer| &footer.partitions);
    StoredCommit {
        broker,
        broker_epoch,
        seq,
        writes,
        object: object.to_string(),
        is_whole: footer.is_some(),
        spans: spans
            .map(|span| Span {
                partition: Partition {
                    topic: span.tp.topic_id.0,
                    index: span.tp.partition.0,
                },
                from: span.base_offset.get(),
                to: span.next_offset.get(),
            })
            .collect(),
    }
}

/// The footer of an object, if that has the size that was committed.
fn footer(object_key: &ObjectKey, size_bytes: u64, s3: &S3Server) -> Option<Footer> {
    let object = s3.object(&format!("{PREFIX}/{object_key}"))?;
    let is_whole = object.len() as u64 == size_bytes;
    Footer::decode(&object).ok().filter(|_| is_whole)
}

/// The manifests that count; one that is not whole publishes nothing, and what was dropped for it is missing.
fn manifests(keys: &Keys, kvs: &[KeyValue], s3: &S3Server) -> HashMap<TopicId, Manifest> {
    let read = kvs.iter().filter_map(|kv| {
        let topic_id = keys.parse_published(&kv.key).expect("a topic's key");
        let record: PublishedRecord = value::decode(&kv.value).expect("a record");
        let object = s3.object(&format!("{PREFIX}/{}", record.object_key))?;
        let manifest = record.manifest(topic_id).open(&object).ok()?;
        Some((topic_id, manifest))
    });
    read.collect()
}

fn partition(
    keys: &Keys,
    kv: &KeyValue,
    published: &HashMap<TopicId, Manifest>,
) -> StoredPartition {
    let tp = keys.parse_partition(&kv.key).expect("a partition's key");
    let record: PartitionRecord = value::decode(&kv.value).expect("a partition");
    let tail = record.tail.iter();
    StoredPartition {
        partition: Partition {
            topic: tp.topic_id.0,
            index: tp.partition.0,
        },
        log_start: record.log_start.get(),
        published_end: published
            .get(&tp.topic_id)
            .map_or(0, |manifest| manifest.published_end(tp.partition).get()),
        epochs: record
            .epoch_history
            .iter()
            .map(|epoch| (epoch.leader_epoch.0, epoch.start.get()))
            .collect(),
        tail: tail
            .map(|entry| {
                let (broker, epoch) = (entry.broker_id.0, entry.broker_epoch.0);
                (broker, epoch, entry.first_seq, entry.last_seq)
            })
            .collect(),
    }
}

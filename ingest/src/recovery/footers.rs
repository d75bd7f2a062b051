//! Committed segments, read through their footers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::commit_log::{ReadCommitsError, read_commit_log};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{CommitRecord, PartitionRecord, TailEntry};
use alluvium_metadata::store::MetadataStore;
use alluvium_segment::footer::{Footer, TRAILER_BYTES};
use alluvium_segment::segment_index::SegmentRef;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{PartitionImage, RecoveryError};

/// Footers read at the same time: enough to hide the latency of a bucket, few enough that their
/// memory does not matter.
const FOOTERS_PARALLEL_MAX: usize = 32;

/// Where commit logs are read from.
pub trait CommitReader: Send + Sync {
    /// The entries of one session's log from `first_seq` on, in order, without gaps.
    fn read(
        &self,
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
        first_seq: u64,
    ) -> BoxFuture<'_, Result<Vec<(u64, CommitRecord)>, ReadCommitsError>>;
}

/// The commit logs in the metadata store.
pub struct MetadataCommits {
    /// The store.
    pub store: Arc<dyn MetadataStore>,
    /// Its keys.
    pub keys: Keys,
}

impl CommitReader for MetadataCommits {
    fn read(
        &self,
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
        first_seq: u64,
    ) -> BoxFuture<'_, Result<Vec<(u64, CommitRecord)>, ReadCommitsError>> {
        read_commit_log(&*self.store, &self.keys, broker_id, broker_epoch, first_seq).boxed()
    }
}

/// What committed segments hold of `partitions`. Each commit log and each footer is read once.
pub async fn load(
    commits: &dyn CommitReader,
    objects: &Arc<dyn ObjectStore>,
    partitions: Vec<(TopicPartition, PartitionRecord)>,
) -> Result<Vec<PartitionImage>, RecoveryError> {
    let wanted = Wanted::of(&partitions);
    let mut images: HashMap<_, _> = partitions
        .into_iter()
        .map(|(tp, record)| (tp, PartitionImage::new(tp, record)))
        .collect();
    // Broker epochs come from one counter, so their order is the order in time.
    for ((broker_epoch, broker_id), first_seq) in &wanted.logs {
        let log = commits.read(*broker_id, *broker_epoch, *first_seq).await?;
        let mut footers = futures::stream::iter(log)
            .map(|(sequence, record)| async move {
                let footer = read_footer(objects, &record).await?;
                Ok::<_, RecoveryError>((sequence, record, footer))
            })
            .buffered(FOOTERS_PARALLEL_MAX);
        while let Some((sequence, record, footer)) = footers.try_next().await? {
            add_segment(&mut images, sequence, record, &footer)?;
        }
    }
    let mut images: Vec<_> = images.into_values().collect();
    images.sort_unstable_by_key(|image| image.tp);
    Ok(images)
}

/// The commit logs to read, in order of time, each from the first entry that any partition wants.
struct Wanted {
    logs: BTreeMap<(BrokerEpoch, BrokerId), u64>,
}

impl Wanted {
    fn of(partitions: &[(TopicPartition, PartitionRecord)]) -> Self {
        let mut logs = BTreeMap::new();
        for entry in partitions.iter().flat_map(|(_, record)| &record.tail) {
            logs.entry((entry.broker_epoch, entry.broker_id))
                .and_modify(|first: &mut u64| *first = entry.first_seq.min(*first))
                .or_insert(entry.first_seq);
        }
        Self { logs }
    }
}

fn add_segment(
    images: &mut HashMap<TopicPartition, PartitionImage>,
    sequence: u64,
    record: CommitRecord,
    footer: &Footer,
) -> Result<(), RecoveryError> {
    let header = &footer.header;
    let segment = Arc::new(SegmentRef {
        object_key: record.object_key,
        size_bytes: record.size_bytes,
    });
    for span in &footer.partitions {
        // Of deleted topics, and of partitions that others lead.
        let Some(image) = images.get_mut(&span.tp) else {
            continue;
        };
        let names_it = |entry: &&TailEntry| {
            entry.broker_id == header.broker_id
                && entry.broker_epoch == header.broker_epoch
                && entry.first_seq <= sequence
                && entry.last_seq.is_none_or(|last| sequence <= last)
        };
        let Some(entry) = image.record.tail.iter().find(names_it).copied() else {
            continue;
        };
        image.add(entry, sequence, &segment, header.created_ms, span)?;
    }
    Ok(())
}

async fn read_footer(
    objects: &Arc<dyn ObjectStore>,
    record: &CommitRecord,
) -> Result<Footer, RecoveryError> {
    match try_read_footer(objects, record).await {
        // Damaged on the way, perhaps: one more look.
        Err(RecoveryError::Footer { .. }) => try_read_footer(objects, record).await,
        result => result,
    }
}

async fn try_read_footer(
    objects: &Arc<dyn ObjectStore>,
    record: &CommitRecord,
) -> Result<Footer, RecoveryError> {
    let key = &record.object_key;
    let path = Path::from(key.as_str());
    let start = record
        .size_bytes
        .saturating_sub(u64::from(record.footer_length));
    let bytes = objects.get_range(&path, start..record.size_bytes).await;
    let bytes = bytes.map_err(|source| RecoveryError::Object {
        key: key.clone(),
        source,
    })?;
    let footer = Footer::decode(&bytes).map_err(|error| RecoveryError::footer(key, &error))?;
    let sections = bytes.len().saturating_sub(TRAILER_BYTES);
    if crc32c::crc32c(&bytes[..sections]) != record.footer_crc {
        return Err(RecoveryError::Footer {
            key: key.clone(),
            what: "its footer is not the one that was committed".into(),
        });
    }
    Ok(footer)
}

//! Committed segments, read through their footers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::commit_log::{ReadCommitsError, read_commit_log};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{CommitRecord, PartitionRecord};
use alluvium_metadata::store::{MetadataStore, MetadataStoreExt, StoreError};
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

    /// Whether nothing can be added any more to the log of that session (F2).
    fn is_frozen(
        &self,
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;
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

    /// Every commit compares the session's key. Once that is gone, or another session's, it never comes back.
    fn is_frozen(
        &self,
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let session = self.store.get(self.keys.broker(broker_id));
        async move {
            let session = session.await?;
            Ok(session.is_none_or(|kv| BrokerEpoch::from(kv.create_revision) != broker_epoch))
        }
        .boxed()
    }
}

/// What committed segments hold of `partitions`. Each commit log and each footer is read once, whatever the number
/// of partitions. `own` is the session that will lead them: to its log nothing is added of partitions that it has not
/// opened, so that it may be read while it grows.
pub async fn load(
    commits: &dyn CommitReader,
    objects: &Arc<dyn ObjectStore>,
    own: (BrokerId, BrokerEpoch),
    partitions: Vec<(TopicPartition, PartitionRecord)>,
) -> Result<Vec<PartitionImage>, RecoveryError> {
    let wanted = Wanted::of(&partitions);
    let mut images: HashMap<_, _> = partitions
        .into_iter()
        .map(|(tp, record)| (tp, PartitionImage::new(tp, record)))
        .collect();
    for (log, part) in &wanted.logs {
        if part.is_open && *log != own && !commits.is_frozen(log.0, log.1).await? {
            return Err(RecoveryError::StillLed {
                broker_id: log.0,
                broker_epoch: log.1,
            });
        }
        let entries = commits.read(log.0, log.1, part.first_seq).await?;
        let entries = entries.into_iter().filter(|(seq, _)| *seq <= part.last_seq);
        let mut footers = futures::stream::iter(entries)
            .map(|(sequence, record)| async move {
                let footer = read_footer(objects, &record).await?;
                Ok::<_, RecoveryError>((sequence, record, footer))
            })
            .buffered(FOOTERS_PARALLEL_MAX);
        while let Some((sequence, record, footer)) = footers.try_next().await? {
            find_spans(&mut images, *log, sequence, record, footer);
        }
    }
    let images = images.into_values().map(PartitionImage::indexed);
    let mut images = images.collect::<Result<Vec<_>, _>>()?;
    images.sort_unstable_by_key(|image| image.tp);
    Ok(images)
}

/// The commit logs to read.
struct Wanted {
    logs: BTreeMap<(BrokerId, BrokerEpoch), LogPart>,
}

/// What any partition wants of a log.
struct LogPart {
    first_seq: u64,
    last_seq: u64,
    /// Some partition wants all that was ever added.
    is_open: bool,
}

impl Wanted {
    fn of(partitions: &[(TopicPartition, PartitionRecord)]) -> Self {
        let mut logs: BTreeMap<_, LogPart> = BTreeMap::new();
        for entry in partitions.iter().flat_map(|(_, record)| &record.tail) {
            let last_seq = entry.last_seq.unwrap_or(u64::MAX);
            let is_open = entry.last_seq.is_none();
            logs.entry((entry.broker_id, entry.broker_epoch))
                .and_modify(|part| {
                    part.first_seq = part.first_seq.min(entry.first_seq);
                    part.last_seq = part.last_seq.max(last_seq);
                    part.is_open |= is_open;
                })
                .or_insert(LogPart {
                    first_seq: entry.first_seq,
                    last_seq,
                    is_open,
                });
        }
        Self { logs }
    }
}

/// Gives the images what a segment holds of them. Of deleted topics, and of partitions that others lead, nobody
/// wants anything.
fn find_spans(
    images: &mut HashMap<TopicPartition, PartitionImage>,
    log: (BrokerId, BrokerEpoch),
    sequence: u64,
    record: CommitRecord,
    footer: Footer,
) {
    let created_ms = footer.header.created_ms;
    let segment = Arc::new(SegmentRef {
        object_key: record.object_key,
        size_bytes: record.size_bytes,
    });
    for span in footer.partitions {
        if let Some(image) = images.get_mut(&span.tp) {
            let segment = Arc::clone(&segment);
            image.find(log, sequence, segment, created_ms, span);
        }
    }
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

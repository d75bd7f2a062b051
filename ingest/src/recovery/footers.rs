//! Committed segments, read through their footers.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::seeded_bug;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::commit_log::{LogEntry, ReadCommitsError, read_commit_log};
use alluvium_metadata::compaction::{PublicationWriter, ReadPublishedError};
use alluvium_metadata::fold::LogId;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::store::{MetadataStore, MetadataStoreExt, StoreError};
use alluvium_segment::segment_index::SegmentRef;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::ObjectStore;

use super::read::{Committed, Reader, Unit};
use super::wanted::{SeqRanges, Wanted};
use super::{PartitionImage, RecoveryError};

/// Units read at the same time, each a footer or about a mebibyte of a fold: enough to hide the latency of a bucket,
/// few enough that their memory does not matter.
const READS_PARALLEL_MAX: usize = 32;

/// Where commit logs are read from.
pub trait CommitReader: Send + Sync {
    /// The entries of one session's log from `first_seq` on, in order, without gaps. A fold that begins before
    /// `first_seq` is the first then.
    fn read(
        &self,
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
        first_seq: u64,
    ) -> BoxFuture<'_, Result<Vec<LogEntry>, ReadCommitsError>>;

    /// Whether nothing can be added any more to the log of that session (F2).
    fn is_frozen(
        &self,
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The versions of the manifests that count now.
    fn published(&self) -> BoxFuture<'_, Result<HashMap<TopicId, u64>, ReadPublishedError>>;
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
    ) -> BoxFuture<'_, Result<Vec<LogEntry>, ReadCommitsError>> {
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

    fn published(&self) -> BoxFuture<'_, Result<HashMap<TopicId, u64>, ReadPublishedError>> {
        let reader = PublicationWriter::new(Arc::clone(&self.store), self.keys.clone());
        async move {
            let all = reader.read_all().await?;
            Ok(all
                .into_iter()
                .map(|(id, record)| (id, record.version))
                .collect())
        }
        .boxed()
    }
}

/// What committed segments hold of the partitions of `images`. Each commit log, each footer and each wanted part of a fold is read
/// once, whatever the number of partitions. `own` is the session that will lead them: to its log nothing is added of
/// partitions that it has not opened, so that it may be read while it grows.
pub async fn load(
    commits: &dyn CommitReader,
    objects: &Arc<dyn ObjectStore>,
    own: (BrokerId, BrokerEpoch),
    images: Vec<PartitionImage>,
) -> Result<Vec<PartitionImage>, RecoveryError> {
    let wanted = Wanted::of(images.iter().map(|image| &image.record));
    let mut images: HashMap<_, _> = images.into_iter().map(|image| (image.tp, image)).collect();
    let reader = Reader { objects };
    for (log, ranges) in &wanted.logs {
        let LogId {
            broker_id,
            broker_epoch,
        } = *log;
        let is_own = (broker_id, broker_epoch) == own;
        if ranges.is_open()
            && !is_own
            && !seeded_bug::is("frozen-not-checked")
            && !commits.is_frozen(broker_id, broker_epoch).await?
        {
            return Err(RecoveryError::StillLed {
                broker_id,
                broker_epoch,
            });
        }
        let entries = commits
            .read(broker_id, broker_epoch, ranges.first())
            .await?;
        let units = units_of(&reader, entries, ranges).await?;
        let mut read = futures::stream::iter(units)
            .map(|unit| reader.read(unit, ranges))
            .buffered(READS_PARALLEL_MAX);
        while let Some(committed) = read.try_next().await? {
            for segment in committed {
                find_spans(&mut images, *log, segment);
            }
        }
    }
    // What the logs do not have any more was published before they were read. Were the manifests older than that, a
    // partition might seem to end where they do.
    let published = commits.published().await?;
    if let Some(behind) = images.values().find(|image| image.is_behind(&published)) {
        return Err(RecoveryError::ManifestBehind { tp: behind.tp });
    }
    let images = images.into_values().map(PartitionImage::indexed);
    let mut images = images.collect::<Result<Vec<_>, _>>()?;
    images.sort_unstable_by_key(|image| image.tp);
    Ok(images)
}

/// What to read of a log, in order. The indexes of large folds are read for that.
async fn units_of(
    reader: &Reader<'_>,
    entries: Vec<LogEntry>,
    ranges: &SeqRanges,
) -> Result<Vec<Unit>, RecoveryError> {
    let wanted = entries
        .into_iter()
        .filter(|entry| ranges.touches(entry.first_seq(), entry.last_seq()));
    let units: Vec<Vec<Unit>> = futures::stream::iter(wanted)
        .map(|entry| reader.units(entry, ranges))
        .buffered(READS_PARALLEL_MAX)
        .try_collect()
        .await?;
    Ok(units.into_iter().flatten().collect())
}

/// Gives the images what a segment holds of them. Of deleted topics, and of partitions that others lead, nobody
/// wants anything.
fn find_spans(
    images: &mut HashMap<TopicPartition, PartitionImage>,
    log: LogId,
    committed: Committed,
) {
    let Committed {
        seq,
        object_key,
        size_bytes,
        footer,
    } = committed;
    let created_ms = footer.header.created_ms;
    let segment = Arc::new(SegmentRef {
        object_key,
        size_bytes,
    });
    // By the log and not by the footer: a restored cluster has the segments of former sessions in one log.
    for span in footer.partitions {
        if let Some(image) = images.get_mut(&span.tp) {
            image.find(log, seq, Arc::clone(&segment), created_ms, span);
        }
    }
}

//! Sealed segments become objects: one attempt at encoding and putting one of them.
//!
//! Every attempt uses a new name, so a PUT whose answer was lost, or that arrives late, never meets
//! another one; only the commit makes an object visible, and what no commit names is an orphan for
//! the collector. Encoding is CPU work (zstd, checksums) and reading spilled batches is disk work:
//! both run on threads of their own kind, few at a time, so that they cannot starve the listeners.

mod encoders;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::SharedClock;
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::rand::SharedRandom;
use alluvium_common::seeded_bug;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::object_key::{ObjectKey, SegmentName};
use alluvium_segment::record_batch::StoredBatch;
use alluvium_segment::segment_object::{
    EncodeOptions, EncodedSegment, SegmentEntry, SegmentHeader, encode,
};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::metrics::IngestMetrics;
use crate::open_segment::{Contents, ItemBody, SegmentItem};
use crate::seams::WalCopy;

pub(crate) use encoders::Encoders;
pub use queue::UploadLimits;
pub(crate) use queue::{InFlight, UploadQueue};

/// How long an attempt may take. A PUT that hangs is given up, since the next one may not. After
/// failures the share of the size is doubled, up to eight times, so that a slow link gets there too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PutTimeout {
    /// For any PUT.
    pub base: Duration,
    /// And this much more for each MiB.
    pub per_mib: Duration,
}

impl Default for PutTimeout {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(4),
            per_mib: Duration::from_millis(250),
        }
    }
}

impl PutTimeout {
    fn of(&self, bytes: u64, failures_in_a_row: u32) -> Duration {
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        let patience = 1 << failures_in_a_row.min(3);
        self.base + self.per_mib.saturating_mul(mib).saturating_mul(patience)
    }
}

/// A segment from its sealing to its commit. Shared: memory may be taken from it while it is being
/// uploaded (the attempt holds its own references).
pub(crate) struct SealedSegment {
    /// Its place in the commit log.
    pub(crate) sequence: u64,
    /// Whether producers wait for its commit.
    pub(crate) urgent: bool,
    /// Bytes of its batches.
    pub(crate) bytes: usize,
    /// Batches ever pushed into open segments, up to the last one in here.
    pub(crate) pushed: u64,
    pub(crate) items: Mutex<Vec<SegmentItem>>,
}

impl SealedSegment {
    pub(crate) fn new(sequence: u64, contents: Contents) -> Self {
        Self {
            sequence,
            urgent: contents.has_waiter,
            bytes: contents.bytes,
            pushed: contents.pushed,
            items: Mutex::new(contents.items),
        }
    }

    /// Leaves to the write-ahead log what it has; returns how many batches left memory.
    pub(crate) fn spill(&self) -> usize {
        let mut items = self.items.lock();
        items
            .iter_mut()
            .filter_map(|item| item.spill().then_some(()))
            .count()
    }

    /// The commit stands: memory is given back, and the write-ahead log need not keep the batches.
    pub(crate) fn release(&self) {
        for item in self.items.lock().drain(..) {
            if let Some(wal) = item.wal {
                wal.release();
            }
        }
    }

    fn sources(&self) -> Vec<Source> {
        let items = self.items.lock();
        items
            .iter()
            .map(|item| Source {
                tp: item.partition.tp(),
                bytes: match (&item.body, &item.wal) {
                    (ItemBody::Memory { batch, .. }, _) => SourceBytes::Memory(batch.clone()),
                    (ItemBody::Spilled, Some(wal)) => SourceBytes::Wal(Arc::clone(wal)),
                    (ItemBody::Spilled, None) => unreachable!("only a logged batch is spilled"),
                },
            })
            .collect()
    }
}

struct Source {
    tp: TopicPartition,
    bytes: SourceBytes,
}

enum SourceBytes {
    Memory(StoredBatch),
    Wal(Arc<dyn WalCopy>),
}

/// A segment in object storage that is not committed yet.
pub(crate) struct UploadedSegment {
    pub(crate) sealed: Arc<SealedSegment>,
    pub(crate) object_key: ObjectKey,
    pub(crate) encoded: EncodedSegment,
}

/// Why an attempt failed. All of them are tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the object store: {0}")]
    Put(#[from] object_store::Error),
    #[error("no answer from the object store after {0:?}")]
    TimedOut(Duration),
    #[error("reading the write-ahead log back: {0}")]
    Wal(#[from] std::io::Error),
    #[error("encoding: {0}")]
    Encode(#[from] alluvium_segment::FormatError),
    #[error(transparent)]
    Stopped(#[from] alluvium_common::background::BackgroundStopped),
}

/// Makes attempts. One per pipeline.
pub(crate) struct Uploader {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) broker_id: BrokerId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) encode: EncodeOptions,
    pub(crate) timeout: PutTimeout,
    pub(crate) metrics: IngestMetrics,
    pub(crate) encoders: Encoders,
}

impl Uploader {
    /// One attempt, under a new name.
    pub(crate) async fn attempt(
        &self,
        sealed: &Arc<SealedSegment>,
        failures_in_a_row: u32,
    ) -> Result<UploadedSegment, UploadError> {
        let encoded = self.encode(sealed).await?;
        let object_key = ObjectKey::segment(&SegmentName {
            broker_id: self.broker_id,
            broker_epoch: self.broker_epoch,
            id: match seeded_bug::is("object-name-reused") {
                true => uuid::Uuid::max(),
                false => self.random.uuid(),
            },
        });
        let limit = self.timeout.of(encoded.size_bytes, failures_in_a_row);
        self.put(&object_key, &encoded, limit).await?;
        Ok(UploadedSegment {
            sealed: Arc::clone(sealed),
            object_key,
            encoded,
        })
    }

    async fn encode(&self, sealed: &Arc<SealedSegment>) -> Result<EncodedSegment, UploadError> {
        let header = SegmentHeader {
            broker_id: self.broker_id,
            broker_epoch: self.broker_epoch,
            created_ms: self.clock.now_ms(),
        };
        let (sealed, options, urgent) = (Arc::clone(sealed), self.encode, sealed.urgent);
        let work = move || encode_sources(&header, sealed.sources(), &options);
        self.encoders.run(urgent, work).await?
    }

    async fn put(
        &self,
        key: &ObjectKey,
        encoded: &EncodedSegment,
        limit: Duration,
    ) -> Result<(), UploadError> {
        let started = Instant::now();
        let payload: PutPayload = encoded.chunks.iter().cloned().collect();
        let path = Path::from(key.as_str());
        tokio::time::timeout(limit, self.store.put(&path, payload))
            .await
            .map_err(|_| UploadError::TimedOut(limit))??;
        self.metrics
            .put_seconds
            .observe(started.elapsed().as_secs_f64());
        self.metrics.uploaded_bytes.inc_by(encoded.size_bytes);
        let parts = encoded.footer.partitions.iter();
        let parts = parts.map(|span| (span.tp.topic_id, span.stored_bytes()));
        self.metrics.by_topic.put_shared(parts);
        Ok(())
    }
}

fn encode_sources(
    header: &SegmentHeader,
    sources: Vec<Source>,
    options: &EncodeOptions,
) -> Result<EncodedSegment, UploadError> {
    let mut entries = Vec::with_capacity(sources.len());
    for source in sources {
        let batch = match source.bytes {
            SourceBytes::Memory(batch) => batch,
            SourceBytes::Wal(spilled) => spilled.read()?,
        };
        entries.push(SegmentEntry {
            tp: source.tp,
            batch,
        });
    }
    Ok(encode(header, entries, options)?)
}

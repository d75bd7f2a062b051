//! Manifests: which table files hold which offsets of a topic, and what a leader must know of the segments that were
//! published. `README.md` shows the bytes.
//!
//! A manifest is never changed. The metadata store names the one that counts, by name, size and checksum, and moves on
//! to the next by a compare-and-set; what the next one does not name any more is garbage after a while.
//!
//! The manifest of a topic with many table files has two levels: see [`Leaf`].

mod clean;
mod codec;
mod entries;
mod leaf;
mod leaf_codec;
mod lookup;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use alluvium_common::limits::PRODUCER_BATCHES_REMEMBERED;
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId};
use bytes::Bytes;

use crate::error::FormatError;
use crate::footer::ProducerSummary;
use crate::object_key::ObjectKey;

pub use clean::{CleanState, TOMBSTONE_MARKS_MAX, TombstoneMark};
pub use codec::{MANIFEST_VERSION, index_length};
pub use leaf::{Leaf, LeafEntry, LeafSpan};
pub use leaf_codec::LEAF_VERSION;
pub use lookup::{Holder, Manifest, RootSpan, TableSpan};

/// A manifest as the metadata store names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRef {
    /// Of which topic.
    pub topic_id: TopicId,
    /// Its version.
    pub version: u64,
    /// Its name.
    pub object_key: ObjectKey,
    /// Its size.
    pub size_bytes: u64,
    /// Checksum of its index.
    pub index_crc: u32,
}

impl ManifestRef {
    /// Reads the manifest from the bytes of the object.
    ///
    /// # Errors
    /// The object is damaged, or another than the one that was meant.
    pub fn open(&self, object: &Bytes) -> Result<Manifest, FormatError> {
        let (manifest, index_crc) = Manifest::decode(object)?;
        let found = (manifest.content().topic_id, manifest.version(), index_crc);
        match found == (self.topic_id, self.version, self.index_crc) {
            true => Ok(manifest),
            false => Err(FormatError::Malformed(
                "manifest: it is not the one that counts",
            )),
        }
    }
}

/// A table file as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// Its name.
    pub object_key: ObjectKey,
    /// Its size.
    pub size_bytes: u64,
    /// Last bytes of the file to read before anything else of it.
    pub tail_length: u32,
    /// Their CRC-32C. They hold the checksums of all bytes before.
    pub tail_crc: u32,
    /// What it holds of which partition, sorted by partition, each at most once.
    pub spans: Vec<SpanEntry>,
}

impl TableEntry {
    /// Bytes of keys, values and headers of all its records.
    pub(crate) fn raw_bytes(&self) -> u64 {
        let spans = self.spans.iter().map(|span| span.raw_bytes);
        spans.fold(0, u64::saturating_add)
    }
}

/// The offsets of one partition that a table file answers for. Not each of them need have a record: control records are
/// not published, and key compaction leaves gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanEntry {
    /// The partition.
    pub partition: PartitionIndex,
    /// First offset.
    pub base_offset: Offset,
    /// The offset after the last.
    pub next_offset: Offset,
    /// Records in it.
    pub records: u64,
    /// Bytes of keys, values and headers.
    pub raw_bytes: u64,
    /// Smallest timestamp, in milliseconds since the Unix epoch; meaningless without records.
    pub min_timestamp: i64,
    /// Largest timestamp; meaningless without records.
    pub max_timestamp: i64,
}

/// What is published of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedPartition {
    /// First offset that is not published: the watermark of the table (I20). Segments below are not needed.
    pub next_offset: Offset,
    /// Its idempotent producers as of that offset, sorted by id: what footers told of them.
    pub producers: Vec<PublishedProducer>,
    /// How far key compaction has come.
    pub clean: CleanState,
}

/// One idempotent producer, as the footers of published segments tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedProducer {
    /// Its last batches.
    pub summary: ProducerSummary,
    /// When it was last heard of, in milliseconds since the Unix epoch.
    pub last_seen_ms: i64,
}

impl PublishedPartition {
    /// Takes in what the footer of the next segment, created at `created_ms`, tells of producers.
    pub fn add_producers(&mut self, producers: &[ProducerSummary], created_ms: i64) {
        for summary in producers {
            let place = self
                .producers
                .binary_search_by_key(&summary.producer_id, |known| known.summary.producer_id);
            match place {
                Ok(at) => self.producers[at].add(summary, created_ms),
                Err(at) => {
                    let new = PublishedProducer {
                        summary: summary.clone(),
                        last_seen_ms: created_ms,
                    };
                    self.producers.insert(at, new);
                }
            }
        }
    }

    /// Forgets producers not heard of since `before_ms`, which a leader would forget too.
    pub fn forget_producers(&mut self, before_ms: i64) {
        self.producers
            .retain(|known| known.last_seen_ms >= before_ms);
    }
}

impl PublishedProducer {
    /// Footers come in offset order. A newer epoch replaces all, of an older one nothing is wanted.
    fn add(&mut self, newer: &ProducerSummary, created_ms: i64) {
        let known = &mut self.summary;
        if newer.producer_epoch < known.producer_epoch {
            return;
        }
        if newer.producer_epoch > known.producer_epoch {
            *known = newer.clone();
        } else {
            let end = known.batches.last().map(|batch| batch.last_offset);
            let new = newer.batches.iter();
            let new = new.filter(|batch| Some(batch.base_offset) > end);
            known.batches.extend(new);
            let excess = known
                .batches
                .len()
                .saturating_sub(PRODUCER_BATCHES_REMEMBERED);
            known.batches.drain(..excess);
        }
        self.last_seen_ms = self.last_seen_ms.max(created_ms);
    }
}

/// What a manifest says, to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestContent {
    /// Of which topic.
    pub topic_id: TopicId,
    /// One more than that of the manifest before; 1 for the first.
    pub version: u64,
    /// When it was made, in milliseconds since the Unix epoch. For people.
    pub created_ms: i64,
    /// Leaves, which list older table files, oldest first; their spans do not overlap, nor with those of tables.
    pub leaves: Vec<LeafEntry>,
    /// The table files that are in no leaf, in any order; their spans do not overlap.
    pub tables: Vec<TableEntry>,
    /// What is published of which partition.
    pub partitions: BTreeMap<PartitionIndex, PublishedPartition>,
}

impl ManifestContent {
    /// The manifest before the first: nothing is published.
    pub fn empty(topic_id: TopicId) -> Self {
        Self {
            topic_id,
            version: 0,
            created_ms: 0,
            leaves: Vec::new(),
            tables: Vec::new(),
            partitions: BTreeMap::new(),
        }
    }
}

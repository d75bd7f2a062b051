//! Leaves: the older table files of a topic, so that a manifest does not grow with all of its history.
//!
//! A manifest whose topic has many table files is the **root** of two levels. It lists the newest files itself, and names
//! **leaves**, objects that list a run of older ones each. Of a leaf the root knows for each partition the union of the
//! spans in it, so that most questions need the root alone. Like a manifest, a leaf is never changed.

use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId};
use bytes::Bytes;

use super::lookup::{Places, TableSpan, share_bytes};
use super::{SpanEntry, TableEntry};
use crate::error::FormatError;
use crate::object_key::ObjectKey;
use crate::parted::EncodedObject;

/// A leaf as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafEntry {
    /// Its name.
    pub object_key: ObjectKey,
    /// Its size.
    pub size_bytes: u64,
    /// Checksum of its index.
    pub index_crc: u32,
    /// Table files in it.
    pub tables: u32,
    /// What they hold of which partition, all together; sorted by partition, each at most once.
    pub spans: Vec<LeafSpan>,
}

/// What the table files of a leaf hold of a partition. Between first and last offset there may be some that none of them
/// answers for; nothing else does either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafSpan {
    /// The union of their spans.
    pub span: SpanEntry,
    /// Bytes of the files that the partition takes.
    pub stored_bytes: u64,
}

impl LeafEntry {
    /// A leaf that is put under that name.
    pub fn new(object_key: ObjectKey, object: &EncodedObject, leaf: &Leaf) -> Self {
        Self {
            object_key,
            size_bytes: object.size_bytes,
            index_crc: object.index_crc,
            tables: leaf.count(),
            spans: leaf.summary(),
        }
    }

    /// Reads the leaf from the bytes of the object.
    ///
    /// # Errors
    /// The object is damaged, or lists something else than the manifest of `topic_id` says.
    pub fn open(&self, topic_id: TopicId, object: &Bytes) -> Result<Leaf, FormatError> {
        let (leaf, index_crc) = Leaf::decode(object)?;
        let found = (leaf.topic_id, index_crc, leaf.count());
        let is_meant = found == (topic_id, self.index_crc, self.tables);
        match is_meant && leaf.summary() == self.spans {
            true => Ok(leaf),
            false => Err(FormatError::Malformed(
                "leaf: it is not the one that the manifest names",
            )),
        }
    }
}

/// What a leaf says, with an index. Never changed, so it is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    topic_id: TopicId,
    tables: Vec<Arc<TableEntry>>,
    places: Places,
}

impl Leaf {
    /// Lists `tables` of a topic, at least one.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when there are none or too many, or spans are empty or overlap.
    pub fn new(topic_id: TopicId, tables: Vec<Arc<TableEntry>>) -> Result<Self, FormatError> {
        if tables.is_empty() || u32::try_from(tables.len()).is_err() {
            return Err(FormatError::Malformed("leaf: count of table files"));
        }
        let places = Places::of(tables.iter().map(|table| table.spans.iter()))?;
        Ok(Self {
            topic_id,
            tables,
            places,
        })
    }

    /// Of which topic.
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// All table files in it.
    pub fn tables(&self) -> &[Arc<TableEntry>] {
        &self.tables
    }

    /// The spans of a partition from the one that holds `offset`, or else the first beyond, in offset order.
    pub fn spans_from(
        &self,
        partition: PartitionIndex,
        offset: Offset,
    ) -> impl DoubleEndedIterator<Item = TableSpan<'_>> {
        let places = self.places.from(partition, offset).iter();
        places.map(|place| TableSpan::at(&self.tables[place.holder as usize], place.span))
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        let tables = self.tables.iter();
        let tables = tables.map(|table| {
            let spans = table.spans.len() * (size_of::<SpanEntry>() + Places::BYTES_PER_SPAN);
            size_of::<TableEntry>() + table.object_key.as_str().len() + spans
        });
        tables.sum::<usize>() + size_of::<Self>()
    }

    /// What the root says of it.
    fn summary(&self) -> Vec<LeafSpan> {
        let mut all = std::collections::BTreeMap::<PartitionIndex, LeafSpan>::new();
        for table in &self.tables {
            let raw_bytes = table.raw_bytes();
            for span in &table.spans {
                let one = LeafSpan {
                    span: *span,
                    stored_bytes: share_bytes(table, span, raw_bytes),
                };
                let known = all.entry(span.partition);
                known.and_modify(|known| known.add(&one)).or_insert(one);
            }
        }
        all.into_values().collect()
    }

    fn count(&self) -> u32 {
        // Checked when it was made.
        self.tables.len() as u32
    }
}

impl LeafSpan {
    fn add(&mut self, other: &Self) {
        let (known, new) = (&mut self.span, &other.span);
        known.base_offset = known.base_offset.min(new.base_offset);
        known.next_offset = known.next_offset.max(new.next_offset);
        // Timestamps mean nothing without records.
        if known.records == 0 {
            (known.min_timestamp, known.max_timestamp) = (new.min_timestamp, new.max_timestamp);
        } else if new.records > 0 {
            known.min_timestamp = known.min_timestamp.min(new.min_timestamp);
            known.max_timestamp = known.max_timestamp.max(new.max_timestamp);
        }
        known.records = known.records.saturating_add(new.records);
        known.raw_bytes = known.raw_bytes.saturating_add(new.raw_bytes);
        self.stored_bytes = self.stored_bytes.saturating_add(other.stored_bytes);
    }
}

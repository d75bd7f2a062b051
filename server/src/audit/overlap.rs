//! What a segment still holds of what is published: pure.

use std::ops::Range;

use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::footer::BlockEntry;
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::record_batch::{self, BatchHeader, DecodeLimits};
use bytes::Bytes;

use super::digest::{Digest, Piece};
use super::known::Known;

/// One batch opened, at most: as those who publish have it.
const DECODE_LIMITS: DecodeLimits = DecodeLimits {
    decompressed_bytes_max: 512 << 20,
};

/// What of a block is published.
pub(super) struct Published {
    /// Offsets whose records have to be in table files.
    due: Range<Offset>,
    /// Those that table files answer for, with what the block holds of them.
    parts: Vec<(Range<Offset>, Digest)>,
    /// Records that are due and that no table file answers for: how many, and the first.
    missing: Option<(u64, Offset)>,
}

impl Published {
    /// `None` if nothing of the block is.
    pub fn of(tp: TopicPartition, block: &BlockEntry, known: &Known) -> Option<Self> {
        // What key compaction has removed is in the segment still.
        let whole_from = known.removed_before(tp);
        let due = known.log_start(tp).max(whole_from)..known.published_end(tp);
        let offsets = block.base_offset.max(whole_from)..block.next_offset;
        if offsets.is_empty() || offsets.start >= due.end {
            return None;
        }
        let parts = known.published_within(tp, &offsets).into_iter();
        Some(Self {
            due,
            parts: parts.map(|part| (part, Digest::default())).collect(),
            missing: None,
        })
    }

    /// Takes in a batch, which is opened for it.
    pub fn take(&mut self, header: &BatchHeader, bytes: &Bytes) -> anyhow::Result<()> {
        let attributes = header.attributes;
        // Control records are for brokers and clients, and are not published.
        if attributes.is_control() {
            return Ok(());
        }
        for record in record_batch::records(bytes, &DECODE_LIMITS)? {
            let record = record?;
            let mut parts = self.parts.iter_mut();
            match parts.find(|(part, _)| part.contains(&record.offset)) {
                Some((_, digest)) => digest.add(&record, attributes.timestamp_type()),
                None if self.due.contains(&record.offset) => {
                    self.missing.get_or_insert((0, record.offset)).0 += 1;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// What is wrong with what was taken in.
    pub fn finding(&self, segment: &ObjectKey, tp: TopicPartition) -> Option<String> {
        self.missing.map(|(records, first)| {
            format!(
                "partition {tp}: {records} records of segment {segment}, the first at offset {first}, should be in a \
                 table file, and no manifest names one"
            )
        })
    }

    /// What tables must hold too.
    pub fn pieces(self, segment: &ObjectKey) -> impl Iterator<Item = Piece> {
        self.parts.into_iter().map(|(offsets, digest)| Piece {
            offsets,
            digest: digest.finish(),
            segment: segment.clone(),
        })
    }
}

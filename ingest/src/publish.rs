//! After the commit: readers learn of the segment, then producers, then memory and log are given back.
//!
//! The order keeps every record findable at every moment: the segment index has it before the tail
//! may let go of it, and the write-ahead log's copy goes last.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::topic::TopicPartition;
use alluvium_segment::footer::Footer;
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::segment_index::SegmentRef;

use crate::partition::LeaderPartition;
use crate::upload::SealedSegment;

/// Publishes a committed segment. The segment's batches are dropped by the caller, afterwards.
pub(crate) fn publish(
    sealed: &SealedSegment,
    object_key: ObjectKey,
    size_bytes: u64,
    footer: Footer,
) {
    let partitions = partitions_of(sealed);
    let segment = Arc::new(SegmentRef {
        object_key,
        size_bytes,
    });
    for span in footer.partitions {
        let Some(partition) = partitions.get(&span.tp) else {
            continue;
        };
        // The log of a deleted topic has readers no more.
        if partition.log().tail.closed().is_some() {
            continue;
        }
        let (tp, upto) = (span.tp, span.next_offset);
        if let Err(error) = partition.log().add_segment(Arc::clone(&segment), &span) {
            // Cannot be: spans follow each other as offsets were assigned. The commit stands, and a
            // restart reads it from the footer; until then the tail keeps what the index lacks.
            tracing::error!(%tp, %error, "committed segment does not fit the index");
        }
        partition.committed(upto);
    }
}

fn partitions_of(sealed: &SealedSegment) -> HashMap<TopicPartition, Arc<LeaderPartition>> {
    let items = sealed.items.lock();
    let mut partitions = HashMap::new();
    for item in items.iter() {
        partitions
            .entry(item.partition.tp())
            .or_insert_with(|| Arc::clone(&item.partition));
    }
    partitions
}

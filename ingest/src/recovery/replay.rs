//! Which frames of the write-ahead log continue the committed log: pure.
//!
//! A frame is taken when it begins at the partition's end and no younger leader epoch has begun at or
//! before its offset. Everything else was never acknowledged, or is committed already:
//! - below the end: committed meanwhile;
//! - beyond the end: what lies between was of class `object` and not committed when the broker died, so
//!   neither it nor what followed was acknowledged;
//!   (a gap below the log start is none: what was there was acknowledged, and deleted since);
//! - of an epoch that has ended before that offset: dropped by an earlier recovery, for the reason
//!   above. The offsets have been given to other records since, perhaps.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::record_batch::StoredBatch;

use super::PartitionImage;
use crate::seams::WalCopy;

/// A frame of an earlier session. Its bytes stay in the log until they are wanted.
pub struct RecoveredBatch {
    /// Of which partition.
    pub tp: TopicPartition,
    /// First offset.
    pub base_offset: Offset,
    /// The offset after the last.
    pub next_offset: Offset,
    /// Leader epoch under which it was appended.
    pub leader_epoch: LeaderEpoch,
    /// The log's copy.
    pub copy: Arc<dyn WalCopy>,
}

impl RecoveredBatch {
    /// Of a frame that holds `batch`.
    pub fn new(tp: TopicPartition, batch: &StoredBatch, copy: Arc<dyn WalCopy>) -> Self {
        Self {
            tp,
            base_offset: batch.base_offset(),
            next_offset: batch.next_offset(),
            leader_epoch: batch.leader_epoch(),
            copy,
        }
    }
}

/// What became of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplaySummary {
    /// To be uploaded.
    pub taken: u64,
    /// In committed segments already, or deleted since.
    pub committed: u64,
    /// Of topics that are gone.
    pub unknown: u64,
    /// Never acknowledged: see the module's documentation.
    pub unacknowledged: u64,
}

/// Gives each image the frames that continue it; `frames` are in the order of the log.
pub fn plan_replay(images: &mut [PartitionImage], frames: Vec<RecoveredBatch>) -> ReplaySummary {
    let by_tp: HashMap<_, _> = images
        .iter()
        .enumerate()
        .map(|(index, image)| (image.tp, index))
        .collect();
    let mut summary = ReplaySummary::default();
    for frame in frames {
        let Some(index) = by_tp.get(&frame.tp) else {
            summary.unknown += 1;
            continue;
        };
        let image = &mut images[*index];
        match image.continue_with(frame) {
            Judgement::Take => summary.taken += 1,
            Judgement::Committed | Judgement::Deleted => summary.committed += 1,
            Judgement::Unacknowledged => summary.unacknowledged += 1,
        }
    }
    summary
}

enum Judgement {
    Take,
    Committed,
    Deleted,
    Unacknowledged,
}

fn judge(image: &PartitionImage, frame: &RecoveredBatch) -> Judgement {
    let log_start = image.record.log_start;
    let gap = frame.base_offset > image.end && frame.base_offset > log_start;
    if frame.base_offset < image.end {
        Judgement::Committed
    } else if gap || has_ended(image, frame) {
        Judgement::Unacknowledged
    } else if frame.next_offset <= log_start {
        Judgement::Deleted
    } else {
        Judgement::Take
    }
}

impl PartitionImage {
    fn continue_with(&mut self, frame: RecoveredBatch) -> Judgement {
        let judgement = judge(self, &frame);
        match judgement {
            Judgement::Take => {
                self.end = frame.next_offset;
                self.replay.push(frame);
            }
            // What follows it is wanted.
            Judgement::Deleted => self.end = frame.next_offset,
            // An older epoch's frame may even reach beyond the end: it says nothing about it.
            Judgement::Committed | Judgement::Unacknowledged => {}
        }
        judgement
    }
}

/// Whether a younger epoch than the frame's has begun at or before its offset.
fn has_ended(image: &PartitionImage, frame: &RecoveredBatch) -> bool {
    image
        .record
        .epoch_history
        .iter()
        .any(|epoch| epoch.leader_epoch > frame.leader_epoch && epoch.start <= frame.base_offset)
}

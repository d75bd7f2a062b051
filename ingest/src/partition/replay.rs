//! Batches that the write-ahead log kept from an earlier session.

use std::sync::Arc;

use alluvium_cache::tail::{AppendRefused, SpilledBatch};
use alluvium_common::seeded_bug;
use alluvium_segment::record_batch::StoredBatch;

use super::append::{sequenced, to_stamp};
use super::{LeaderPartition, State};
use crate::open_segment::{ItemBody, SegmentItem, Wanted};
use crate::recovery::RecoveredBatch;

/// Why a replayed batch was not taken; neither happens to a planned replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read any more.
    #[error("reading the write-ahead log: {0}")]
    Wal(#[from] std::io::Error),
    /// The batch does not continue the partition.
    #[error(transparent)]
    Refused(#[from] AppendRefused),
}

impl LeaderPartition {
    /// Puts batches back where they were: in the tail, durable and visible, and on their way to object
    /// storage. Before clients see the partition; blocks on the disk.
    pub(crate) fn replay(
        self: &Arc<Self>,
        mut batches: Vec<RecoveredBatch>,
    ) -> Result<(), ReplayError> {
        if seeded_bug::is("replay-drops-last") {
            batches.pop();
        }
        let now_ms = self.stages.clock.now_ms();
        let mut state = self.state.lock();
        for recovered in batches {
            let batch = recovered.copy.read()?;
            let spill = Arc::clone(&recovered.copy) as Arc<dyn SpilledBatch>;
            self.log.tail.append(batch.clone(), Some(spill))?;
            self.replay_one(&mut state, &batch, recovered, now_ms);
            // At once, since only what is visible may leave the tail's memory again.
            self.settle(&mut state);
        }
        Ok(())
    }

    fn replay_one(
        self: &Arc<Self>,
        state: &mut State,
        batch: &StoredBatch,
        recovered: RecoveredBatch,
        now_ms: i64,
    ) {
        let next_offset = batch.next_offset();
        state.next_offset = next_offset;
        state.durable.push(next_offset);
        state.durable.synced(next_offset);
        if let Some(stamp) = batch.header().producer().map(to_stamp) {
            let base_offset = batch.base_offset();
            let original = sequenced(&stamp, base_offset, next_offset, batch.max_timestamp());
            state.producers.record(&stamp, original, now_ms);
        }
        let item = SegmentItem {
            partition: Arc::clone(self),
            next_offset,
            size_bytes: batch.size_bytes(),
            // Nothing of it is kept in memory but for the tail's own share.
            body: ItemBody::Spilled,
            wal: Some(recovered.copy),
        };
        let limits = self.rules().local_retention;
        self.stages.open.push(item, Wanted::Within(limits));
    }
}

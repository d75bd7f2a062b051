//! The log as the pipeline sees it.

use std::io;
use std::sync::Arc;

use alluvium_cache::tail::SpilledBatch;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::record_batch::StoredBatch;

use super::{Wal, WalCompletion, WalError, WalSlot, WalState};
use crate::partition::WalDone;
use crate::seams::{WalCopy, WalSink};

impl SpilledBatch for WalSlot {
    fn read(&self) -> io::Result<StoredBatch> {
        WalSlot::read(self)
    }

    fn size_bytes(&self) -> usize {
        WalSlot::size_bytes(self)
    }
}

impl WalCopy for WalSlot {
    fn release(&self) {
        WalSlot::release(self);
    }
}

impl WalCompletion for WalDone {
    fn synced(done: &mut Vec<Self>) {
        WalDone::synced(done);
    }

    fn failed(done: &mut Vec<Self>, _error: &WalError) {
        // Whether the batches may be on disk makes no difference here: they are on their way to
        // object storage, and their producers wait for that commit instead.
        WalDone::failed(done);
    }
}

impl WalSink for Wal<WalDone> {
    fn append(&self, tp: TopicPartition, batch: &StoredBatch, done: WalDone) -> Arc<dyn WalCopy> {
        Wal::append(self, tp, batch, done)
    }

    fn state(&self) -> WalState {
        Wal::state(self)
    }

    fn is_pressed(&self) -> bool {
        Wal::is_pressed(self)
    }

    fn bytes(&self) -> u64 {
        self.pinned_bytes()
    }
}

//! Uploaded segments are committed strictly in sequence, several in one transaction.
//!
//! [`CommitOrder`] puts parallel uploads back in order; [`commit_until_done`] repeats one transaction
//! until it is known to have happened, or until the session is known to be gone.

use std::collections::BTreeMap;
use std::time::Duration;

use alluvium_common::rand::SharedRandom;
use alluvium_common::seeded_bug;
use alluvium_metadata::model::CommitRecord;
use tokio::time::Instant;

use crate::metrics::IngestMetrics;
use crate::seams::{CommitFailure, CommitSink};
use crate::upload::UploadedSegment;

/// Segments per transaction: the metadata store takes 128 operations, of which one is the fence and
/// some are left for what may join them.
pub(crate) const COMMITS_PER_TRANSACTION_MAX: usize = 100;

const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Uploaded segments that wait for those before them.
pub(crate) struct CommitOrder<T> {
    next: u64,
    arrived: BTreeMap<u64, T>,
}

impl<T> CommitOrder<T> {
    pub(crate) fn starting_at(first_sequence: u64) -> Self {
        Self {
            next: first_sequence,
            arrived: BTreeMap::new(),
        }
    }

    pub(crate) fn arrive(&mut self, sequence: u64, segment: T) {
        self.arrived.insert(sequence, segment);
    }

    /// Takes the segments whose turn it is, at most `max`, with the sequence of the first.
    pub(crate) fn take(&mut self, max: usize) -> Option<(u64, Vec<T>)> {
        if let (true, Some(first)) = (
            seeded_bug::is("commits-out-of-order"),
            self.arrived.keys().next(),
        ) {
            self.next = *first;
        }
        let first = self.next;
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(segment) = self.arrived.remove(&self.next)
        {
            taken.push(segment);
            self.next += 1;
        }
        (!taken.is_empty()).then_some((first, taken))
    }
}

/// What the metadata store is told of a segment.
pub(crate) fn record_of(segment: &UploadedSegment) -> CommitRecord {
    CommitRecord {
        object_key: segment.object_key.clone(),
        size_bytes: segment.encoded.size_bytes,
        footer_length: segment.encoded.footer_length,
        footer_crc: segment.encoded.footer_crc,
    }
}

/// Commits, and repeats the very same commit while its outcome is not known (F4). Ends with `false`
/// when the session is gone (F2): then nothing of it that is not visible by now ever will be.
pub(crate) async fn commit_until_done(
    sink: &dyn CommitSink,
    first_sequence: u64,
    records: Vec<CommitRecord>,
    random: &SharedRandom,
    metrics: &IngestMetrics,
) -> bool {
    let started = Instant::now();
    let mut pause = RETRY_FIRST;
    loop {
        match sink.commit(first_sequence, records.clone()).await {
            Ok(()) => break,
            Err(CommitFailure::Fenced) => return false,
            Err(CommitFailure::Unavailable(reason)) => {
                tracing::warn!(first_sequence, reason, "commit is being repeated");
            }
        }
        let jitter = random.below(1000) as f64 / 2000.0;
        tokio::time::sleep(pause.mul_f64(0.5 + jitter)).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
    metrics
        .commit_seconds
        .observe(started.elapsed().as_secs_f64());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_uploads_are_committed_in_order() {
        let mut order = CommitOrder::starting_at(7);
        assert_eq!(order.take(10), None);
        order.arrive(9, "c");
        order.arrive(8, "b");
        assert_eq!(order.take(10), None, "7 is missing");
        order.arrive(7, "a");
        assert_eq!(order.take(2), Some((7, vec!["a", "b"])));
        order.arrive(10, "d");
        assert_eq!(order.take(10), Some((9, vec!["c", "d"])));
        assert_eq!(order.take(10), None);
    }
}

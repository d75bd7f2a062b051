//! ListOffsets: which offset a name or a time stands for.
//!
//! By time it is exact to the record, as in Kafka: the first record at or after the time, not the
//! batch that holds it. Blocks and batches carry their largest timestamp, so that only the batch that
//! is meant (and those whose header claims too much) is opened.

mod scan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use alluvium_cache::log::PartitionLog;
use alluvium_common::clock::TimestampMs;
use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::{LogOffsets, Offset};
use alluvium_common::seeded_bug;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::record_batch::DecodeLimits;
use tokio::sync::Semaphore;

use crate::error::ReadError;
use crate::guard::check_end;
use crate::leader_epoch::check_current;
use crate::log_reader::{Isolation, LogReader};

/// Batches opened at one time by all lookups together: each may take
/// [`DecodeLimits::decompressed_bytes_max`] of memory.
const OPEN_BATCHES_MAX: usize = 2;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start (-2).
    Earliest,
    /// The end, as far as the client may see (-1).
    Latest,
    /// The record with the largest timestamp, the first one of several (-3).
    MaxTimestamp,
    /// The first offset that needs no object store (-4).
    EarliestLocal,
    /// The last offset that the object store holds (-5).
    LatestTiered,
    /// The first offset that the object store does not hold (-6, KIP-1023).
    EarliestPendingUpload,
    /// The first record at or after this time, in milliseconds since the Unix epoch.
    Timestamp(TimestampMs),
}

impl OffsetSpec {
    /// Whether an answer says something about the end of the log.
    fn is_about_the_end(self, found: Option<&FoundOffset>) -> bool {
        match self {
            OffsetSpec::Earliest | OffsetSpec::EarliestLocal => false,
            OffsetSpec::Latest
            | OffsetSpec::MaxTimestamp
            | OffsetSpec::LatestTiered
            | OffsetSpec::EarliestPendingUpload => true,
            // A record that is there stays the first of its time; that there is none is said of all up to the end.
            OffsetSpec::Timestamp(_) => found.is_none(),
        }
    }
}

/// A request no sentinel of Kafka's stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timestamp {0} has no meaning")]
pub struct UnknownSpec(pub i64);

impl TryFrom<i64> for OffsetSpec {
    type Error = UnknownSpec;

    fn try_from(timestamp: i64) -> Result<Self, UnknownSpec> {
        match timestamp {
            0.. => Ok(OffsetSpec::Timestamp(timestamp)),
            -1 => Ok(OffsetSpec::Latest),
            -2 => Ok(OffsetSpec::Earliest),
            -3 => Ok(OffsetSpec::MaxTimestamp),
            -4 => Ok(OffsetSpec::EarliestLocal),
            -5 => Ok(OffsetSpec::LatestTiered),
            -6 => Ok(OffsetSpec::EarliestPendingUpload),
            _ => Err(UnknownSpec(timestamp)),
        }
    }
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp; `None` (-1 on the wire) when no record was looked for.
    pub timestamp: Option<TimestampMs>,
    /// The leader epoch under which the offset was, or will be, written.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Finds offsets. Shared by all connections of a broker.
#[derive(Debug)]
pub struct OffsetFinder {
    reader: Arc<LogReader>,
    limits: DecodeLimits,
    open_batches: Semaphore,
}

impl OffsetFinder {
    /// A finder over `reader`; `limits` bound what one batch may decompress to.
    pub fn new(reader: Arc<LogReader>, limits: DecodeLimits) -> Arc<Self> {
        Arc::new(Self {
            reader,
            limits,
            open_batches: Semaphore::new(OPEN_BATCHES_MAX),
        })
    }

    /// The offset that `spec` stands for, if there is one that the client may see.
    pub async fn find(
        &self,
        tp: TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<FoundOffset>, ReadError> {
        let log = self.reader.log(&tp)?;
        check_current(&log, current_leader_epoch)?;
        let found = self.look(&log, spec, isolation).await?;
        if let Some(reason) = log.tail.closed() {
            return Err(ReadError::Closed(reason));
        }
        if spec.is_about_the_end(found.as_ref()) {
            check_end(self.reader.guard(), &log)?;
        }
        Ok(found)
    }

    async fn look(
        &self,
        log: &Arc<PartitionLog>,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Option<FoundOffset>, ReadError> {
        let offsets = log.tail.offsets();
        let upto = isolation.limit(&offsets);
        let named = |offset| Some(name(log, &offsets, offset));
        Ok(match spec {
            OffsetSpec::Earliest => named(offsets.log_start),
            OffsetSpec::Latest if seeded_bug::is("latest-is-log-end") => named(offsets.log_end),
            OffsetSpec::Latest => Some(FoundOffset {
                leader_epoch: Some(log.tail.leader_epoch()),
                ..name(log, &offsets, upto)
            }),
            OffsetSpec::EarliestLocal => {
                let local = log.tail.start().max(offsets.log_start);
                named(local.min(offsets.high_watermark))
            }
            OffsetSpec::LatestTiered => last_uploaded(log, &offsets).and_then(named),
            OffsetSpec::EarliestPendingUpload => {
                let pending = log.tail.uploaded().max(offsets.log_start);
                named(pending.min(offsets.high_watermark))
            }
            OffsetSpec::MaxTimestamp => self.max_timestamp(log, offsets.log_start, upto).await?,
            OffsetSpec::Timestamp(timestamp) => {
                self.first_since(log, timestamp, offsets.log_start, upto)
                    .await?
            }
        })
    }
}

fn name(log: &PartitionLog, offsets: &LogOffsets, offset: Offset) -> FoundOffset {
    let leader_epoch = if offset >= offsets.log_end {
        Some(log.tail.leader_epoch())
    } else {
        log.epochs.epoch_at(offset)
    };
    FoundOffset {
        offset,
        timestamp: None,
        leader_epoch,
    }
}

fn last_uploaded(log: &PartitionLog, offsets: &LogOffsets) -> Option<Offset> {
    let uploaded = log.tail.uploaded();
    let last = Offset::new(uploaded.get() - 1)?;
    (last >= offsets.log_start).then_some(last)
}

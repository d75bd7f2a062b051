//! Leader epochs, as clients use them to find out that they were misled (KIP-101, KIP-320).

use alluvium_cache::log::{EpochEnd, PartitionLog};
use alluvium_common::epoch::LeaderEpoch;

use crate::error::ReadError;

/// Compares the leader epoch that a client believes in (`None`: it does not say) with ours.
pub fn check_current(log: &PartitionLog, believed: Option<LeaderEpoch>) -> Result<(), ReadError> {
    let current = log.tail.leader_epoch();
    match believed {
        Some(believed) if believed < current => Err(ReadError::FencedLeaderEpoch { current }),
        Some(believed) if believed > current => Err(ReadError::UnknownLeaderEpoch { current }),
        _ => Ok(()),
    }
}

/// Answers OffsetForLeaderEpoch: where the records of `epoch` end. `None` is Kafka's "undefined"
/// (epoch -1 and offset -1): the log knows no epoch as young as that.
pub fn end_offset(
    log: &PartitionLog,
    current: Option<LeaderEpoch>,
    epoch: LeaderEpoch,
) -> Result<Option<EpochEnd>, ReadError> {
    check_current(log, current)?;
    if let Some(reason) = log.tail.closed() {
        return Err(ReadError::Closed(reason));
    }
    Ok(log.epochs.end_of(epoch, log.tail.offsets().log_end))
}

//! Leader epochs, as clients use them to find out that they were misled (KIP-101, KIP-320).

use alluvium_cache::log::{EpochEnd, PartitionLog};
use alluvium_common::epoch::LeaderEpoch;

use crate::error::ReadError;
use crate::guard::{LeaderGuard, check_end};

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
    guard: &dyn LeaderGuard,
    log: &PartitionLog,
    current: Option<LeaderEpoch>,
    epoch: LeaderEpoch,
) -> Result<Option<EpochEnd>, ReadError> {
    check_current(log, current)?;
    let end = log.epochs.end_of(epoch, log.tail.offsets().log_end);
    if let Some(reason) = log.tail.closed() {
        return Err(ReadError::Closed(reason));
    }
    // Where an older epoch ended never changes; where the youngest one ends does.
    if end.is_none_or(|end| end.leader_epoch == log.tail.leader_epoch()) {
        check_end(guard, log)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BatchSpec, EPOCH, TestBroker};

    /// F3: where older epochs ended is certain for ever; where the youngest ends is not.
    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_youngest_epoch_needs_a_proof() {
        let broker = TestBroker::new(usize::MAX).await;
        let mut log = broker.open(0);
        broker.append(&mut log, &BatchSpec::of([1, 2]), false);
        let ask = |epoch| end_offset(&*broker.guard, &log.log, Some(EPOCH), LeaderEpoch(epoch));
        let end = ask(EPOCH.0).expect("told").expect("known");
        assert_eq!(end.end_offset.get(), 2);
        assert_eq!(ask(EPOCH.0 + 1).expect("told"), None);
        let older = ask(EPOCH.0 - 1).expect("told");
        broker.guard.prove_until(None);
        for epoch in [EPOCH.0, EPOCH.0 + 1] {
            let refused = ask(epoch).expect_err("no proof");
            assert!(matches!(refused, ReadError::EndUnknown));
        }
        assert_eq!(ask(EPOCH.0 - 1).expect("told"), older);
    }
}

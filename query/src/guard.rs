//! F3 for readers: what a leader may say of the end of a log.
//!
//! What lies below the high watermark that a leader knows is committed, and stays so whoever leads: it is served always.
//! That *nothing more* is there is true only while nobody else can lead. A leader that cannot prove its session alive,
//! or that is giving the partition away, says nothing about the end: another may be acknowledging records behind it.
//!
//! The proof is asked for *after* the end was read, never before. Had it been asked for first, the lease could end, a new
//! leader open the partition and acknowledge a record, all between the question and the reading of an old end. In this
//! order a proof that holds at its time holds for all of the time before it, the reading included.

use alluvium_cache::log::PartitionLog;
use tokio::time::Instant;

use crate::error::ReadError;

/// Knows how long nobody else can lead what this broker leads.
pub trait LeaderGuard: std::fmt::Debug + Send + Sync {
    /// Until when that is certain, as known now; it is extended again and again. `None`: it is over for good.
    fn proved_until(&self) -> Option<Instant>;

    /// Whether it is certain now.
    fn is_proved(&self) -> bool {
        self.proved_until()
            .is_some_and(|until| Instant::now() < until)
    }
}

/// Whether something may be said of the end of `log` that was read before this call.
pub(crate) fn check_end(guard: &dyn LeaderGuard, log: &PartitionLog) -> Result<(), ReadError> {
    if log.is_leaving() || !guard.is_proved() {
        return Err(ReadError::EndUnknown);
    }
    Ok(())
}
